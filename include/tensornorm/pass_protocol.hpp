// PassProtocol: the calls with a Pass and of a kept sum, of every layer but Whitening.
#pragma once

#include "tensornorm/core/pass/residual.hpp"
#include "tensornorm/protocol.hpp"

namespace tensornorm {

// Derived or Engine provides the calls of Protocol with more arguments:
//   run_forward(runner, x, shape, y, pass, sum)
//   run_infer(runner, x, shape, y, sum) const
//   run_backward(runner, x, shape, dy, dx, pass)
//
// A null pass is the layer's own. A null sum is none; else x is null.
template <class Derived, class Engine>
class PassProtocol : public Protocol<Derived, Engine> {
  using Base = Protocol<Derived, Engine>;
  using Runner = core::Runner;
  using Shape = core::Shape;

 public:
  using Base::backward, Base::forward, Base::infer;
  using typename Base::Scalar;

  /// The same, with a Pass of the caller's in the place of the layer's own: one layer serves many passes, as shared
  /// weights and recurrent steps need. The pass then has the mean() and rstd(). In train mode running statistics move.
  template <class X, class Y>
  void forward(const X& x, Y&& y, Pass<Scalar>& pass) {
    forward(core::CallingThread(), x, y, pass);
  }
  /// The same on a device.
  template <class Device, class X, class Y>
  void forward(const Device& device, const X& x, Y&& y, Pass<Scalar>& pass) {
    if constexpr (core::accepted<core::fault_of_call<Scalar, Device, Y, X>(), Device, X, Y>()) {
      const core::Input<X> in(x);
      core::OutputOf<Y> out(y, "y");
      auto runner = core::runner_on(device, this->work(in.shape()));
      this->call_forward(runner, in.data(), in.shape(), out, &core::PassAccess::state(pass));
    }
  }
  /// The same of a sum that is kept: of h = x + r for `forward(add(x, r, h), y)`. Backward takes h as its x, and
  /// add_to(dh) adds dx to the gradient that h has from elsewhere. Where a call fails for want of memory, h may have
  /// its new extents already.
  template <class X, class R, class H, class Y>
  void forward(const KeptSum<X, R, H>& sum, Y&& y) {
    forward(core::CallingThread(), sum, y);
  }
  /// The same on a device.
  template <class Device, class X, class R, class H, class Y, class = std::enable_if_t<!core::kIsPass<Y>>>
  void forward(const Device& device, const KeptSum<X, R, H>& sum, Y&& y) {
    if (this->try_repeat_forward(sum, y)) return;
    run_sum(device, sum, y, [&](Runner& runner, const Shape& shape, auto& out, core::ResidualArguments<Scalar>& all) {
      this->call_forward(runner, nullptr, shape, out, nullptr, &all);
    });
  }
  /// The same with a Pass.
  template <class X, class R, class H, class Y>
  void forward(const KeptSum<X, R, H>& sum, Y&& y, Pass<Scalar>& pass) {
    forward(core::CallingThread(), sum, y, pass);
  }
  /// The same on a device, with a Pass.
  template <class Device, class X, class R, class H, class Y>
  void forward(const Device& device, const KeptSum<X, R, H>& sum, Y&& y, Pass<Scalar>& pass) {
    run_sum(device, sum, y, [&](Runner& runner, const Shape& shape, auto& out, core::ResidualArguments<Scalar>& all) {
      this->call_forward(runner, nullptr, shape, out, &core::PassAccess::state(pass), &all);
    });
  }
  /// infer of a sum that is kept, as forward has it.
  template <class X, class R, class H, class Y>
  void infer(const KeptSum<X, R, H>& sum, Y&& y) const {
    infer(core::CallingThread(), sum, y);
  }
  /// The same on a device.
  template <class Device, class X, class R, class H, class Y>
  void infer(const Device& device, const KeptSum<X, R, H>& sum, Y&& y) const {
    if (this->try_repeat_infer(sum, y)) return;
    run_sum(device, sum, y, [&](Runner& runner, const Shape& shape, auto& out, core::ResidualArguments<Scalar>& all) {
      this->call_infer(runner, nullptr, shape, out, &all);
    });
  }
  /// The gradients of a forward with this pass.
  template <class X, class DY, class DX>
  void backward(const X& x, const DY& dy, DX&& dx, Pass<Scalar>& pass) {
    backward(core::CallingThread(), x, dy, dx, pass);
  }
  /// The same on a device.
  template <class Device, class X, class DY, class DX>
  void backward(const Device& device, const X& x, const DY& dy, DX&& dx, Pass<Scalar>& pass) {
    const auto run = [&](Runner& runner, const auto& in, const auto& gradient, auto* out) {
      this->call_backward(runner, in.data(), in.shape(), gradient, out, &core::PassAccess::state(pass));
    };
    this->run_backward_call(device, x, dy, dx, run);
  }

 protected:
  using Base::Base;

 private:
  // Calls run(runner, shape of h, y, sum) where the compiler sees nothing wrong.
  template <class Device, class X, class R, class H, class Y, class Run>
  void run_sum(const Device& device, const KeptSum<X, R, H>& sum, Y& y, const Run& run) const {
    constexpr core::Fault fault =
        core::first_of({core::ThenTraits<H>::is_then ? core::Fault::kNotEigen : core::Fault::kNoFault,
                        core::fault_of_call<Scalar, Device, H, X, R>(),
                        core::fault_of_wanted<Scalar, core::TensorOf<Y>, X>(), core::fault_of_post_op<Scalar, Y, X>()});
    if constexpr (core::accepted<fault, Device, X, R, H, Y>()) {
      const core::Input<X> x(sum.x);
      const core::Input<R> r(sum.r);
      core::Output<H> h(sum.h, "h");
      core::OutputOf<Y> out(y, "y");
      core::check_that(core::same_extents(x.shape(), r.shape()), "a sum of tensors of extents ", x.shape(), " and ",
                       r.shape());
      auto runner = core::runner_on(device, this->work(x.shape()));
      h.take_shape(x.shape());
      if constexpr (!core::kIsNone<typename core::ThenTraits<Y>::Z>) {
        h.check_away(out.z().data(), out.z().shape(), "z");
      }
      core::ResidualArguments<Scalar> all{x.data(), r.data(), x.shape(), r.shape(), h, &core::add_tile<Scalar>};
      run(runner, h.shape(), out, all);
    }
  }
};

}  // namespace tensornorm
