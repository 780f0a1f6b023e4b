// Layer: a layer that scales by 1 / sqrt(var + eps). It states which axes share a statistic and along which axes its
// parameters vary, and documents what follows from it; its engine does the rest.
#pragma once

#include "tensornorm/core/pass/engine.hpp"
#include "tensornorm/pass_protocol.hpp"

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
class Layer : public PassProtocol<Derived, core::Engine<Scalar, tracks>> {
  using Engine = core::Engine<Scalar, tracks>;
  using Base = PassProtocol<Derived, Engine>;
  using Runner = core::Runner;
  using Shape = core::Shape;
  using Target = core::Target<Scalar>;
  friend Protocol<Derived, Engine>;

 public:
  /// Another eps. Throws std::invalid_argument when it is negative or not finite.
  void set_eps(double eps) {
    this->change_eps(eps);
    static_cast<Derived&>(*this).options_.eps = eps;
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

  void print(std::ostream& out) const { static_cast<const Derived&>(*this).describe(out); }
};

}  // namespace tensornorm
