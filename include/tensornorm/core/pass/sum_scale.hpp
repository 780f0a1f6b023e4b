// Which sums of squares can be trusted, and how the others are taken again.
#pragma once

#include "tensornorm/core/kernel/finish_sums.hpp"
#include "tensornorm/core/kernel/moments.hpp"

namespace tensornorm {
namespace core {

// Deviations whose squares overflow or underflow are summed again, scaled so that no square of a T does. (Sums of
// double hold deviations of doubles from 1e-150 to 1e150.)
enum class Scale : unsigned char { kOne, kDown, kUp };

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
template <class T>
double factor(Scale scale) {
  constexpr bool is_double = std::is_same<T, double>::value;
  if (scale == Scale::kOne) return 1;
  return scale == Scale::kDown ? (is_double ? 0x1p-516 : 0x1p-68) : (is_double ? 0x1p950 : 0x1p90);
}

// Whether the estimate was near, and the squares neither overflowed nor underflowed; of moments as they are scaled.
template <class T>
struct Trust {
  double hidden, least;

  Trust(Scale scale, double eps)
      : hidden(scale == Scale::kOne ? hidden_by(eps, 1) : 0),
        least(scale == Scale::kUp ? 0 : least_trusted_var<T>(scale == Scale::kOne ? eps : 0)) {}

  bool of(const Moments& m, double var, double n) const {
    const bool is_near = n * m.correction * m.correction - m.m2 <= hidden * n;
    return is_near && var < kInfinity && var + hidden >= least;
  }
};

}  // namespace core
}  // namespace tensornorm
