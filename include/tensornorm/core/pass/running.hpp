// Running statistics: what batches leave behind for inference.
#pragma once

#include <Eigen/Core>
#include <cstdint>
#include <optional>

#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/kernel/rounding.hpp"
#include "tensornorm/core/kernel/run_values.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

// The statistics of one batch, instance by instance: means as hi + lo and sums of squared deviations, `count` of each,
// every one of n elements. Rounding may leave a sum below 0 where all deviations are; it counts as 0.
template <class Param>
struct BatchStatistics {
  Index n, count;
  const Param *hi, *lo;
  const double* m2;
};

template <class Param>
void blend_pair(const Pair& kept, const Pair& value, const Pair& weight, Param* to) {
  Pair of_kept, of_value;
  multiply(Pair(1 - weight), kept, of_kept);
  multiply(weight, value, of_value);
  store_pair(of_kept + of_value, to);
}

// Two channels at a time, of one statistic each, from channel c on. Returns up to which. @pre weight > 0
template <class Param>
Index move_pairs(const BatchStatistics<Param>& batch, Index c, double weight, double degrees, Param* mean, Param* var) {
  for (; c + 2 <= batch.count; c += 2) {
    Pair hi, lo, m2, kept_mean{}, kept_var{};
    load_pair(batch.hi + c, hi);
    load_pair(batch.lo + c, lo);
    load_pair(batch.m2 + c, m2);
    m2 = m2 <= 0 ? Pair{} : m2;
    if (weight < 1) {
      load_pair(mean + c, kept_mean);
      load_pair(var + c, kept_var);
    }
    blend_pair(kept_mean, hi + lo, weight - Pair{}, mean + c);
    blend_pair(kept_var, m2 / degrees, weight - Pair{}, var + c);
  }
  return c;
}

// Moves the first channels of a batch with one statistic each, and returns how many, with the bits of move_running; or
// null.
template <class Param>
using MoveTogether = Index (*)(const BatchStatistics<Param>& batch, double weight, double degrees, Param* mean,
                               Param* var);

// running = (1 - weight) * running + weight * batch, where a batch of several statistics per channel gives their mean
// (InstanceNorm over its instances). Weight 0 leaves a running value alone and 1 replaces it, NaN or not.
template <class Param>
void move_running(const BatchStatistics<Param>& batch, Index channels, double weight, bool unbiased, Param* mean,
                  Param* var, MoveTogether<Param> together = nullptr) {
  if (!(weight > 0)) return;
  const auto blend = [weight](Param& running, double value) {
    const double kept = weight >= 1 ? 0 : product(1 - weight, static_cast<double>(running));
    running = static_cast<Param>(kept + product(weight, value));
  };
  const Index instances = batch.count / channels;
  const double all = static_cast<double>(instances), degrees = static_cast<double>(unbiased ? batch.n - 1 : batch.n);
  Index c = 0;
  if (instances == 1) {
    if (together != nullptr) c = together(batch, weight, degrees, mean, var);
    c = move_pairs(batch, c, weight, degrees, mean, var);
  }
  for (; c < channels; ++c) {
    double mean_sum = 0, var_sum = 0;
    for (Index i = c; i < batch.count; i += channels) {
      mean_sum += static_cast<double>(batch.hi[i]) + static_cast<double>(batch.lo[i]);
      var_sum += not_negative(batch.m2[i]) / degrees;
    }
    blend(mean[c], mean_sum / all);
    blend(var[c], var_sum / all);
  }
}

// `tracks`: whether the layer may have any. One that may and has none leaves `channels` 0.
template <class Param, bool tracks>
struct RunningStatistics {
  static constexpr bool tracked() { return false; }
};

template <class Param>
struct RunningStatistics<Param, true> {
  using Array = Eigen::Array<Param, Eigen::Dynamic, 1>;

  Index channels = 0;
  std::optional<double> momentum;  // nullopt: the cumulative average
  bool unbiased = true;
  Array mean, var;
  std::int64_t num_batches_tracked = 0;

  bool tracked() const { return channels > 0; }

  void update(const BatchStatistics<Param>& batch, MoveTogether<Param> together) {
    const double count = static_cast<double>(++num_batches_tracked);
    move_running(batch, channels, momentum ? *momentum : 1 / count, unbiased, mean.data(), var.data(), together);
  }
};

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
