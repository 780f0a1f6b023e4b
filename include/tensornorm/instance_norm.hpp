// InstanceNorm: each channel of each sample normalized over its spatial axes.
#pragma once

#include "tensornorm/requirements.hpp"

#include "tensornorm/layer.hpp"

namespace tensornorm {

/// Options of InstanceNorm.
struct InstanceNormOptions {
  double eps = 1e-5;                     ///< Added to the variance; 0 is allowed.
  std::optional<double> momentum = 0.1;  ///< As BatchNormOptions::momentum.
  bool affine = false;                   ///< Whether there are gamma and beta.
  bool track_running_stats = false;      ///< Whether there are running statistics. Without, every call uses those of x.
  Index channel_axis = 1;                ///< The axis of the channels, never axis 0; negative: from the end.
  bool unbiased_running_var = true;      ///< As BatchNormOptions::unbiased_running_var.
};

/// Instance normalization: y = (x - mean) / sqrt(var + eps) * gamma + beta. Mean and biased variance are those of each
/// channel of each sample, over space.
///
/// Shapes: x is (N, ..., channels, ...) in any layout. Axis 0 is the batch; the axes that are neither batch nor
/// channels are space. gamma, beta, running_mean and running_var have the extents (channels). mean and rstd have N *
/// channels values, row-major; after a forward that used running statistics they have `channels`.
///
/// Modes: as BatchNorm; by default there are no running statistics. A batch moves them towards the means over N of its
/// samples' means and unbiased variances. Statistics of x need more than one spatial element, and hence rank 3 or more:
/// else std::invalid_argument.
///
/// Edges and precision: as BatchNorm, of each channel of each sample.
///
/// Source: Ulyanov, Vedaldi and Lempitsky 2016, equation 4; running statistics as PyTorch's InstanceNorm.
template <class Scalar>
class InstanceNorm : public Layer<InstanceNorm<Scalar>, Scalar, true> {
  using Base = Layer<InstanceNorm<Scalar>, Scalar, true>;
  friend Base;

 public:
  /// As the constructor of BatchNorm. Throws std::invalid_argument also when channel_axis is 0.
  explicit InstanceNorm(Index channels, const InstanceNormOptions& options = {})
      : Base(options.eps, true, core::channel_parameters(channels, options.affine, options.momentum), true),
        channels_(channels), options_(options) {
    core::check_that(options.channel_axis != 0, "channel_axis is ", options.channel_axis, " but axis 0 is the batch");
    if (options.track_running_stats) this->track(channels, options.momentum, options.unbiased_running_var);
  }

  using Base::beta, Base::dbeta, Base::mean;
  using Base::prepare;
  using Base::running_mean, Base::running_var, Base::num_batches_tracked;

  /// The number of channels.
  Index channels() const { return channels_; }
  /// The options that the layer was made with.
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
