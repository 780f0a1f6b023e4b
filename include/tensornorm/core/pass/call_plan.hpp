// The plan of a call: of the axes that are stated of it, with the strides of all its tensors.
#pragma once

#include <optional>

#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/pass/forward_memory.hpp"
#include "tensornorm/core/pass/parameters.hpp"
#include "tensornorm/core/pass/pass_record.hpp"
#include "tensornorm/core/pass/statement.hpp"
#include "tensornorm/core/plan/plan_cache.hpp"
#include "tensornorm/core/plan/plan_slot.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

// Of a pass from x to a tensor that lies so.
inline PlanKey forward_key(const Statement& call, const Shape& y) {
  const Shape* const other = PlanKey::unless_same(call.shape, y);
  return {call.shape, call.batch, other, other};
}

template <class Scalar>
Uses uses_of(const Statement& call, const Parameters<ParamOf<Scalar>>& parameters) {
  return {sizeof(Scalar), parameters.is_affine(), !call.batch};
}

__attribute__((cold, noinline)) inline void take_strides(const Statement& call, const Shape& shape, Index Axis::*stride,
                                                         Axes& axes) {
  const Axes other = call.axes(shape, call.batch);
  for (int i = 0; i < axes.size(); ++i) axes[i].*stride = other[i].x;
}
// The statement's axes for the key's shapes.
inline Axes axes_of(const Statement& call, const PlanKey& key) {
  Axes axes = call.axes(key.shape, call.batch);
  if (key.y != nullptr) take_strides(call, *key.y, &Axis::y, axes);
  if (key.z != nullptr) take_strides(call, *key.z, &Axis::z, axes);
  return axes;
}

// Makes a plan of the key's, which is not known; false for an empty x.
template <class Scalar>
__attribute__((cold, noinline)) bool keep_plan(const Statement& call, const PlanKey& key, const Uses& uses,
                                               KeptPlan& plan) {
  const Axes axes = axes_of(call, key);
  if (call.shape.count() == 0) return false;
  if (call.is_own || !plan.is_of(axes, uses)) plan.set(key, axes, uses, ForwardMemory<ParamOf<Scalar>>::complete);
  return true;
}

// Makes a plan of the key's where emplace(binning) does. In a frame of its own: the axes and the Binning are gone from
// the stack when the pass begins.
template <class Scalar, class Emplace>
__attribute__((cold, noinline)) Plan& make_plan_by(const Emplace& emplace, const Statement& call, const PlanKey& key,
                                                   const Uses& uses) {
  const auto axes = [&] { return axes_of(call, key); };
  Plan& plan = emplace(Binning(FunctionRef<Axes()>(axes), uses));
  ForwardMemory<ParamOf<Scalar>>::complete(plan);
  return plan;
}
template <class Scalar>
Plan& make_plan(const Statement& call, const PlanKey& key, const Uses& uses, std::optional<Plan>& plan) {
  return make_plan_by<Scalar>([&](const Binning& b) -> Plan& { return plan.emplace(b, uses); }, call, key, uses);
}
template <class Scalar>
Plan& make_plan(const Statement& call, const PlanKey& key, const Uses& uses, PlanSlot& slot) {
  return make_plan_by<Scalar>([&](const Binning& b) -> Plan& { return slot.make(key, b, uses); }, call, key, uses);
}

// fingerprint(x, shape), of an x whose plan is known.
template <class Scalar>
std::uint64_t fingerprint(const Scalar* x, const Shape& shape, const Plan& plan) {
  return plan.span == plan.elements ? core::fingerprint(x, plan.elements) : core::fingerprint(x, shape);
}

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
