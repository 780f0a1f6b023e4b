// PostOp: what is done to a layer's result before it is stored, and how its gradient follows.
#pragma once

#include "tensornorm/core/function_ref.hpp"
#include "tensornorm/core/plan/shape.hpp"
#include "tensornorm/core/scalar.hpp"

namespace tensornorm {
namespace core {

template <class Scalar>
class Target;
template <class Scalar>
struct NormalizedTile;
template <class Scalar>
struct UndoArguments;
template <class Scalar>
struct UndonePart;

// What undo_post_op gives the backward that follows: the gradient of the result, all at once or in parts.
template <class Scalar>
struct Undone {
  // Memory for all of it; throws std::bad_alloc.
  FunctionRef<Scalar*()> take_memory;
  // Writes all of it, when all memory of the backward is there, before that reads or writes anything.
  FunctionRef<void()> write;
  // Writes a part to dx, before that is read. Null: it must be all. @pre begin(dx) was called
  const FunctionRef<void(const UndonePart<Scalar>& part)>* write_part = nullptr;
  const FunctionRef<void(Scalar* dx)>* begin = nullptr;
};
template <class Scalar>
using UndoneBackward = FunctionRef<void(const Undone<Scalar>& undone)>;

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
  void (*undo)(const UndoArguments<Scalar>& arguments, const UndoneBackward<Scalar>& backward) = nullptr;
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
