// Whitening: the channels of a group decorrelated over the batch and all other axes.
#pragma once

#include "tensornorm/requirements.hpp"

#include "tensornorm/core/thread/device.hpp"
#include "tensornorm/core/whitening/whitening_engine.hpp"
#include "tensornorm/protocol.hpp"
#include "tensornorm/tensor_view.hpp"

namespace tensornorm {

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
class Whitening : public Protocol<Whitening<Scalar>, core::WhiteningEngine<Scalar>> {
  using Engine = core::WhiteningEngine<Scalar>;
  using Base = Protocol<Whitening<Scalar>, Engine>;
  friend Base;

 public:
  explicit Whitening(Index channels, const WhiteningOptions& options = {}) : Base(channels, options) {}

  /// The running statistics become those of x; x as forward takes it, not empty, in either mode, with the errors of
  /// forward in train mode. infer then whitens by them and inverse takes it back. Allocates. Throws with the layer as
  /// it was.
  template <class X>
  void fit(const X& x) {
    fit(core::CallingThread(), x);
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
    inverse(core::CallingThread(), y, x);
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

 private:
  template <class Device, class X, class Y>
  void run_forward(const Device& device, const X& x, Y& y) {
    const core::Input<X> in(x);
    core::Output<Y> out(y, "y");
    const auto runner = core::runner_on(device, this->work(in.shape()));
    Engine::run_forward(runner, in.data(), in.shape(), out);
  }

  template <class Device, class X, class Y>
  void run_infer(const Device& device, const X& x, Y& y) const {
    const core::Input<X> in(x);
    core::Output<Y> out(y, "y");
    const auto runner = core::runner_on(device, this->work(in.shape()));
    Engine::run_infer(runner, in.data(), in.shape(), out);
  }

  template <class Device, class X, class DY, class DX>
  void run_backward(const Device& device, const X& x, const DY& dy, DX& dx) {
    const core::Input<X> in(x);
    const core::Input<DY> gradient(dy);
    core::Output<DX> out(dx, "dx");
    const auto runner = core::runner_on(device, this->work(in.shape()));
    Engine::run_backward(runner, in.data(), in.shape(), gradient.data(), gradient.shape(), out);
  }

  template <class Device, class X>
  void run_fit(const Device& device, const X& x) {
    const core::Input<X> in(x);
    const auto runner = core::runner_on(device, this->work(in.shape()));
    Engine::run_fit(runner, in.data(), in.shape());
  }

  template <class Device, class Y, class X>
  void run_inverse(const Device& device, const Y& y, X& x) const {
    const core::Input<Y> in(y);
    core::Output<X> out(x, "x");
    const auto runner = core::runner_on(device, this->work(in.shape()));
    Engine::run_inverse(runner, in.data(), in.shape(), out);
  }
};

}  // namespace tensornorm
