// Bodies of pass_engine.hpp: infer, and the moments of a tensor.
#pragma once

#include <optional>

#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/pass/call_plan.hpp"
#include "tensornorm/core/pass/forward_steps.hpp"
#include "tensornorm/core/pass/pass_engine.hpp"
#include "tensornorm/core/pass/residual-inl.hpp"
#include "tensornorm/core/plan/shared_plans.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

// What calls without a layer work in: infer of functions, moments. The program's, made by the first call.
struct FunctionMemory {
  SharedPlans plans;
  InferMemory memory;

  static FunctionMemory& get() {
    static FunctionMemory* const all = new FunctionMemory;
    return *all;
  }
};

template <class Scalar, bool tracks>
struct InferSteps {
  using Forwards = ForwardSteps<Scalar, tracks>;

  static void run(const Plan& plan, const ForwardArguments<Scalar>& pass, Runner& runner, const InferMemory& memory) {
    const Index size = Forwards::workspace_size(pass, plan, runner.threads());
    if (size == 0) return Forwards::run(pass, plan, runner, {});
    double* const doubles = runner.memory(size);
    const InferMemory::Loan loan(memory, doubles == nullptr);
    Forwards::run(pass, plan, runner, doubles != nullptr ? Workspace{doubles, size} : loan.workspace());
  }

  __attribute__((noinline)) static void run_on_stack(const Statement& call, const PlanKey& key,
                                                     const ForwardArguments<Scalar>& pass, Runner& runner,
                                                     const InferMemory& memory) {
    std::optional<Plan> plan;
    run(make_plan<Scalar>(call, key, uses_of<Scalar>(call, pass), plan), pass, runner, memory);
  }

  __attribute__((noinline)) static void run_of_function(const Statement& call, const PlanKey& key,
                                                        const ForwardArguments<Scalar>& pass, Runner& runner) {
    FunctionMemory& memory = FunctionMemory::get();
    SharedPlans::Use use;
    memory.plans.find(axes_of(call, key), uses_of<Scalar>(call, pass), ForwardMemory<ParamOf<Scalar>>::complete, use);
    if (use.plan() != nullptr) return run(*use.plan(), pass, runner, memory.memory);
    run_on_stack(call, key, pass, runner, memory.memory);
  }

  // The copies of small tensors lie in the memory of infer, the pass itself then on the stack.
  template <class Run>
  __attribute__((cold, noinline)) static void run_staged(const Statement& call, const Scalar* x, Target<Scalar>& y,
                                                         const ResidualArguments<Scalar>* sum,
                                                         const InferMemory& memory, const Run& run) {
    const InferMemory::Loan loan(memory);
    CopyMemory<Scalar> copies(loan.workspace());
    Forwards::staged(call, x, y, sum, copies, run);
  }
};

// A shape that the plans do not hold: its plan is made in their memory, and where other threads have all of that, on
// the stack.
template <class Scalar, bool tracks, unsigned settings>
void PassEngine<Scalar, tracks, settings>::infer(const Statement& call, const Parameters<Param>& parameters,
                                                 Runner& runner, const Scalar* x, Target<Scalar>& y,
                                                 const InferPlans* plans, const InferMemory* memory,
                                                 ResidualArguments<Scalar>* sum) {
  using Steps = InferSteps<Scalar, tracks>;
  y.take_shape(call.shape);
  const PlanKey key = forward_key(call, y.shape());
  const Plan* const known = plans == nullptr ? nullptr : plans->find(key);
  if ((sum != nullptr || known == nullptr) && !Steps::Forwards::lie_beside(call, y, sum)) {
    const auto run = [&](const Statement& other, const Scalar* input, Target<Scalar>& output,
                         ResidualArguments<Scalar>* staged) {
      infer(other, parameters, runner, input, output, plans, memory, staged);
    };
    return Steps::run_staged(call, x, y, sum, memory == nullptr ? FunctionMemory::get().memory : *memory, run);
  }
  if (known == nullptr && plans != nullptr) call.check_axes();  // those of functions are checked
  sum == nullptr ? y.check_overlap(x, call.shape, "x") : sum->check_overlap(y);
  ForwardArguments<Scalar> pass{parameters, x, nullptr, {}};
  Residual<Scalar> residual;
  if (sum != nullptr) pass.read_sum(residual = sum->prepare());
  pass.post_op = y.post_op();
  pass.y = y.prepare();
  if (call.shape.count() == 0) return;
  if (plans == nullptr) return Steps::run_of_function(call, key, pass, runner);
  if (known != nullptr) return Steps::run(*known, pass, runner, *memory);
  PlanSlot* const slot = plans->take();
  if (slot == nullptr) return Steps::run_on_stack(call, key, pass, runner, *memory);
  const Plan& plan = make_plan<Scalar>(call, key, uses_of<Scalar>(call, pass), *slot);
  const bool stays = plans->keep(*slot, plan.elements);
  Steps::run(plan, pass, runner, *memory);
  if (!stays) slot->clear();
}

template <class Scalar, bool tracks, unsigned settings>
void PassEngine<Scalar, tracks, settings>::find_moments(const Statement& call, Runner& runner, const Scalar* x,
                                                        Moments* to) {
  if (!walks_beside(call.shape, call.shape)) {
    const Shape layout = staged_layout(call.shape);
    CopyMemory<Scalar> memory;
    return find_moments(call.in(layout), runner, staged_input(x, call.shape, layout, memory), to);
  }
  ForwardArguments<Scalar> pass{{}, x, nullptr, {}};
  pass.saved.moments = to;
  InferSteps<Scalar, tracks>::run_of_function(call, {call.shape, call.batch, nullptr, nullptr}, pass, runner);
}

template <class Scalar, bool tracks, unsigned settings>
bool PassEngine<Scalar, tracks, settings>::repeat_infer(const ForwardArguments<Scalar>& pass,
                                                        const RepeatedForward<Scalar>& call, const Shape& shape,
                                                        const InferPlans& plans) {
  const Plan* const plan = plans.find({shape, !pass.is_frozen()});
  if (plan == nullptr || !plan->is_small || plan->worker_size > 0 || !call.may_share(plan->span)) return false;
  if constexpr (tracks) {
    if (pass.is_frozen()) return Frozen<Scalar>(pass, *plan).run_prepared();
  }
  Forward<Scalar>::run_small(pass, *plan, {});
  return true;
}

template <class Scalar, bool tracks, unsigned settings>
bool PassEngine<Scalar, tracks, settings>::repeat_frozen(const FrozenArrays<Param>& arrays, const Scalar* x,
                                                         const Shape& shape, Scalar* y, const InferPlans& plans) {
  const Plan* const plan = plans.find({shape, false});
  if (plan == nullptr || !plan->is_small || !are_same_or_apart(x, y, plan->span)) return false;
  return Frozen<Scalar>::run_columns(arrays, x, y, *plan);
}

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
