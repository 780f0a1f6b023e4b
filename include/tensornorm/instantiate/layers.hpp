// TENSORNORM_INSTANTIATE_LAYERS(Scalar); compiles the passes of all layers but Whitening, and clipping, for a scalar.
#pragma once

#include "tensornorm/instantiate/compiled_only.hpp"

#include "tensornorm/core/clip/gradient_operations-inl.hpp"
#include "tensornorm/core/pass/engine-inl.hpp"

// The members that a program's files call; what those call follows.
#define TENSORNORM_INSTANTIATE_ENGINE(Scalar, tracks)                                                     \
  template Engine<Scalar, tracks>::Engine(double, bool, Index, bool);                                     \
  template void Engine<Scalar, tracks>::set_training(bool);                                               \
  template void Engine<Scalar, tracks>::run_forward(const AxesOf&, Runner&, const Scalar*, const Shape&,  \
                                                    Target<Scalar>&, PassState<Scalar>*);                 \
  template void Engine<Scalar, tracks>::run_infer(const AxesOf&, Runner&, const Scalar*, const Shape&,    \
                                                  Target<Scalar>&) const;                                 \
  template void Engine<Scalar, tracks>::run_backward(const AxesOf&, Runner&, const Scalar*, const Shape&, \
                                                     const Scalar*, const Shape&, Target<Scalar>*, PassState<Scalar>*)

#define TENSORNORM_INSTANTIATE_LAYERS(Scalar)                                    \
  namespace tensornorm {                                                         \
  namespace core {                                                               \
  TENSORNORM_INSTANTIATE_ENGINE(Scalar, true);                                   \
  template void Engine<Scalar, true>::track(Index, std::optional<double>, bool); \
  template void Engine<Scalar, true>::prepare();                                 \
  TENSORNORM_INSTANTIATE_ENGINE(Scalar, false);                                  \
  template const GradientOperations& gradient_operations<Scalar>();              \
  }                                                                              \
  }                                                                              \
  static_assert(true, "")
