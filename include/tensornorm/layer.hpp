// Layer: a layer that scales by 1 / sqrt(var + eps). It states which axes share a statistic and along which axes its
// parameters vary, and documents what follows from it; its engine does the rest.
#pragma once

#include "tensornorm/core/pass/engine.hpp"
#include "tensornorm/protocol.hpp"

namespace tensornorm {
namespace core {

// The usual options but eps.
template <class Options>
Options with_eps(double eps) {
  Options options;
  options.eps = eps;
  return options;
}

}  // namespace core

// Derived provides
//   options_                                      with eps, and momentum where it may have running statistics
//   void describe(std::ostream& out) const
//   Axes axes(const Shape& x, bool batch) const   its axes for x, with the batch's statistics or with running ones;
//                                                 throws where it does not take x, or x has too little data
template <class Derived, class Scalar, bool tracks>
class Layer : public Protocol<Derived, core::Engine<Scalar, tracks>> {
  using Engine = core::Engine<Scalar, tracks>;
  using Base = Protocol<Derived, Engine>;
  using Runner = core::Runner;
  using Shape = core::Shape;
  using Target = core::Target<Scalar>;
  friend Base;

 public:
  using Base::backward, Base::forward, Base::infer;

  /// Another eps. Throws std::invalid_argument when it is negative or not finite.
  void set_eps(double eps) {
    this->change_eps(eps);
    static_cast<Derived&>(*this).options_.eps = eps;
  }

  /// The same, with a Pass of the caller's in the place of the layer's own: one layer serves many passes, as shared
  /// weights and recurrent steps need. mean() and rstd() are then the pass's. In train mode running statistics move.
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
      static_cast<Derived&>(*this).run_forward(runner, in.data(), in.shape(), out, &core::PassAccess::state(pass));
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
    run_sum(device, sum, y, [&](Runner& runner, const Shape& shape, Target& out, core::ResidualArguments<Scalar>& all) {
      static_cast<Derived&>(*this).run_forward(runner, nullptr, shape, out, nullptr, &all);
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
    run_sum(device, sum, y, [&](Runner& runner, const Shape& shape, Target& out, core::ResidualArguments<Scalar>& all) {
      static_cast<Derived&>(*this).run_forward(runner, nullptr, shape, out, &core::PassAccess::state(pass), &all);
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
    run_sum(device, sum, y, [&](Runner& runner, const Shape& shape, Target& out, core::ResidualArguments<Scalar>& all) {
      static_cast<const Derived&>(*this).run_infer(runner, nullptr, shape, out, &all);
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
    const auto run = [&](Runner& runner, const auto& in, const auto& gradient, Target* out) {
      static_cast<Derived&>(*this).run_backward(runner, in.data(), in.shape(), gradient, out,
                                                &core::PassAccess::state(pass));
    };
    this->run_backward_call(device, x, dy, dx, run);
  }

 protected:
  using Base::Base;

  void run_forward(Runner& runner, const Scalar* x, const Shape& shape, Target& y,
                   core::PassState<Scalar>* pass = nullptr, core::ResidualArguments<Scalar>* sum = nullptr) {
    Engine::run_forward(statement(), runner, x, shape, y, pass, sum);
  }
  void run_infer(Runner& runner, const Scalar* x, const Shape& shape, Target& y,
                 core::ResidualArguments<Scalar>* sum = nullptr) const {
    Engine::run_infer(statement(), runner, x, shape, y, sum);
  }
  void run_check(const Shape& shape) const { Engine::run_check(statement(), shape); }
  void run_backward(Runner& runner, const Scalar* x, const Shape& shape, const core::OutputGradient<Scalar>& dy,
                    Target* dx, core::PassState<Scalar>* pass = nullptr) {
    Engine::run_backward(statement(), runner, x, shape, dy, dx, pass);
  }

 private:
  auto statement() const {
    return [this](const Shape& x, bool batch) { return static_cast<const Derived&>(*this).axes(x, batch); };
  }

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

  void print(std::ostream& out) const { static_cast<const Derived&>(*this).describe(out); }
};

}  // namespace tensornorm
