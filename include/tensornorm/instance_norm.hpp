// InstanceNorm: each channel of each sample normalized over its spatial axes.
#pragma once

#include "tensornorm/requirements.hpp"

#include "tensornorm/tracking_layer.hpp"

namespace tensornorm {

/// Options of InstanceNorm.
struct InstanceNormOptions {
  double eps = 1e-5;                     ///< Added to the variance; 0 is allowed.
  std::optional<double> momentum = 0.1;  ///< As BatchNormOptions::momentum.
  bool affine = false;                   ///< Whether there are gamma and beta.
  bool track_running_stats = false;      ///< Whether there are running statistics. Without, every call uses those of x.
  Index channel_axis = 1;                ///< As GroupNormOptions::channel_axis.
  Index batch_axis = 0;                  ///< As GroupNormOptions::batch_axis.
  bool unbiased_running_var = true;      ///< As BatchNormOptions::unbiased_running_var.
  bool allow_single_value = false;       ///< As BatchNormOptions::allow_single_value.
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
/// else std::invalid_argument, unless options.allow_single_value.
///
/// Edges and precision: as BatchNorm, of each channel of each sample.
///
/// Source: Ulyanov, Vedaldi and Lempitsky 2016, equation 4; running statistics as PyTorch's InstanceNorm.
template <class Scalar>
class InstanceNorm : public TrackingLayer<InstanceNorm<Scalar>, Scalar, InstanceNormOptions> {
  using Base = TrackingLayer<InstanceNorm<Scalar>, Scalar, InstanceNormOptions>;
  friend Layer<InstanceNorm<Scalar>, Scalar, true>;

 public:
  /// As the constructor of BatchNorm. Throws std::invalid_argument also when channel_axis is batch_axis.
  explicit InstanceNorm(Index channels, const InstanceNormOptions& options = {}) : Base(channels, options) {
    core::check_that(options.channel_axis != options.batch_axis, "channel_axis is ", options.channel_axis, " but axis ",
                     options.batch_axis, " is the batch");
  }

  /// The same with the usual options but eps.
  template <class Eps, class = std::enable_if_t<std::is_floating_point<Eps>::value>>
  InstanceNorm(Index channels, Eps eps)
      : InstanceNorm(channels, core::with_eps<InstanceNormOptions>(static_cast<double>(eps))) {}
  /// A layer of nothing, to be assigned to: its calls throw std::invalid_argument.
  InstanceNorm() = default;

 private:
  void describe(std::ostream& out) const { this->describe_as("InstanceNorm", out); }

  core::Axes axes(const core::Shape& x, bool batch) const {
    core::check_made(this->channels_);
    const int c = core::channel_axis(x, this->options_.channel_axis, this->channels_, 0);
    const int n = core::batch_axis(x, this->options_.batch_axis, c);
    const core::AxisSet channel = core::axis(c);
    if (!batch) return core::make_axes(x, channel, channel);
    if (x.count() > 0 && !this->options_.allow_single_value) core::check_instances(x, x.extent(n), this->channels_);
    core::Axes result = core::make_axes(x, core::axis(n) | channel, channel);
    result[c].stat = 1;  // sample by sample, wherever the batch axis lies
    result[n].stat = this->channels_;
    return result;
  }
};

}  // namespace tensornorm
