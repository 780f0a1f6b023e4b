// InstanceNorm: each channel of each sample normalized over its spatial axes.
#pragma once

#include "tensornorm/requirements.hpp"

#include "tensornorm/layer.hpp"

namespace tensornorm {

struct InstanceNormOptions {
  double eps = 1e-5;
  std::optional<double> momentum = 0.1;  // weight of the new batch; nullopt: the cumulative average
  bool affine = false;
  bool track_running_stats = false;
  Index channel_axis = 1;            // negative: from the end; never the batch, axis 0
  bool unbiased_running_var = true;  // divides by n - 1; false: by n, as the variance that normalizes
};

/// Instance normalization: BatchNorm's formula with the mean and variance of each channel of each sample.
///
/// x: (N, ..., channels, ...), rank 3 or more for statistics of more than one value, any layout. gamma, beta,
/// running_mean, running_var: (channels); mean, rstd: (N * channels), in eval mode with running statistics (channels).
/// Statistics need more than one spatial element. Tracked running statistics move by momentum towards the mean over N
/// of the samples' means and unbiased variances, and replace the samples' own in eval mode.
/// Edges, precision: as BatchNorm, by instance.
/// The constructor throws as BatchNorm's does, and on channel_axis 0.
/// Source: Ulyanov, Vedaldi and Lempitsky 2016, equation 4; running statistics as PyTorch's InstanceNorm.
template <class Scalar>
class InstanceNorm : public Layer<InstanceNorm<Scalar>, Scalar, true> {
  using Base = Layer<InstanceNorm<Scalar>, Scalar, true>;
  friend Base;

 public:
  explicit InstanceNorm(Index channels, const InstanceNormOptions& options = {})
      : Base(options.eps, true, core::channel_parameters(channels, options.affine, options.momentum), true),
        channels_(channels), options_(options) {
    core::check_that(options.channel_axis != 0, "channel_axis is ", options.channel_axis, " but axis 0 is the batch");
    if (options.track_running_stats) this->track(channels, options.momentum, options.unbiased_running_var);
  }

  using Base::beta, Base::dbeta, Base::mean;
  using Base::prepare;
  using Base::running_mean, Base::running_var, Base::num_batches_tracked;

  Index channels() const { return channels_; }
  const InstanceNormOptions& options() const { return options_; }

 private:
  core::Axes axes(const core::Shape& x, bool batch) const {
    const core::AxisSet channel = core::axis(core::channel_axis(x, options_.channel_axis, channels_, 1));
    if (!batch) return core::make_axes(x, channel, channel);
    if (x.count() > 0) core::check_instances(x, channels_);
    return core::make_axes(x, core::axis(0) | channel, channel);
  }

  Index channels_;
  InstanceNormOptions options_;
};

}  // namespace tensornorm
