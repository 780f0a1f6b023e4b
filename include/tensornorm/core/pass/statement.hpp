// Statement: what a layer or a function states of a call.
#pragma once

#include "tensornorm/core/function_ref.hpp"
#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/plan/shape.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

// What a layer states: its axes for x, with the batch's statistics or with running ones. Throws where the layer does
// not take x, or x has too little data for statistics.
using AxesOf = FunctionRef<Axes(const Shape& x, bool batch)>;

// What a call states: its axes, and the shape of x and the mode (`batch`: statistics of the batch) for which they are
// made. `is_own`: plans are kept for this layer alone, so the shape and the mode identify the axes.
struct Statement {
  const AxesOf& axes;
  const Shape& shape;
  bool batch, is_own;

  // The same of tensors that lie otherwise.
  Statement in(const Shape& layout) const { return {axes, layout, batch, is_own}; }
  // @throws as the axes
  void check_axes() const { axes(shape, batch); }
};

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
