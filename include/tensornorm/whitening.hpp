// Whitening: the channels of a group decorrelated over the batch and all other axes.
#pragma once

#include "tensornorm/requirements.hpp"

#include "tensornorm/core/whitening/whitening_engine.hpp"
#include "tensornorm/protocol.hpp"

namespace tensornorm {

/// Whitening: y = W (x - mean) * gamma + beta at every position. A group is k = channels / groups neighbouring
/// channels. W is a (k, k) matrix of each group with W Sigma W^T = I, where Sigma is the biased covariance of its
/// channels, over the batch and all other axes, with eps added to the diagonal. WhiteningMethod chooses W.
///
/// Shapes: x has rank 2 or more and `channels` elements along channel_axis, in any layout. gamma, beta, mean and
/// running_mean have the extents (channels). whitening and running_whitening have the extents (channels, k): the
/// matrices of the groups, one below the other. Statistics are always double.
///
/// Modes: train mode uses the mean and W of x and moves the running ones by the momentum. Eval mode and infer use the
/// running ones. forward in train mode throws std::invalid_argument with kPca and kCholesky, and with one value per
/// channel. With one channel in a group, y in train mode is that of BatchNorm. The running W starts from the identity:
/// if W is far from it, use momentum = nullopt.
///
/// Edges: a constant channel (kPca: its direction) gives y = beta. With eps = 0, so does a direction with no more
/// variance than rounding x to Scalar makes (kCholesky: a channel that others determine), and y is white on the other
/// directions; kNewton needs an eps there, because it multiplies rounding errors by 1.5^iterations. NaN and infinity
/// reach all channels of their group.
///
/// Precision: all is computed in double. With eps = 0 the covariance of y, for the x that W is of, is the identity to
/// 1e-5 in float (kNewton: as near as its iterations come). This needs eigenvalues of the correlations above 1e-9 and,
/// except for kCholesky, deviations along principal directions within a factor of 1e10.
///
/// Source: Huang et al. 2018, Decorrelated Batch Normalization, section 3 (kZca); Huang et al. 2019, IterNorm,
/// algorithm 1 (kNewton); Kessy et al. 2018 (the others).
template <class Scalar>
class Whitening : public Protocol<Whitening<Scalar>, core::WhiteningEngine<Scalar>> {
  using Engine = core::WhiteningEngine<Scalar>;
  using Base = Protocol<Whitening<Scalar>, Engine>;
  friend Base;

 public:
  /// In train mode, with gamma 1, beta 0, running mean 0 and running W the identity. Throws std::invalid_argument when
  /// channels, groups or iterations is below 1, groups does not divide channels, a group has more than 8192 channels,
  /// eps is negative or not finite, or momentum is outside [0, 1].
  explicit Whitening(Index channels, const WhiteningOptions& options = {}) : Base(channels, options) {}

  /// Sets the running mean and the running W to those of x, by any method and in either mode. infer then whitens by
  /// them, and inverse takes y back to x.
  ///
  /// x is as x of forward, with more than one value per channel: else std::invalid_argument. Other errors are those of
  /// forward; the layer is then as before the call. Allocates. Threads: as forward.
  template <class X>
  void fit(const X& x) {
    fit(core::CallingThread(), x);
  }
  /// The same on a device, as forward.
  template <class Device, class X>
  void fit(const Device& device, const X& x) {
    if constexpr (core::accepted<core::fault_of_inputs<Scalar, Device, X>(), Device, X>()) run_fit(device, x);
  }

  /// Computes x from y = infer(x): x = mean + Sigma W^T ((y - beta) / gamma), with the mean, Sigma and W of the last
  /// fit. kNewton uses the inverse of W in place of Sigma W^T.
  ///
  /// Up to rounding, x is exact if it was fitted or if Sigma is regular. Otherwise x has no part along the directions
  /// in which Sigma has no variance. Where gamma is 0, 0 stands for (y - beta) / gamma.
  ///
  /// y and x are as x and y of infer. Errors: as infer; and std::invalid_argument when there was no fit, or when
  /// forward in train mode or an assignment has changed the running statistics since. Memory and threads: as infer,
  /// with less than 16 KB of the stack.
  template <class Y, class X>
  void inverse(const Y& y, X&& x) const {
    inverse(core::CallingThread(), y, x);
  }
  /// The same on a device, as infer.
  template <class Device, class Y, class X>
  void inverse(const Device& device, const Y& y, X&& x) const {
    if constexpr (core::accepted<core::fault_of_call<Scalar, Device, X, Y>(), Device, Y, X>())
      run_inverse(device, y, x);
  }
  /// Calls inverse with a new x and returns it. The type of x is that of operator() for y.
  template <class Y>
  core::Result<Scalar, Y> inverse(const Y& y) const {
    core::Result<Scalar, Y> x;
    inverse(y, x);
    return x;
  }

 private:
  void print(std::ostream& out) const {
    out << "Whitening(" << this->channels() << ", groups=" << this->options().groups << ", eps=" << this->options().eps
        << ')';
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
