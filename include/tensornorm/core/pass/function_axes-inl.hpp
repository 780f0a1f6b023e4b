// Bodies of function_axes.hpp.
#pragma once

#include "tensornorm/core/compiled.hpp"
#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/pass/function_axes.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

// Whether at most one extent is not 1, of an array that is not to be read by x's axes.
inline bool reads_as_vector(const Shape& x, const ParamShape& params) {
  const Shape& shape = params.shape;
  int longer = 0;
  for (int d = 0; d < shape.rank; ++d) longer += shape.extent(d) == 1 ? 0 : 1;
  return longer <= 1 && (params.is_vector || shape.rank == 1 || shape.rank != x.rank);
}

inline bool broadcasts(const Shape& x, const Shape& params) {
  bool result = params.rank == x.rank;
  for (int d = 0; result && d < x.rank; ++d) result = params.extent(d) == 1 || params.extent(d) == x.extent(d);
  return result;
}

TENSORNORM_BODY int trailing_axes(const Shape& x, const ParamShape& params) {
  const Shape& shape = params.shape;
  check_that(x.rank >= 1, "x has rank ", x.rank, " but needs 1 at least");
  if (reads_as_vector(x, params)) {
    Index n = 1;
    for (int k = 1; k <= x.rank; ++k) {
      n *= x.extent(x.rank - k);
      if (n == shape.count()) return k;
    }
    fail(params.name, " has ", shape.count(), " values, which no trailing axes of x of extents ", x, " have");
  }
  if (broadcasts(x, shape)) return 1;
  bool fits = shape.rank <= x.rank;
  for (int d = 0; fits && d < shape.rank; ++d) fits = shape.extent(d) == x.extent(x.rank - shape.rank + d);
  check_that(fits, params.name, " has extents ", shape, ", which are not the trailing ones of x of extents ", x,
             " and do not broadcast to them");
  return shape.rank;
}

TENSORNORM_BODY ParamStrides param_strides(const Shape& x, const NormRule& rule, const ParamShape& params) {
  const Shape& shape = params.shape;
  ParamStrides result{};
  int axes = 0, first = 0;
  Index count = 1;
  for (int d = 0; d < x.rank; ++d) {
    if (!contains(rule.affine, d)) continue;
    if (axes++ == 0) first = d;
    count *= x.extent(d);
  }
  const auto set = [&](int d, Index stride) { result[static_cast<std::size_t>(d)] = x.extent(d) == 1 ? 0 : stride; };
  if (reads_as_vector(x, params)) {
    check_that(shape.count() == count, params.name, " has ", shape.count(), " values but x of extents ", x, " needs ",
               count);
    Index stride = 1;
    for (int d = x.rank - 1; d >= 0; --d) {
      if (!contains(rule.affine, d)) continue;
      set(d, stride);
      stride *= x.extent(d);
    }
    return result;
  }
  if (broadcasts(x, shape)) {
    for (int d = 0; d < x.rank; ++d) set(d, shape.extent(d) == 1 ? 0 : shape.stride(d));
    return result;
  }
  bool fits = shape.rank == axes;
  for (int d = first, i = 0; fits && d < x.rank; ++d) {
    if (!contains(rule.affine, d)) continue;
    fits = shape.extent(i) == x.extent(d);
    set(d, shape.stride(i++));
  }
  check_that(fits, params.name, " has extents ", shape, " but x of extents ", x, " needs ", count,
             " values, or extents that are x's or 1");
  return result;
}

TENSORNORM_BODY Axes function_axes(const Shape& x, const NormRule& rule, const ParamStrides& params) {
  const int split = rule.split;
  const AxisSet outside = split < 0 ? rule.kept : rule.kept & axes_below(split);
  const AxisSet inside = split < 0 ? 0 : (rule.kept & ~axes_below(split + 1)) << 1 | axis(split);
  Axes axes = make_axes(split < 0 ? x : split_axis(x, split, rule.groups), outside | inside, 0);
  for (int d = 0, i = 0; d < x.rank; ++d, ++i) {
    const Index param = params[static_cast<std::size_t>(d)];
    if (d == split) {
      axes[i].param = axes[i + 1].extent * param;
      ++i;
    }
    axes[i].param = param;
  }
  return axes;
}

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
