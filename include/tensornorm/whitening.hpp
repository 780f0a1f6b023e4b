// Whitening: the channels of a group decorrelated over the batch and all other axes.
#pragma once

#include "tensornorm/requirements.hpp"

#include <vector>

#include "tensornorm/protocol.hpp"
#include "tensornorm/whitening_passes.hpp"

namespace tensornorm {

struct WhiteningOptions {
  WhiteningMethod method = WhiteningMethod::kZca;  // kZca and kNewton train; kPca and kCholesky are for fit
  double eps = 1e-5;                               // added to the covariance's diagonal
  Index groups = 1;                                // blocks of neighbouring channels, each whitened by itself
  int iterations = 5;                              // of kNewton
  std::optional<double> momentum = 0.1;            // weight of the new batch; nullopt: the cumulative average
  bool affine = true;
  Index channel_axis = 1;  // negative: from the end
};

/// Whitening: y = W (x - mean) * gamma + beta at every position, with the mean of each channel and, for each group of k
/// = channels / groups neighbouring channels, a (k, k) matrix W with W Sigma W^T = I, Sigma being the group's biased
/// covariance over the batch and all other axes plus eps on its diagonal. Train mode (kZca, kNewton; of the others
/// forward throws) needs more than one value per channel; running mean and running W move by momentum and replace the
/// batch's in eval mode and infer. One channel to a group is BatchNorm in train mode; what runs is W, not the variance,
/// and it starts from the identity: far from it, take momentum = nullopt.
///
/// Shapes: x of rank 2 or more, `channels` long along channel_axis, channels anywhere, any layout. gamma, beta, mean,
/// running_mean: (channels). whitening, running_whitening: (channels, k), the groups' matrices below one another.
///
/// Errors: the constructor throws std::invalid_argument when groups do not divide channels or have more than 8192, on
/// channels, groups or iterations < 1, an eps below 0 or not finite, a momentum outside [0, 1].
///
/// Edges: an empty x gives an empty y and changes no state; constant channels give beta; with eps = 0 directions with
/// no more variance than rounding x to Scalar makes (kCholesky: channels that others determine) give 0 before gamma and
/// beta, and y is white on the others (kNewton multiplies what rounding left there by 1.5^iterations: give it an eps);
/// NaN and Inf reach all of their group.
///
/// Precision: all in double, y rounds once; with eps = 0 the covariance of y is the identity to 1e-5 in float (kNewton:
/// as near as its iterations come) while the correlations' eigenvalues lie above 1e-9 and, but for kCholesky, the
/// deviations along principal directions within a factor of 1e10.
///
/// Memory: infer and inverse take 9 KB of stack and allocate nothing but, where y is x and a group has more than 512
/// channels, panels of 16 positions. The others take 10 KB and the layer's workspace; their decompositions allocate.
///
/// Source: Huang et al. 2018, Decorrelated Batch Normalization, section 3 (kZca); Huang et al. 2019, IterNorm,
/// algorithm 1 (kNewton); Kessy et al. 2018 (the others).
template <class Scalar>
class Whitening : public Protocol<Whitening<Scalar>, Scalar> {
  using Base = Protocol<Whitening<Scalar>, Scalar>;
  friend Base;

 public:
  using typename Base::Array;
  using typename Base::Param;

  explicit Whitening(Index channels, const WhiteningOptions& options = {})
      : Base(options.eps, checked(channels, options), options.affine ? channels : 0), channels_(channels),
        options_(options), rule_{options.method, channels / options.groups, options.eps, options.iterations,
                                 core::least_variance(channels / options.groups, Eigen::NumTraits<Scalar>::digits(),
                                                      options.eps)},
        running_(channels, rule_.k) {}

