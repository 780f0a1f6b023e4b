// Running statistics moved by those of a batch, a vector of channels at a time.
#pragma once

#include <cstring>

#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/kernel/packet.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

struct BlendRule {
  double rest, weight, degrees;
};

// running = rest * running + weight * batch, for the means of channels and their variances m2 / degrees. Weight 1
// replaces what was there, NaN or not. Takes whole vectors of channels, and sets `done` to how many channels these are.
// @pre weight > 0
struct BlendColumns {
  Index channels;
  const float *hi, *lo;  // of the batch, by channel, as m2
  const double* m2;
  const BlendRule& rule;  // by reference: the rest of this stays in registers
  float *mean, *var;
  Index* done;

  // Whole strips alone: a load of two vectors just stored would wait for them, as in ForwardColumns.
  template <class Isa>
  bool fills() const {
    return fill_strip<Isa, float>(channels);
  }

  template <class Isa>
  TENSORNORM_INLINE void run() const {
    using V = Vec<double, kLanes<Isa, double>>;
    using F = Vec<float, kLanes<Isa, float>>;
    V of_kept, of_batch, all;
    VectorOps<Isa>::broadcast(rule.rest, of_kept);
    VectorOps<Isa>::broadcast(rule.weight, of_batch);
    VectorOps<Isa>::broadcast(rule.degrees, all);
    const bool keeps = rule.weight < 1;
    const BlendColumns k = *this;  // in registers: what is stored below cannot change it
    Index c = 0;
    for (; c + kLanes<Isa, float> <= k.channels; c += kLanes<Isa, float>) {
      F high, low, kept_mean{}, kept_var{};
      std::memcpy(&high, k.hi + c, sizeof high);
      std::memcpy(&low, k.lo + c, sizeof low);
      if (keeps) {
        std::memcpy(&kept_mean, k.mean + c, sizeof kept_mean);
        std::memcpy(&kept_var, k.var + c, sizeof kept_var);
      }
      WideSum<Isa, float> mean_of_batch(high), sums(k.m2 + c), kept_mean_wide(kept_mean), kept_var_wide(kept_var);
      mean_of_batch.add(low);
      sums.low = (sums.low <= 0 ? V{} : sums.low) / all;
      sums.high = (sums.high <= 0 ? V{} : sums.high) / all;
      blend<Isa>(kept_mean_wide, mean_of_batch, of_kept, of_batch, k.mean + c);
      blend<Isa>(kept_var_wide, sums, of_kept, of_batch, k.var + c);
    }
    *k.done = c;
  }

 private:
  template <class Isa, class V>
  static TENSORNORM_INLINE void blend(const WideSum<Isa, float>& kept, const WideSum<Isa, float>& batch,
                                      const V& of_kept, const V& of_batch, float* to) {
    V kept_low, kept_high, low, high;
    multiply(of_kept, kept.low, kept_low);
    multiply(of_kept, kept.high, kept_high);
    multiply(of_batch, batch.low, low);
    multiply(of_batch, batch.high, high);
    Vec<float, kLanes<Isa, float>> result;
    VectorOps<Isa>::narrow(V(kept_low + low), V(kept_high + high), result);
    std::memcpy(to, &result, sizeof result);
  }
};

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
