// TileNorm: what a tile adds to a norm.
#pragma once

#include <cmath>

#include "tensornorm/core/clip/norm.hpp"
#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/kernel/largest.hpp"
#include "tensornorm/core/kernel/moments.hpp"
#include "tensornorm/core/kernel/row_reduce.hpp"
#include "tensornorm/core/kernel/sum_arithmetic.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

// The numbers of a tile, for a norm.
template <class Scalar>
class TileNorm {
 public:
  using T = ParamOf<Scalar>;

  // Of at most kNormRows rows.
  TileNorm(const Scalar* x, const Tile& tile, NormType type) : x_(x), tile_(tile), type_(type) {}

  // Adds them to a norm.
  void add_to(NormPart& part) const {
    const bool is_sum = type_ != NormType::kInfinity;
    if (is_sum) {
      const Sum plain = sum(T(1));
      if (can_trust(plain)) return part.add(Wide(of(plain)));
    }
    const T largest = largest_magnitude(x_, tile_);
    if (!is_sum) return part.add_largest(static_cast<double>(largest));
    const double value = static_cast<double>(largest);
    part.add(is_finite(value) ? scaled_sum(largest) : Wide(value));
  }

 private:
  struct Sum {
    double magnitudes = 0, squares = 0;
  };

  double of(const Sum& sum) const { return type_ == NormType::kOne ? sum.magnitudes : sum.squares; }

  Sum sum(T factor) const {
    double magnitudes[kNormRows], squares[kNormRows];
    std::fill_n(magnitudes, tile_.rows, 0.0);
    std::fill_n(squares, tile_.rows, 0.0);
    using Functor = Magnitudes<Scalar, PerRowOrAll<T>>;
    row_reduce(Functor{{{x_ + tile_.offset, tile_.stride}, {&factor, kNone}}}, tile_, magnitudes, squares);
    Sum result;
    for (Index r = 0; r < tile_.rows; ++r) {
      result.magnitudes += magnitudes[r];
      result.squares += squares[r];
    }
    return result;
  }

  // Whether sums in T neither overflowed nor lost digits to underflow.
  bool can_trust(const Sum& sum) const {
    if (type_ == NormType::kOne || !(sum.magnitudes > 0)) return is_finite(sum.magnitudes);
    return is_finite(sum.squares) &&
           sum.squares >= static_cast<double>(tile_.rows * tile_.cols) * least_trusted_var<T>(0);
  }

  // The same sum with the largest number taken to about 1 by a power of two: what underflows now is nothing beside it.
  __attribute__((cold, noinline)) Wide scaled_sum(T largest) const {
    constexpr int most = std::numeric_limits<T>::max_exponent - 2;
    const int exponent = (std::min)((std::max)(std::ilogb(largest), -most), most);
    const Sum scaled = sum(std::ldexp(T(1), -exponent));
    return Wide(of(scaled), type_ == NormType::kOne ? exponent : 2 * exponent);
  }

  const Scalar* x_;
  const Tile& tile_;
  NormType type_;
};

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
