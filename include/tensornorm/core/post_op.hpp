// PostOp: what is done to a layer's result before it is stored, and how its gradient follows.
#pragma once

#include "tensornorm/core/function_ref.hpp"
#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/plan/shape.hpp"
#include "tensornorm/core/scalar.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

template <class Scalar>
class Target;
template <class Scalar>
struct NormalizedTile;
template <class Scalar>
struct UndoArguments;
template <class Scalar>
struct ResultGradientRange;

// The gradient of a layer's result, as undo_post_op gives it to the backward that follows.
template <class Scalar>
struct ResultGradient {
  // Its way to dx.
  struct IntoDx {
    FunctionRef<void(Scalar* dx)> begin;                                // once, when dx has its memory
    FunctionRef<void(const ResultGradientRange<Scalar>& range)> write;  // each element once, before it is read
  };
  FunctionRef<Scalar*()> take_memory;  // for all of it; throws std::bad_alloc
  FunctionRef<void()> write;           // all of it, and dz. @pre take_memory was called, and dx has its memory
  const IntoDx* into_dx = nullptr;     // null: dx cannot hold it
};
template <class Scalar>
using BackwardOfResult = FunctionRef<void(const ResultGradient<Scalar>& gradient)>;

// A clip of the result, or its product with z. `put` writes a tile: a pass calls it by its address, so that a program
// without post-ops does not compile their kernels.
template <class Scalar>
struct PostOp {
  ParamOf<Scalar> low = 0, high = 0;
  const Scalar* z = nullptr;       // lies as what is written, and may be it
  const Scalar* factor = nullptr;  // as z; product = factor * z, of the gradient of a product
  Scalar* product = nullptr;
  void (*put)(const PostOp& op, const NormalizedTile<Scalar>& tile) = nullptr;
};

// From the gradient of what was stored: that of a clip's result is what `op` writes, with the gradient as z. That of a
// product's result is `op.product`, and dz what `op` writes; by `multiply` alone where dz is not wanted. `undo` is
// undo_post_op.
template <class Scalar>
struct PostOpGradient {
  PostOp<Scalar> op;
  void (*undo)(const UndoArguments<Scalar>& arguments, const BackwardOfResult<Scalar>& backward) = nullptr;
  void (*multiply)(const Scalar* a, const Scalar* b, Index n, Scalar* c) = nullptr;  // null: of a clip
  const Scalar* z = nullptr;
  const Shape* z_shape = nullptr;
  Target<Scalar>* dz = nullptr;  // null: not wanted
};

// dy, the gradient of what was stored; null: there was no post-op.
template <class Scalar>
struct OutputGradient {
  const Scalar* data;
  const Shape& shape;
  const PostOpGradient<Scalar>* post_op = nullptr;
};

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
