// Norms of numbers that come tile by tile: sums that neither overflow nor underflow, added in the order of the tiles.
#pragma once

#include <cmath>
#include <utility>

#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/plan/axis.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {

/// The norms of clip_grad_norm, of all elements x.
enum class NormType {
  kOne,       ///< sum |x|
  kTwo,       ///< sqrt(sum x^2)
  kInfinity,  ///< max |x|
};

namespace core {

constexpr Index kNormRows = 64;  // of a tile, at most: sums by row live on the stack

// A number with an exponent of its own, so that squares of any double fit: (high + low) * 2^exponent.
struct Wide {
  double high = 0, low = 0;
  int exponent = 0;

  Wide() = default;
  explicit Wide(double value, int power = 0) {
    high = std::frexp(value, &exponent);
    exponent = is_finite(value) ? exponent + power : 0;
  }

  bool is_zero() const { return core::is_zero(high); }

  // Rounded to a double, beyond the range of which it is 0 or infinite.
  double rounded() const { return std::ldexp(high + low, exponent); }

  // Adds a number that is not negative, and keeps what rounding loses.
  void add(Wide other) {
    if (other.is_zero()) return;
    if (is_zero() || exponent < other.exponent) std::swap(*this, other);
    const double more = std::ldexp(other.high, other.exponent - exponent), sum = high + more, of_more = sum - high;
    low += ((high - (sum - of_more)) + (more - of_more)) + std::ldexp(other.low, other.exponent - exponent);
    if (!is_finite(sum)) low = 0;
    high = sum;
  }

  // Its quotient, both as they were made of a number.
  Wide over(const Wide& divisor) const { return Wide(high / divisor.high, exponent - divisor.exponent); }

  // Its root, to about a double's last place.
  double root() const {
    const int odd = exponent % 2;
    const double value = std::ldexp(high, odd), result = std::sqrt(value);
    if (!(value > 0) || !is_finite(value)) return result;
    const double residual = std::fma(-result, result, value) + std::ldexp(low, odd);
    return std::ldexp(result + residual / (2 * result), (exponent - odd) / 2);
  }
};

// The sum of |x| or x^2, or the largest |x|, of a part of the numbers.
class NormPart {
 public:
  explicit NormPart(NormType type) : type_(type) {}

  NormType type() const { return type_; }

  // Takes in the sum of another part.
  void add(const Wide& sum) { sum_.add(sum); }
  // The same with its largest number. NaN replaces any number and stays.
  void add_largest(double value) {
    if (!is_nan(largest_) && (is_nan(value) || value > largest_)) largest_ = value;
  }
  void add(const NormPart& other) {
    sum_.add(other.sum_);
    add_largest(other.largest_);
  }

  // The norm; infinite where a double cannot hold it.
  double norm() const {
    if (type_ == NormType::kInfinity) return largest_;
    return type_ == NormType::kTwo ? sum_.root() : sum_.rounded();
  }

 private:
  NormType type_;
  Wide sum_;
  double largest_ = 0;
};

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
