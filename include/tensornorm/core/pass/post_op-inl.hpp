// Bodies of post_op.hpp.
#pragma once

#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/kernel/post_ops.hpp"
#include "tensornorm/core/pass/normalize.hpp"
#include "tensornorm/core/pass/post_op.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

template <class Scalar>
void put_clipped(const PostOp<Scalar>& op, const NormalizedTile<Scalar>& tile) {
  tile.visit([&](const auto& result) {
    using Result = std::decay_t<decltype(result)>;
    tile.put(Clipped<Result>{result, {&op.low, kNone}, {&op.high, kNone}});
  });
}

template <class Scalar>
void put_product(const PostOp<Scalar>& op, const NormalizedTile<Scalar>& tile) {
  tile.visit([&](const auto& result) { tile.put(Gated<std::decay_t<decltype(result)>>{result, tile.beside(op.z)}); });
}

template <class Scalar>
void put_product_gradient(const PostOp<Scalar>& op, const NormalizedTile<Scalar>& tile) {
  StoreMode to = tile.to;
  to.in_place = op.product == op.factor;  // never dy, which put_product reads next
  map(Gated<Element<Scalar>>{{tile.beside(op.factor)}, tile.beside(op.z)}, tile.tile, op.product + tile.tile.y_offset,
      tile.tile.y_stride, to);
  put_product(op, tile);
}

template <class Scalar>
void put_clip_gradient(const PostOp<Scalar>& op, const NormalizedTile<Scalar>& tile) {
  tile.visit([&](const auto& result) {
    using Result = std::decay_t<decltype(result)>;
    tile.put(ClipGradient<Result>{result, {&op.low, kNone}, {&op.high, kNone}, tile.beside(op.z)});
  });
}

template <class Scalar>
void multiply(const Scalar* a, const Scalar* b, Index n, Scalar* c) {
  map(Gated<Element<Scalar>>{{{a, n}}, {b, n}}, Tile{0, 1, n, n, 0, n, 0, 0}, c, n);
}

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
