// TENSORNORM_INSTANTIATE_LAYERS(Scalar); compiles the passes of all layers but Whitening, and clipping, for a scalar.
#pragma once

#include "tensornorm/instantiate/compiled_only.hpp"

#include "tensornorm/core/clip/gradient_operations-inl.hpp"
#include "tensornorm/core/pass/add_gradient-inl.hpp"
#include "tensornorm/core/pass/engine-inl.hpp"
#include "tensornorm/core/pass/post_op-inl.hpp"
#include "tensornorm/core/pass/residual-inl.hpp"
#include "tensornorm/core/pass/undo_post_op-inl.hpp"

// The members that a program's files call; what those call follows.
// NOLINTBEGIN(bugprone-macro-parentheses): types
#define TENSORNORM_INSTANTIATE_ENGINE(Scalar, tracks)                                                                 \
  template Engine<Scalar, tracks>::Engine(double, bool, Index, bool, bool);                                           \
  template void Engine<Scalar, tracks>::change_eps(double);                                                           \
  template void Engine<Scalar, tracks>::change_momentum(const std::optional<double>&);                                \
  template void Engine<Scalar, tracks>::set_training(bool);                                                           \
  template void Engine<Scalar, tracks>::run_forward(const AxesOf&, Runner&, const Scalar*, const Shape&,              \
                                                    Target<Scalar>&, PassState<Scalar>*, ResidualArguments<Scalar>*); \
  template void Engine<Scalar, tracks>::run_infer(const AxesOf&, Runner&, const Scalar*, const Shape&,                \
                                                  Target<Scalar>&, ResidualArguments<Scalar>*) const;                 \
  template void Engine<Scalar, tracks>::run_check(const AxesOf&, const Shape&) const;                                 \
  template void Engine<Scalar, tracks>::run_backward(const AxesOf&, Runner&, const Scalar*, const Shape&,             \
                                                     const OutputGradient<Scalar>&, Target<Scalar>*,                  \
                                                     PassState<Scalar>*, const RankSums*);                            \
  template bool Engine<Scalar, tracks>::repeat_forward(const RepeatedForward<Scalar>&);                               \
  template bool Engine<Scalar, tracks>::repeat_infer(const RepeatedForward<Scalar>&, const Shape&) const;             \
  template bool Engine<Scalar, tracks>::repeat_backward(const Scalar*, const Scalar*, Scalar*, AddGradient)

#define TENSORNORM_INSTANTIATE_FUNCTIONS(Scalar)                                                                       \
  template void PassEngine<Scalar, false>::forward(                                                                    \
      const Statement&, const Parameters<ParamOf<Scalar>>&, Runner&, const Scalar*, Target<Scalar>&,                   \
      PassState<Scalar>&, bool, bool, ResidualArguments<Scalar>*, const PassEngine<Scalar, false>::Find*);             \
  template void PassEngine<Scalar, false>::find_moments(const Statement&, Runner&, const Scalar*, Moments*);           \
  template void PassEngine<Scalar, false>::infer(const Statement&, const Parameters<ParamOf<Scalar>>&, Runner&,        \
                                                 const Scalar*, Target<Scalar>&, const InferPlans*,                    \
                                                 const InferMemory*, ResidualArguments<Scalar>*);                      \
  template void PassEngine<Scalar, true>::infer(const Statement&, const Parameters<ParamOf<Scalar>>&, Runner&,         \
                                                const Scalar*, Target<Scalar>&, const InferPlans*, const InferMemory*, \
                                                ResidualArguments<Scalar>*);                                           \
  template void PassEngine<Scalar, false>::backward(const Statement&, const Parameters<ParamOf<Scalar>>&,              \
                                                    const FunctionRef<ParameterGradients<ParamOf<Scalar>>()>&, Index,  \
                                                    Runner&, const Scalar*, const OutputGradient<Scalar>&,             \
                                                    Target<Scalar>*, PassState<Scalar>&, bool, const RankSums*)

#define TENSORNORM_INSTANTIATE_POST_OPS(Scalar)                                              \
  template void put_clipped(const PostOp<Scalar>&, const NormalizedTile<Scalar>&);           \
  template void put_product(const PostOp<Scalar>&, const NormalizedTile<Scalar>&);           \
  template void put_product_gradient(const PostOp<Scalar>&, const NormalizedTile<Scalar>&);  \
  template void put_clip_gradient(const PostOp<Scalar>&, const NormalizedTile<Scalar>&);     \
  template void undo_post_op(const UndoArguments<Scalar>&, const BackwardOfResult<Scalar>&); \
  template void multiply(const Scalar*, const Scalar*, Index, Scalar*)

#define TENSORNORM_INSTANTIATE_RANKS(Scalar)                                                                    \
  template void Engine<Scalar, true>::run_forward_of_ranks(const AxesOf&, Runner&, const Scalar*, const Shape&, \
                                                           Target<Scalar>&, PassState<Scalar>*,                 \
                                                           Ranks<ParamOf<Scalar>>&, const AllGather&, bool)
// NOLINTEND(bugprone-macro-parentheses)

#define TENSORNORM_INSTANTIATE_LAYERS(Scalar)                                    \
  namespace tensornorm {                                                         \
  namespace core {                                                               \
  TENSORNORM_INSTANTIATE_ENGINE(Scalar, true);                                   \
  template void Engine<Scalar, true>::track(Index, std::optional<double>, bool); \
  template void Engine<Scalar, true>::prepare();                                 \
  TENSORNORM_INSTANTIATE_RANKS(Scalar);                                          \
  TENSORNORM_INSTANTIATE_ENGINE(Scalar, false);                                  \
  TENSORNORM_INSTANTIATE_FUNCTIONS(Scalar);                                      \
  TENSORNORM_INSTANTIATE_POST_OPS(Scalar);                                       \
  template const GradientOperations& gradient_operations<Scalar>();              \
  template void LayerState<Scalar>::set_parameter_count(Index, Index);           \
  template void add_tile(const Residual<Scalar>&, const Tile&, Index);           \
  template void add_gradient(const GradientTile<Scalar>&);                       \
  }                                                                              \
  }                                                                              \
  static_assert(true, "")
