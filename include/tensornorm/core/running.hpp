// Running statistics: what batches leave behind for inference.
#pragma once

#include <Eigen/Core>
#include <cstdint>
#include <optional>
#include <vector>

#include "tensornorm/core/moments.hpp"

namespace tensornorm {
namespace core {

// A layer without any leaves `channels` 0.
template <class Param>
struct RunningStatistics {
  using Array = Eigen::Array<Param, Eigen::Dynamic, 1>;

  Index channels = 0;
  std::optional<double> momentum;  // nullopt: the cumulative average
  bool unbiased = true;
  Array mean, var;
  std::int64_t num_batches_tracked = 0;

  bool tracked() const { return channels > 0; }

  // running = (1 - momentum) * running + momentum * batch, where a batch of several statistics per channel gives their
  // mean (InstanceNorm over its instances). Momentum 0 leaves a running value alone and 1 replaces it, NaN or not.
  // @pre batch holds the channels' moments, instance by instance
  void update(const std::vector<Moments>& batch) {
    const double count = static_cast<double>(++num_batches_tracked);
    const double weight = momentum ? *momentum : 1 / count;
    if (weight == 0) return;
    const auto blend = [weight](Param& running, double value) {
      const double kept = weight == 1 ? 0 : (1 - weight) * static_cast<double>(running);
      running = static_cast<Param>(kept + weight * value);
    };
    const auto n = static_cast<std::size_t>(channels);
    const double instances = static_cast<double>(batch.size() / n);
    for (std::size_t c = 0; c < n; ++c) {
      double mean_sum = 0, var_sum = 0;
      for (std::size_t i = c; i < batch.size(); i += n) {
        mean_sum += batch[i].mean();
        var_sum += batch[i].m2 / static_cast<double>(unbiased ? batch[i].n - 1 : batch[i].n);
      }
      blend(mean[static_cast<Index>(c)], mean_sum / instances);
      blend(var[static_cast<Index>(c)], var_sum / instances);
    }
  }
};

}  // namespace core
}  // namespace tensornorm