  /// The running statistics become those of x; x as forward takes it, not empty, in either mode, with the errors of
  /// forward in train mode. infer then whitens by them and inverse takes it back. Allocates. Throws with the layer as
  /// it was.
  template <class X>
  void fit(const X& x) {
    fit(Eigen::DefaultDevice(), x);
  }
  template <class Device, class X>
  void fit(const Device& device, const X& x) {
    if constexpr (core::accepted<core::fault_of_inputs<Scalar, Device, X>(), Device, X>()) run_fit(device, x);
  }

  /// x of y = infer(x): x = mean + Sigma W^T ((y - beta) / gamma), with the mean, Sigma and W of the last fit. Exact up
  /// to rounding for the x that was fitted and, where Sigma is regular, for any; otherwise the nearest x that has no
  /// variance where Sigma has none. A gamma of 0 gives its part of the mean. y and x as infer takes x and y; throws
  /// std::invalid_argument as it does, and without a fit, or when a forward in train mode or an assignment has changed
  /// the statistics since.
  template <class Y, class X>
  void inverse(const Y& y, X&& x) const {
    inverse(Eigen::DefaultDevice(), y, x);
  }
  template <class Device, class Y, class X>
  void inverse(const Device& device, const Y& y, X&& x) const {
    if constexpr (core::accepted<core::fault_of_call<Scalar, Device, X, Y>(), Device, Y, X>())
      run_inverse(device, y, x);
  }
  template <class Y>
  core::Result<Scalar, Y> inverse(const Y& y) const {
    core::Result<Scalar, Y> x;
    inverse(y, x);
    return x;
  }

  /// The learnable shift; of size 0 without affine.
  Array& beta() { return beta_; }
  const Array& beta() const { return beta_; }
  /// The gradient of beta from the last backward.
  Array& dbeta() { return dbeta_; }
  const Array& dbeta() const { return dbeta_; }

  /// Running statistics, assignable to load a trained layer. In double, as are mean and whitening: the whitening matrix
  /// of correlated channels takes differences of large numbers.
  Eigen::ArrayXd& running_mean() { return running_.mean; }
  const Eigen::ArrayXd& running_mean() const { return running_.mean; }
  Eigen::MatrixXd& running_whitening() { return running_.whitening; }
  const Eigen::MatrixXd& running_whitening() const { return running_.whitening; }
  /// Forward passes in train mode so far, empty ones left out; 1 after fit.
  std::int64_t& num_batches_tracked() { return running_.num_batches_tracked; }
  std::int64_t num_batches_tracked() const { return running_.num_batches_tracked; }

  /// What the last forward took away and multiplied by.
  const Eigen::ArrayXd& mean() const { return last_.mean; }
  const Eigen::MatrixXd& whitening() const { return last_.whitening; }

  Index channels() const { return channels_; }
  const WhiteningOptions& options() const { return options_; }

 private:
  using Base::gamma_, Base::dgamma_, Base::beta_, Base::dbeta_, Base::pass_, Base::training_;
  using typename Base::Shape;
  using Statistics = core::WhiteningStatistics;

  static Index checked(Index channels, const WhiteningOptions& options);

  template <class Device, class X, class Y>
  void run_forward(const Device& device, const X& x, Y& y);
  template <class Device, class X, class Y>
  void run_infer(const Device& device, const X& x, Y& y) const;
  template <class Device, class X, class DY, class DX>
  void run_backward(const Device& device, const X& x, const DY& dy, DX& dx);
  template <class Device, class X>
  void run_fit(const Device& device, const X& x);
  template <class Device, class Y, class X>
  void run_inverse(const Device& device, const Y& y, X& x) const;

  // What these are made of, whatever the tensors' types.
  core::ChannelMatrix checked_matrix(const Shape& x) const;
  Statistics batch_statistics(const core::Runner& runner, const core::ChannelMatrix& m, const Scalar* x);
  core::Affine<Param> affine() const {
    return options_.affine ? core::Affine<Param>{gamma_.data(), beta_.data()} : core::Affine<Param>{};
  }
  core::WhiteningGradients gradients(const core::Runner& runner, const core::ChannelMatrix& m, const Scalar* x,
                                     const Scalar* dy);
  // So many doubles at least; null for none.
  double* room_for(std::size_t size) {
    workspace_.resize((std::max)(workspace_.size(), size));
    return size == 0 ? nullptr : workspace_.data();
  }

