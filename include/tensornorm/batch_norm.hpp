// BatchNorm: each channel normalized over the batch and all other axes.
#pragma once

#include "tensornorm/requirements.hpp"

#include "tensornorm/layer.hpp"

namespace tensornorm {

struct BatchNormOptions {
  double eps = 1e-5;
  std::optional<double> momentum = 0.1;  // weight of the new batch; nullopt: the cumulative average
  bool affine = true;
  bool track_running_stats = true;
  Index channel_axis = 1;            // negative: from the end
  bool unbiased_running_var = true;  // divides by n - 1; false: by n, as the variance that normalizes
};

/// Batch normalization: y = (x - mean) / sqrt(var + eps) * gamma + beta, with mean and biased variance of each channel.
///
/// x: rank 2 or more, `channels` long along channel_axis; (N, C), (N, C, H, W), channels last, any layout. gamma, beta,
/// running_mean, running_var, mean, rstd: (channels). In train mode a batch needs more than one value per channel; the
/// running statistics move by momentum (0 leaves them, 1 replaces them, NaN or not), with the unbiased variance. In
/// eval mode they replace the batch's. Edges: an empty x gives an empty y and changes no state; var + eps = 0 gives y =
/// beta; NaN and Inf stay in their channel (and, in train mode, in its running statistics); a running variance too
/// large for Param becomes +inf. Precision: statistics in double, the mean kept as two Params: no offset of x costs
/// digits of y. The constructor throws std::invalid_argument on channels < 1, an eps below 0 or not finite, a momentum
/// outside [0, 1]. Source: Ioffe and Szegedy 2015, algorithms 1 and 2; momentum and running variance as PyTorch's
/// BatchNorm.
template <class Scalar>
class BatchNorm : public Layer<BatchNorm<Scalar>, Scalar, true> {
  using Base = Layer<BatchNorm<Scalar>, Scalar, true>;
  friend Base;

 public:
  explicit BatchNorm(Index channels, const BatchNormOptions& options = {})
      : Base(options.eps, true, core::channel_parameters(channels, options.affine, options.momentum), true),
        channels_(channels), options_(options) {
    if (options.track_running_stats) this->track(channels, options.momentum, options.unbiased_running_var);
  }

  using Base::beta, Base::dbeta, Base::mean;
  using Base::prepare;
  using Base::running_mean, Base::running_var, Base::num_batches_tracked;

  Index channels() const { return channels_; }
  const BatchNormOptions& options() const { return options_; }

 private:
  core::Axes axes(const core::Shape& x, bool batch) const {
    const core::AxisSet channel = core::axis(core::channel_axis(x, options_.channel_axis, channels_, 0));
    if (batch && x.count() > 0) core::check_batch(x, channels_);
    return core::make_axes(x, channel, channel);
  }

  Index channels_;
  BatchNormOptions options_;
};

}  // namespace tensornorm
