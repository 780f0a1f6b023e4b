// A pass on tensors that it cannot walk side by side: the same pass on copies in a layout of their own. run_staged of
// staging.hpp is the simplest, from x to y.
#pragma once

#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/pass/pass_record.hpp"
#include "tensornorm/core/pass/residual.hpp"
#include "tensornorm/core/staging.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

// Calls run(layout, y, sum) with a sum of tensors that lie alike. Returns where the sum is.
// @pre h and y took their shape
template <class Scalar, class Run>
__attribute__((cold, noinline)) const Scalar* run_staged_sum(const ResidualArguments<Scalar>& sum, Target<Scalar>& y,
                                                             CopyMemory<Scalar>& memory, const Run& run) {
  const Shape layout = staged_layout(sum.h.shape());
  const Scalar* const a = staged_input(sum.a, sum.a_shape, layout, memory);
  const Scalar* const b = staged_input(sum.b, sum.b_shape, layout, memory);
  StagedTarget<Scalar> h(sum.h, layout, memory), output(y, layout, memory);
  h.take_shape(layout);
  ResidualArguments<Scalar> staged{a, b, layout, layout, h, sum.add};
  run(layout, output, staged);
  output.finish();
  return h.finish();
}

// Calls run(layout, x, dy, dx) of a backward with copies of x and dy, and with dx itself if it `fits` them, else with
// memory that becomes dx; null: not wanted. The record is that of the copy meanwhile.
// @pre dx took its shape
template <class Scalar, class Run>
__attribute__((cold, noinline)) void run_staged_backward(const Scalar* x, const Shape& shape, const Scalar* dy,
                                                         const Shape& dy_shape, Target<Scalar>* dx, PassRecord& record,
                                                         bool (*fits)(const Shape& x, const Shape& other),
                                                         CopyMemory<Scalar>& memory, const Run& run) {
  const Shape layout = staged_layout(shape);
  const Scalar* const input = staged_input(x, shape, layout, memory);
  const Scalar* const gradient = staged_input(dy, dy_shape, layout, memory);
  const StagedRecord staged(record, layout, core::fingerprint(input, layout));
  if (dx == nullptr || fits(layout, dx->shape())) return run(layout, input, gradient, dx);
  StagedTarget<Scalar> target(*dx, layout, memory);
  run(layout, input, gradient, &target);
  target.finish();
}

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
