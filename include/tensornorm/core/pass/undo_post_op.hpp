// undo_post_op: the gradient of a layer's result, from that of what its post-op stored.
#pragma once

#include <vector>

#include "tensornorm/core/pass/pass_engine.hpp"
#include "tensornorm/core/post_op.hpp"

namespace tensornorm {
namespace core {

template <class Scalar>
struct UndoArguments {
  const Statement& call;
  const Parameters<ParamOf<Scalar>>& parameters;
  Runner& runner;
  const Scalar* x;
  const OutputGradient<Scalar>& dy;
  Target<Scalar>* dx;  // of the backward that follows; null: not wanted
  const PassRecord& record;
  bool training;
  FoundStatistics<ParamOf<Scalar>> found;  // of the forward pass
  Index stats;                             // how many
  const Plan* plan;                        // of that pass, if it is known, and it had batch statistics
  std::vector<double>& workspace;
  std::vector<Scalar>& gradient;  // what is found
  Shape& layout;                  // how it lies
};

// Computes the result again where that is needed, and writes dz too. Whatever is refused is refused before.
template <class Scalar>
void undo_post_op(const UndoArguments<Scalar>& arguments, const UndoneBackward& backward);

}  // namespace core
}  // namespace tensornorm

#ifndef TENSORNORM_COMPILED
#include "tensornorm/core/pass/undo_post_op-inl.hpp"
#endif