  Index channels_;
  WhiteningOptions options_;
  core::GroupWhitening<double> rule_;
  core::RunningWhitening running_;
  Statistics last_;
  std::vector<double> workspace_;
};

template <class Scalar>
Index Whitening<Scalar>::checked(Index channels, const WhiteningOptions& options) {
  using core::check_that;
  const Index groups = options.groups;
  check_that(groups > 0 && channels > 0, groups, " groups of ", channels, " channels: at least 1 of each is needed");
  check_that(channels % groups == 0, groups, " groups do not divide ", channels, " channels");
  check_that(channels / groups <= core::kMostGroupChannels, groups, " groups of ", channels,
             " channels: a group has at most ", core::kMostGroupChannels);
  check_that(options.iterations > 0, options.iterations, " iterations: at least 1 is needed");
  core::check_momentum(options.momentum);
  return options.affine ? channels : 0;
}

// x as positions by channels; throws when x has not the shape the layer takes or a parameter has not.
template <class Scalar>
core::ChannelMatrix Whitening<Scalar>::checked_matrix(const Shape& x) const {
  const int c = core::channel_axis(x, options_.channel_axis, channels_, 0);
  this->check_affine();
  this->check_size(running_.mean, channels_, "running_mean");
  core::check_that(running_.whitening.rows() == channels_ && running_.whitening.cols() == rule_.k,
                   "running_whitening has extents (", running_.whitening.rows(), ", ", running_.whitening.cols(),
                   ") but the layer needs (", channels_, ", ", rule_.k, ")");
  return {x, c, options_.groups};
}

template <class Scalar>
core::WhiteningStatistics Whitening<Scalar>::batch_statistics(const core::Runner& runner, const core::ChannelMatrix& m,
                                                              const Scalar* x) {
  Statistics s(channels_, rule_.k);
  const core::Covariance<Scalar> covariance(m, x);
  covariance.run(runner, room_for(covariance.workspace_size()), s.mean, s.lo, s.covariance);
  rule_.solve(s);
  return s;
}

template <class Scalar>
template <class Device, class X, class Y>
void Whitening<Scalar>::run_forward(const Device& device, const X& x, Y& y) {
  const core::Input<X> in(x);
  const core::ChannelMatrix m = checked_matrix(in.shape());
  core::check_that(!training_ || rule_.trains(),
                   "whitening by PCA or Cholesky is fitted, not trained, but the mode is train (", training_,
                   "): call fit, then eval or infer");
  const bool empty = in.shape().count() == 0;
  if (training_ && !empty) core::check_batch(in.shape(), channels_);
  core::Output<Y> out(y, "y", in.shape());
  out.check_overlap(in.data(), "y", "x");

  // Everything that can fail comes before anything that changes.
  const auto runner = core::runner_on(device, m.work());
  const std::uint64_t fingerprint = core::fingerprint(in.data(), in.shape().count());
  Statistics next;
  if (!empty) next = training_ ? batch_statistics(runner, m, in.data()) : running_.frozen();
  double* const panels = room_for(empty ? 0 : core::map_workspace_size(m, 1));
  Scalar* const y_data = out.prepare();
  std::swap(last_, next);
  this->passed(in.shape(), fingerprint, training_);
  if (empty) return;
  if (training_) running_.update(last_, options_.momentum);
  core::whiten(runner, m, panels, in.data(), y_data, last_.split_mean(), core::ConstMatrix(last_.whitening), affine());
}

template <class Scalar>
template <class Device, class X, class Y>
void Whitening<Scalar>::run_infer(const Device& device, const X& x, Y& y) const {
  const core::Input<X> in(x);
  const core::ChannelMatrix m = checked_matrix(in.shape());
  core::Output<Y> out(y, "y", in.shape());
  out.check_overlap(in.data(), "y", "x");
  Scalar* const y_data = out.prepare();
  if (in.shape().count() == 0) return;
  core::InPlacePanels panels(m, in.data() == y_data);
  core::whiten(core::runner_on(device, m.work()), m, panels.workspace(), in.data(), y_data, running_.split_mean(),
               core::ConstMatrix(running_.whitening), affine());
}

template <class Scalar>
template <class Device, class X>
void Whitening<Scalar>::run_fit(const Device& device, const X& x) {
  const core::Input<X> in(x);
  const core::ChannelMatrix m = checked_matrix(in.shape());
  core::check_batch(in.shape(), channels_);
  const Statistics s = batch_statistics(core::runner_on(device, m.work()), m, in.data());
  core::RunningWhitening fitted(s, rule_.coloring(s));
  std::swap(running_, fitted);
}

template <class Scalar>
template <class Device, class Y, class X>
void Whitening<Scalar>::run_inverse(const Device& device, const Y& y, X& x) const {
  const core::Input<Y> in(y);
  const core::ChannelMatrix m = checked_matrix(in.shape());
  core::check_that(running_.is_fitted(), "inverse follows fit, but the running statistics of ", channels_,
                   " channels come from no fit or were changed since");
  core::Output<X> out(x, "x", in.shape());
  out.check_overlap(in.data(), "x", "y");
  Scalar* const x_data = out.prepare();
  if (in.shape().count() == 0) return;
  core::InPlacePanels panels(m, in.data() == x_data);
  core::color(core::runner_on(device, m.work()), m, panels.workspace(), in.data(), x_data, running_.mean,
              core::ConstMatrix(running_.fitted.coloring), affine());
}

template <class Scalar>
template <class Device, class X, class DY, class DX>
void Whitening<Scalar>::run_backward(const Device& device, const X& x, const DY& dy, DX& dx) {
  const core::Input<X> in(x);
  const core::Input<DY> gradient(dy);
  this->check_pass(in.shape(), gradient.shape());
  const core::ChannelMatrix m = checked_matrix(in.shape());
  core::Output<DX> out(dx, "dx", in.shape());
  out.check_overlap(in.data(), "dx", "x");
  out.check_overlap(gradient.data(), "dx", "dy");
  this->check_same_x(in.shape(), in.data());
  if (in.shape().count() == 0) {
    out.prepare();
    dgamma_.setZero();
    dbeta_.setZero();
    return;
  }
  const auto runner = core::runner_on(device, m.work());
  const core::WhiteningGradients found = gradients(runner, m, in.data(), gradient.data());
  double* const panels = room_for(core::map_workspace_size(m, 2));
  Scalar* const dx_data = out.prepare();
  if (options_.affine) {
    dgamma_ = found.dgamma.template cast<Param>();
    dbeta_ = found.dbeta.template cast<Param>();
  }
  core::input_gradient(runner, m, panels, in.data(), gradient.data(), dx_data, last_.split_mean(), found);
}

template <class Scalar>
core::WhiteningGradients Whitening<Scalar>::gradients(const core::Runner& runner, const core::ChannelMatrix& m,
                                                      const Scalar* x, const Scalar* dy) {
  Eigen::ArrayXd sum_dy(channels_);
  core::Matrix products(channels_, rule_.k);
  const core::GradientSums<Scalar> sums(m, x, dy, last_.split_mean());
  sums.run(runner, room_for(sums.workspace_size()), sum_dy, products);
  core::Vector gamma = core::Vector::Ones(channels_);
  if (options_.affine) gamma = gamma_.matrix().template cast<double>();
  return core::whitening_gradients(rule_, last_, m.rows(), sum_dy, products, gamma, !pass_.batch);
}

}  // namespace tensornorm
