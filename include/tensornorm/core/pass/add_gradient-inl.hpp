// Bodies of add_gradient.hpp.
#pragma once

#include <type_traits>

#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/kernel/post_ops.hpp"
#include "tensornorm/core/pass/add_gradient.hpp"
#include "tensornorm/core/pass/gradient_tile.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

template <class Scalar>
void add_gradient(const GradientTile<Scalar>& tile) {
  tile.visit([&](const auto& gradient) {
    tile.put(Accumulated<std::decay_t<decltype(gradient)>>{gradient, tile.before()});
  });
}

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
