// Norms of numbers that come tile by tile: sums that neither overflow nor underflow, added in the order of the tiles.
#pragma once

#include "tensornorm/core/kernel/arithmetic.hpp"
#include "tensornorm/core/kernel/largest.hpp"
#include "tensornorm/core/kernel/moments.hpp"
#include "tensornorm/core/kernel/row_reduce.hpp"

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
  explicit NormPart(NormType type) : type_(type) {}

  // Takes in the numbers of a tile of at most kNormRows rows.
  template <class Scalar>
  void add(const Scalar* x, const Tile& tile) {
    using T = ParamOf<Scalar>;
    if (type_ != NormType::kInfinity) {
      const Sum plain = sum(x, tile, T(1));
      if (can_trust<T>(plain, tile.rows * tile.cols)) return add(static_cast<Wide>(of(plain)));
    }
    const T largest = largest_magnitude(x, tile);
    const bool is_value = type_ == NormType::kInfinity || !std::isfinite(largest);
    add(is_value ? static_cast<Wide>(largest) : scaled_sum(x, tile, largest));
  }

  // Takes in another part's value.
  void add(Wide value) {
    if (type_ != NormType::kInfinity) {
      value_ += value;
    } else if (!(value <= value_) && !std::isnan(value_)) {  // NaN replaces any number and stays
      value_ = value;
    }
  }

  Wide value() const { return value_; }

  // The norm; infinite where a double cannot hold it.
  double norm() const {
    const Wide result = type_ == NormType::kTwo ? std::sqrt(value_) : value_;
    return result > static_cast<Wide>((std::numeric_limits<double>::max)()) ? kInfinity : static_cast<double>(result);
  }

 private:
  struct Sum {
    double magnitudes = 0, squares = 0;
  };

  double of(const Sum& sum) const { return type_ == NormType::kOne ? sum.magnitudes : sum.squares; }

  template <class Scalar>
  static Sum sum(const Scalar* x, const Tile& tile, ParamOf<Scalar> factor) {
    double magnitudes[kNormRows], squares[kNormRows];
    std::fill_n(magnitudes, tile.rows, 0.0);
    std::fill_n(squares, tile.rows, 0.0);
    using Functor = Magnitudes<Scalar, PerRowOrAll<ParamOf<Scalar>>>;
    row_reduce(Functor{{{x + tile.offset, tile.stride}, {&factor, kNone}}}, tile, magnitudes, squares);
    Sum result;
    for (Index r = 0; r < tile.rows; ++r) {
      result.magnitudes += magnitudes[r];
      result.squares += squares[r];
    }
    return result;
  }

  // Whether sums in T of n numbers neither overflowed nor lost digits to underflow.
  template <class T>
  bool can_trust(const Sum& sum, Index n) const {
    if (type_ == NormType::kOne || !(sum.magnitudes > 0)) return sum.magnitudes < kInfinity;
    return sum.squares < kInfinity && sum.squares >= static_cast<double>(n) * least_trusted_var<T>(0);
  }

  // The same sum with the largest number taken to about 1 by a power of two: what underflows now is nothing beside it.
  template <class Scalar, class T>
  __attribute__((cold, noinline)) Wide scaled_sum(const Scalar* x, const Tile& tile, T largest) const {
    constexpr int most = std::numeric_limits<T>::max_exponent - 2;
    const int exponent = (std::min)((std::max)(std::ilogb(largest), -most), most);
    const Sum scaled = sum(x, tile, std::ldexp(T(1), -exponent));
    return std::ldexp(static_cast<Wide>(of(scaled)), type_ == NormType::kOne ? exponent : 2 * exponent);
  }

  NormType type_;
  Wide value_ = 0;
};

}  // namespace core
}  // namespace tensornorm
