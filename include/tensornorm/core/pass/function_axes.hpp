// The axes of a function's call: which of x share a statistic, and along which the parameters' memory varies.
#pragma once

#include "tensornorm/core/check.hpp"
#include "tensornorm/core/ieee_math.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

// Which axes of x keep a statistic, and along which a layer of this kind has parameters. `split`: this axis is divided
// in so many groups, each with a statistic.
struct NormRule {
  AxisSet kept = 0, affine = 0;
  int split = -1;
  Index groups = 1;
  bool centred = true, is_unit = false;
};

inline bool operator==(const NormRule& a, const NormRule& b) {
  return a.kept == b.kept && a.affine == b.affine && a.split == b.split && a.groups == b.groups &&
         a.centred == b.centred && a.is_unit == b.is_unit;
}

// How an array of parameters is read. A vector holds a layer's parameters in row-major order of their axes. An array of
// x's rank has extents that are x's or 1, and does not vary along the others.
struct ParamShape {
  const char* name;
  Shape shape;
  bool is_vector;  // as far as its type says
};

// Steps of an array of parameters along the axes of x.
using ParamStrides = std::array<Index, Axes::kCapacity>;

// @throws std::invalid_argument where the array is none of parameters for x
ParamStrides param_strides(const Shape& x, const NormRule& rule, const ParamShape& params);

Axes function_axes(const Shape& x, const NormRule& rule, const ParamStrides& params);

// The number of trailing axes of x that an array's extents say LayerNorm is over; the last axis where they say nothing.
// @throws std::invalid_argument where they are none of x's
int trailing_axes(const Shape& x, const ParamShape& params);

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END

#ifndef TENSORNORM_COMPILED
#include "tensornorm/core/pass/function_axes-inl.hpp"
#endif
