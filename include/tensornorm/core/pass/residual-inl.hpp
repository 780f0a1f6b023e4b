// Bodies of residual.hpp.
#pragma once

#include "tensornorm/core/kernel/arithmetic.hpp"
#include "tensornorm/core/kernel/map.hpp"
#include "tensornorm/core/pass/residual.hpp"

namespace tensornorm {
namespace core {

template <class Scalar>
void add_tile(const Residual<Scalar>& residual, const Tile& tile) {
  const Plus<Scalar> functor{{residual.a + tile.offset, tile.stride}, {residual.b + tile.offset, tile.stride}};
  map(functor, tile, residual.h + tile.offset, tile.stride);
}

}  // namespace core
}  // namespace tensornorm
