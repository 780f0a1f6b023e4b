// Layer: a layer that scales by 1 / sqrt(var + eps). It states which axes share a statistic and along which axes its
// parameters vary, and documents what follows from it; its engine does the rest.
#pragma once

#include "tensornorm/core/pass/engine.hpp"
#include "tensornorm/protocol.hpp"

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
  using Runner = core::Runner;
  using Shape = core::Shape;
  using Target = core::Target<Scalar>;

  auto statement() const {
    return [this](const Shape& x, bool batch) { return static_cast<const Derived&>(*this).axes(x, batch); };
  }

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
