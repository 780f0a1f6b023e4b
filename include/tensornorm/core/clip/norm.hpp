// Norms of numbers that come tile by tile: sums that neither overflow nor underflow, added in the order of the tiles.
#pragma once

#include <cmath>
#include <limits>

#include "tensornorm/core/plan/axis.hpp"

namespace tensornorm {

/// The norms of clip_grad_norm, of all elements x.
enum class NormType {
  kOne,       ///< sum |x|
  kTwo,       ///< sqrt(sum x^2)
  kInfinity,  ///< max |x|
};

namespace core {

constexpr Index kNormRows = 64;  // of a tile, at most: sums by row live on the stack

// Squares of any double fit, where the compiler's long double has the range of x87 or IEEE quadruple.
using Wide = long double;

// The sum of |x| or x^2, or the largest |x|, of a part of the numbers.
class NormPart {
 public:
  explicit NormPart(NormType type) : type_(type) {}

  NormType type() const { return type_; }

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
    return result > static_cast<Wide>((std::numeric_limits<double>::max)()) ? std::numeric_limits<double>::infinity()
                                                                            : static_cast<double>(result);
  }

 private:
  NormType type_;
  Wide value_ = 0;
};

}  // namespace core
}  // namespace tensornorm
