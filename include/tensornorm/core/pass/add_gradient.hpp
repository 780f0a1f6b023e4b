// add_gradient: the map of a dx given as add_to(dx).
#pragma once

#include "tensornorm/core/ieee_math.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

template <class Scalar>
struct GradientTile;

// dx += the gradient of a tile. Each sum is rounded once. A pass calls it by its address, so that a program that adds
// to no dx does not compile its kernels.
template <class Scalar>
void add_gradient(const GradientTile<Scalar>& tile);

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END

#ifndef TENSORNORM_COMPILED
#include "tensornorm/core/pass/add_gradient-inl.hpp"
#endif
