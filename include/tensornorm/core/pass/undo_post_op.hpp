// undo_post_op: the gradient of a layer's result, from that of what its post-op stored.
#pragma once

#include <vector>

#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/pass/pass_engine.hpp"
#include "tensornorm/core/post_op.hpp"
#include "tensornorm/core/target.hpp"

TENSORNORM_IEEE_MATH_BEGIN
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
  const Plan* plan;                        // of that pass, if it is known, and it had batch statistics
  std::vector<double>& workspace;
  CopyMemory<Scalar>& copies;
  std::vector<Scalar>& gradient;  // what is found
  Shape& layout;                  // how it lies

  Scalar* take_gradient() const {
    gradient.resize(static_cast<std::size_t>(call.shape.count()));
    return gradient.data();
  }
};

// What backward writes beside the parameters' gradients: dx, if it is wanted, and dz of a post-op that has one. Both
// take their shape.
// @throws std::invalid_argument where z has other extents than x, and where an output shares memory that it may not
template <class Scalar>
void check_gradients(const Scalar* x, const Shape& shape, const OutputGradient<Scalar>& dy, Target<Scalar>* dx) {
  const PostOpGradient<Scalar>* const op = dy.post_op;
  const Shape* const z = op == nullptr ? nullptr : op->z_shape;
  Target<Scalar>* const dz = op == nullptr ? nullptr : op->dz;
  check_that(z == nullptr || same_extents(*z, shape), "x has extents ", shape, " but z, a factor of the same, has ",
             z == nullptr ? shape : *z);
  for (Target<Scalar>* const target : {dx, dz}) {
    if (target == nullptr) continue;
    target->take_shape(shape);
    target->check_overlap(x, shape, "x");
    target->check_overlap(dy.data, dy.shape, "dy");
  }
  if (z != nullptr && dx != nullptr) dx->check_overlap(op->z, *z, "z");
  if (dz == nullptr) return;
  dz->check_overlap(op->z, *z, "z");
  check_that(shape.count() == 0 || dz->data_before() != x,
             "dz is x, which backward reads afterwards: give it memory of its own");
  if (dx != nullptr) dx->check_apart(*dz);
}

// Computes the result again where that is needed, and writes dz too. Whatever is refused is refused before.
template <class Scalar>
void undo_post_op(const UndoArguments<Scalar>& arguments, const BackwardOfResult<Scalar>& backward);

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END

#ifndef TENSORNORM_COMPILED
#include "tensornorm/core/pass/undo_post_op-inl.hpp"
#endif
