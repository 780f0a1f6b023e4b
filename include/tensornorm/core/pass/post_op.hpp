// What PostOp and PostOpGradient point to.
#pragma once

#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/post_op.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

// y = the result, between low and high.
template <class Scalar>
void put_clipped(const PostOp<Scalar>& op, const NormalizedTile<Scalar>& tile);

// y = the result * z.
template <class Scalar>
void put_product(const PostOp<Scalar>& op, const NormalizedTile<Scalar>& tile);

// The same, and product = factor * z.
template <class Scalar>
void put_product_gradient(const PostOp<Scalar>& op, const NormalizedTile<Scalar>& tile);

// y = z where the result lies between low and high, else 0.
template <class Scalar>
void put_clip_gradient(const PostOp<Scalar>& op, const NormalizedTile<Scalar>& tile);

// c = a * b, of n numbers, rounded once. c may be a or b.
template <class Scalar>
void multiply(const Scalar* a, const Scalar* b, Index n, Scalar* c);

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END

#ifndef TENSORNORM_COMPILED
#include "tensornorm/core/pass/post_op-inl.hpp"
#endif
