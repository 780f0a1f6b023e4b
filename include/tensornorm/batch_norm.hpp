// BatchNorm: each channel normalized over the batch and all other axes.
#pragma once

#include "tensornorm/requirements.hpp"

#include "tensornorm/core/pass/pieces.hpp"
#include "tensornorm/tracking_layer.hpp"

namespace tensornorm {

/// Options of BatchNorm.
struct BatchNormOptions {
  double eps = 1e-5;  ///< Added to the variance; 0 is allowed.
  /// Weight of the new batch in the running statistics: 0 keeps them and 1 replaces them, NaN or not. nullopt: the
  /// running statistics are the average over all batches.
  std::optional<double> momentum = 0.1;
  bool affine = true;                ///< Whether there are gamma and beta.
  bool track_running_stats = true;   ///< Whether there are running statistics. Without, every call uses those of x.
  Index channel_axis = 1;            ///< The axis of the channels; negative: from the end.
  bool unbiased_running_var = true;  ///< running_var divides by n - 1; false: by n, as the variance that normalizes.
  bool allow_single_value = false;   ///< A single finite value per channel gives y = beta and moves nothing.
  /// Samples of a virtual batch, or 0. In train mode x is taken in pieces of so many samples, the last perhaps fewer,
  /// each with statistics of its own, which move the running statistics in turn: ghost batch normalization.
  Index virtual_batch = 0;
};

/// Batch normalization: y = (x - mean) / sqrt(var + eps) * gamma + beta. Mean and biased variance are those of each
/// channel, over the batch and all other axes.
///
/// Shapes: x has rank 2 or more and `channels` elements along channel_axis, in any layout: (N, C), (N, C, H, W), or
/// channels last. gamma, beta, running_mean, running_var, mean and rstd have the extents (channels).
///
/// Modes: train mode uses the statistics of x and moves the running statistics by the momentum. Eval mode and infer use
/// the running statistics if there are any. Statistics of x need more than one value per channel: else
/// std::invalid_argument, unless options.allow_single_value.
///
/// Virtual batches (Hoffer, Hubara and Soudry 2017): samples lie along the first axis that is not channel_axis. mean
/// and rstd then have the extents (pieces, channels). A last piece with a single value per channel is an error, as a
/// batch of one is. After std::bad_alloc y, h, dx, dz, the running statistics and the gradients may be those of some
/// pieces.
///
/// Edges: a constant channel gives y = beta; with eps = 0 its rstd and dx are 0. NaN and infinity stay in their channel
/// and, in train mode, in its running statistics. A running variance beyond the range of Param is infinite, and then y
/// is beta in eval mode and infer.
///
/// Precision: a few deviations are added in Param, and these sums in double. The mean is kept as two Params, so that no
/// offset of x costs digits of y. Deviations of double tensors must lie between 1e-150 and 1e150.
///
/// Source: Ioffe and Szegedy 2015, algorithms 1 and 2; momentum and running variance as PyTorch's BatchNorm.
template <class Scalar>
class BatchNorm : public TrackingLayer<BatchNorm<Scalar>, Scalar, BatchNormOptions> {
  using Base = TrackingLayer<BatchNorm<Scalar>, Scalar, BatchNormOptions>;
  friend Layer<BatchNorm<Scalar>, Scalar, true>;
  friend Protocol<BatchNorm<Scalar>, core::Engine<Scalar, true>>;

 public:
  /// In train mode, with gamma 1, beta 0, running mean 0 and running variance 1. Throws std::invalid_argument when
  /// channels is below 1, eps is negative or not finite, momentum is outside [0, 1], or virtual_batch is negative.
  explicit BatchNorm(Index channels, const BatchNormOptions& options = {}) : Base(channels, options) {
    core::check_that(options.virtual_batch >= 0, "virtual_batch is ", options.virtual_batch, " but must be 0 or more");
  }

  /// The same with the usual options but eps.
  template <class Eps, class = std::enable_if_t<std::is_floating_point<Eps>::value>>
  BatchNorm(Index channels, Eps eps)
      : BatchNorm(channels, core::with_eps<BatchNormOptions>(static_cast<double>(eps))) {}
  /// A layer of nothing, to be assigned to: its calls throw std::invalid_argument.
  BatchNorm() = default;

 private:
  using Runner = core::Runner;
  using Shape = core::Shape;
  using Target = core::Target<Scalar>;
  using State = core::PassState<Scalar>;

  void describe(std::ostream& out) const { this->describe_as("BatchNorm", out); }

  void run_forward(Runner& runner, const Scalar* x, const Shape& shape, Target& y, State* pass = nullptr,
                   core::ResidualArguments<Scalar>* sum = nullptr) {
    State& state = pass == nullptr ? this->own_pass() : *pass;
    if (has_pieces(shape)) {
      const auto run = [&](const Scalar* of_piece, const Shape& piece, Target& to, State& its,
                           core::ResidualArguments<Scalar>* its_sum) {
        Base::run_forward(runner, of_piece, piece, to, &its, its_sum);
      };
      const auto refuse = [&](const Shape& piece) { axes(piece, true); };
      return core::forward_pieces<Scalar>(samples_axis(shape), this->options_.virtual_batch, x, shape, y, state, sum,
                                          refuse, run);
    }
    Base::run_forward(runner, x, shape, y, pass, sum);
  }
  void run_backward(Runner& runner, const Scalar* x, const Shape& shape, const core::OutputGradient<Scalar>& dy,
                    Target* dx, State* pass = nullptr) {
    State& state = pass == nullptr ? this->own_pass() : *pass;
    if (state.record.used_pieces == 0) return Base::run_backward(runner, x, shape, dy, dx, pass);
    state.record.check_backward(shape, dy.shape, this->training());
    const Index most = this->options_.virtual_batch;
    core::check_that(most > 0 && core::count_pieces(shape, samples_axis(shape), most) == state.record.used_pieces,
                     "the forward of this pass had ", state.record.used_pieces,
                     " virtual batches, but this layer's virtual_batch is ", most, ": the pass is of another layer");
    core::PieceSums sums(this->accumulates_);
    const auto run = [&](const Scalar* of_piece, const Shape& piece, const core::OutputGradient<Scalar>& its_dy,
                         Target* to, State& its) {
      if (!sums.begun && !sums.accumulates && !this->is_frozen_) this->zero_grad();
      sums.begin();
      Base::run_backward(runner, of_piece, piece, its_dy, to, &its);
    };
    core::backward_pieces<Scalar>(samples_axis(shape), this->options_.virtual_batch, x, shape, dy, dx, state, run);
  }

  int samples_axis(const Shape& x) const {
    return core::channel_axis(x, this->options_.channel_axis, this->channels_, 0) == 0 ? 1 : 0;
  }
  bool has_pieces(const Shape& x) const {
    const bool may = this->options_.virtual_batch > 0 && this->training() && x.rank >= 2 && x.count() > 0;
    return may && x.extent(samples_axis(x)) > this->options_.virtual_batch;
  }

  core::Axes axes(const core::Shape& x, bool batch) const {
    core::check_made(this->channels_);
    const core::AxisSet channel = core::axis(core::channel_axis(x, this->options_.channel_axis, this->channels_, 0));
    if (batch && x.count() > 0 && !this->options_.allow_single_value) core::check_batch(x, this->channels_);
    return core::make_axes(x, channel, channel);
  }
};

}  // namespace tensornorm
