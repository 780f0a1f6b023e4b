// Layer: the calls of a layer that scales by 1 / sqrt(var + eps), from tensors to its engine. A layer itself states
// only which axes share a statistic and along which axes its parameters vary, and documents what follows from it.
#pragma once

#include "tensornorm/core/pass/engine.hpp"
#include "tensornorm/core/thread/device.hpp"
#include "tensornorm/protocol.hpp"
#include "tensornorm/tensor_view.hpp"

namespace tensornorm {

// Derived provides
//   Axes axes(const Shape& x, bool batch) const   its axes for x, with the batch's statistics or with running ones;
//                                                 throws where it does not take x, or x has too little data
template <class Derived, class Scalar, bool tracks>
class Layer : public Protocol<Derived, core::Engine<Scalar, tracks>> {
  using Engine = core::Engine<Scalar, tracks>;
  using Base = Protocol<Derived, Engine>;
  friend Base;

 protected:
  using Base::Base;

 private:
  auto axes_of() const {
    return [this](const core::Shape& x, bool batch) { return static_cast<const Derived&>(*this).axes(x, batch); };
  }

  template <class Device, class X, class Y>
  void run_forward(const Device& device, const X& x, Y& y) {
    const core::Input<X> in(x);
    core::Output<Y> out(y, "y");
    auto runner = core::runner_on(device, in.shape().count());
    Engine::run_forward(axes_of(), runner, in.data(), in.shape(), out);
  }

  template <class Device, class X, class Y>
  void run_infer(const Device& device, const X& x, Y& y) const {
    const core::Input<X> in(x);
    core::Output<Y> out(y, "y");
    auto runner = core::runner_on(device, in.shape().count());
    Engine::run_infer(axes_of(), runner, in.data(), in.shape(), out);
  }

  template <class Device, class X, class DY, class DX>
  void run_backward(const Device& device, const X& x, const DY& dy, DX& dx) {
    const core::Input<X> in(x);
    const core::Input<DY> gradient(dy);
    core::Output<DX> out(dx, "dx");
    auto runner = core::runner_on(device, in.shape().count());
    Engine::run_backward(axes_of(), runner, in.data(), in.shape(), gradient.data(), gradient.shape(), out);
  }
};

}  // namespace tensornorm
