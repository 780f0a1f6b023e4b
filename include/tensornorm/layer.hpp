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

// As PyTorch prints a layer that may have running statistics.
template <class Options>
void print_tracking(std::ostream& out, const char* name, Index channels, const Options& options) {
  out << name << '(' << channels << ", eps=" << options.eps << ", momentum=";
  options.momentum ? out << *options.momentum : out << "None";
  out << ", affine=" << (options.affine ? "True" : "False")
      << ", track_running_stats=" << (options.track_running_stats ? "True" : "False") << ')';
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
  using Base::backward, Base::forward;

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
      core::Output<Y> out(y, "y");
      auto runner = core::runner_on(device, this->work(in.shape()));
      Engine::run_forward(statement(), runner, in.data(), in.shape(), out, &core::PassAccess::state(pass));
    }
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
      Engine::run_backward(statement(), runner, in.data(), in.shape(), gradient.data(), gradient.shape(), out,
                           &core::PassAccess::state(pass));
    };
    this->run_backward_call(device, x, dy, dx, run);
  }

 protected:
  using Base::Base;

 private:
  auto statement() const {
    return [this](const Shape& x, bool batch) { return static_cast<const Derived&>(*this).axes(x, batch); };
  }

  void print(std::ostream& out) const { static_cast<const Derived&>(*this).describe(out); }

  void run_forward(Runner& runner, const Scalar* x, const Shape& shape, Target& y) {
    Engine::run_forward(statement(), runner, x, shape, y);
  }
  void run_infer(Runner& runner, const Scalar* x, const Shape& shape, Target& y) const {
    Engine::run_infer(statement(), runner, x, shape, y);
  }
  void run_backward(Runner& runner, const Scalar* x, const Shape& shape, const Scalar* dy, const Shape& dy_shape,
                    Target* dx) {
    Engine::run_backward(statement(), runner, x, shape, dy, dy_shape, dx);
  }
};

}  // namespace tensornorm
