// Norms of numbers that come tile by tile: sums that neither overflow nor underflow, merged in the order of the tiles.
#pragma once

#include "tensornorm/core/arithmetic.hpp"
#include "tensornorm/core/largest.hpp"
#include "tensornorm/core/moments.hpp"
#include "tensornorm/core/row.hpp"

namespace tensornorm {

/// sum |x|, sqrt(sum x^2) or max |x|.
enum class NormType { kOne, kTwo, kInfinity };

namespace core {

constexpr Index kNormRows = 64;  // of a tile, at most: sums by row live on the stack

// Squares of any double fit, where the compiler's long double has the range of x87 or IEEE quadruple.
using Wide = long double;

// The sum of |x| or x^2, or the largest |x|, of a part of the numbers.
class NormPart {
 public:
  explicit NormPart(NormType type = NormType::kTwo) : type_(type) {}

  // Takes in the numbers of a tile of at most kNormRows rows.
  template <class Scalar>
  void add(const Scalar* x, const Tile& tile) {
    if (type_ == NormType::kInfinity) return add(static_cast<Wide>(largest_magnitude(x, tile)));
    double by_row[kNormRows], squares_by_row[kNormRows];
    std::fill_n(by_row, tile.rows, 0.0);
    std::fill_n(squares_by_row, tile.rows, 0.0);
    row_reduce(Magnitudes<Scalar>{{x + tile.offset, tile.stride}}, tile, by_row, squares_by_row);
    double sum = 0, squares = 0;
    for (Index r = 0; r < tile.rows; ++r) {
      sum += by_row[r];
      squares += squares_by_row[r];
    }
    if (can_trust<ParamOf<Scalar>>(sum, squares, tile.rows * tile.cols)) {
      add(static_cast<Wide>(type_ == NormType::kOne ? sum : squares));
    } else {
      add(std::isnan(sum) ? static_cast<Wide>(sum) : exact(x, tile));
    }
  }

  void add(const NormPart& other) { add(other.value_); }

  // The norm; infinite where a double cannot hold it.
  double norm() const {
    const Wide result = type_ == NormType::kTwo ? std::sqrt(value_) : value_;
    return result > static_cast<Wide>((std::numeric_limits<double>::max)()) ? kInfinity : static_cast<double>(result);
  }

 private:
  void add(Wide value) {
    if (type_ != NormType::kInfinity) {
      value_ += value;
    } else if (!(value <= value_) && !std::isnan(value_)) {  // NaN replaces any number and stays
      value_ = value;
    }
  }

  // Whether sums in T neither overflowed nor lost digits to underflow.
  template <class T>
  bool can_trust(double sum, double squares, Index n) const {
    if (!(sum < kInfinity)) return false;
    if (type_ == NormType::kOne || sum == 0) return true;
    return squares < kInfinity && squares >= static_cast<double>(n) * least_trusted_var<T>(0);
  }

  // The same numbers taken one by one, in a type that holds their squares.
  template <class Scalar>
  __attribute__((cold, noinline)) Wide exact(const Scalar* x, const Tile& tile) const {
    typename ExactMoments<ParamOf<Scalar>>::Wide sum = 0;
    for (Index r = 0; r < tile.rows; ++r) {
      for (Index c = 0; c < tile.cols; ++c) {
        const auto v = static_cast<decltype(sum)>(static_cast<ParamOf<Scalar>>(x[tile.offset + r * tile.stride + c]));
        sum += type_ == NormType::kOne ? std::abs(v) : v * v;
      }
    }
    return static_cast<Wide>(sum);
  }

  NormType type_;
  Wide value_ = 0;
};

}  // namespace core
}  // namespace tensornorm
