// Bodies of residual.hpp.
#pragma once

#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/kernel/map.hpp"
#include "tensornorm/core/kernel/map_arithmetic.hpp"
#include "tensornorm/core/pass/residual.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

template <class Scalar>
void add_tile(const Residual<Scalar>& residual, const Tile& tile, Index ahead) {
  Tile rows = tile;
  if (rows.stride == rows.cols) {  // one row, where they follow each other
    rows.cols *= rows.rows;
    rows.rows = 1;
  }
  const Plus<Scalar> functor{{residual.a + tile.offset, rows.stride}, {residual.b + tile.offset, rows.stride}};
  map(functor, rows, residual.h + tile.offset, rows.stride, {/*past_cache=*/false, /*in_place=*/true, ahead});
}

template <class Scalar>
bool ResidualArguments<Scalar>::lie_beside(const Shape& y) const {
  return h.shape() == a_shape && h.shape() == b_shape && walks_beside(h.shape(), h.shape()) &&
         walks_beside(h.shape(), y);
}

template <class Scalar>
void ResidualArguments<Scalar>::check_overlap(const Target<Scalar>& y) const {
  for (const Target<Scalar>* const target : {static_cast<const Target<Scalar>*>(&h), &y}) {
    target->check_overlap(a, a_shape, "x");
    target->check_overlap(b, b_shape, "r");
  }
  y.check_apart(h);
}

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
