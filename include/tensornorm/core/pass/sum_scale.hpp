// Which sums of squares can be trusted, and how the others are taken again.
#pragma once

#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/kernel/finish_sums.hpp"
#include "tensornorm/core/kernel/moments.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

// Deviations whose squares overflow or underflow are summed again: those of floats in double, which holds the squares
// of them all (kWide), and those of doubles scaled so that no square of a double does (kDown, kUp).
// Ranks sum by kWide from the start.
enum class Scale : unsigned char { kOne, kWide, kDown, kUp };

// A statistic that is to be summed again: by which scale, and how often it was by that one; or one that is known.
struct Pending {
  bool is_pending : 1;
  Scale scale : 2;
  unsigned char tries : 2;

  Pending() : is_pending(false), scale(Scale::kOne), tries(0) {}
  Pending(Scale by, int before) : is_pending(true), scale(by), tries(static_cast<unsigned char>(before & 3)) {}

  bool is_due(Scale by) const { return is_pending && scale == by; }
};

// What deviations are multiplied by before they are squared.
inline double factor(Scale scale) {
  if (scale == Scale::kDown) return 0x1p-516;
  return scale == Scale::kUp ? 0x1p950 : 1;
}

// Whether the estimate was near, and the squares neither overflowed nor underflowed; of moments as they are scaled.
template <class T>
struct Trust {
  double hidden, least;
  double variances;  // as is_far has them: in double, 20 of the 53 digits may go

  // `least_var`: the least variance that unscaled sums give.
  Trust(Scale scale, double eps, double least_var)
      : hidden(scale == Scale::kOne ? hidden_by(eps, 1) : 0), least(scale == Scale::kOne    ? least_var
                                                                    : scale == Scale::kDown ? least_trusted_var<T>(0)
                                                                                            : 0),
        variances(scale == Scale::kWide ? 0x1p20 : 1) {}

  bool of(const Moments& m, double var, double n) const {
    return !is_far(m, variances, hidden * n) && is_finite(var) && var + hidden >= least;
  }
};

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
