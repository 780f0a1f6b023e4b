// Bodies of pass_engine.hpp.
#pragma once

#include <algorithm>
#include <type_traits>

#include "tensornorm/core/pass/backward_apart.hpp"
#include "tensornorm/core/pass/call_plan.hpp"
#include "tensornorm/core/pass/forward.hpp"
#include "tensornorm/core/pass/frozen.hpp"
#include "tensornorm/core/pass/pass_engine.hpp"
#include "tensornorm/core/pass/residual-inl.hpp"
#include "tensornorm/core/pass/staged_pass.hpp"
#include "tensornorm/core/pass/undo_post_op.hpp"
#include "tensornorm/core/plan/shared_plans.hpp"

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

template <class Scalar, bool tracks, unsigned settings>
struct PassEngine<Scalar, tracks, settings>::Steps {
  using Memory = ForwardMemory<Param>;

  __attribute__((noinline)) static void run(const ForwardArguments<Scalar>& pass, const Plan& plan,
                                            const Runner& runner, const Workspace& workspace) {
    if constexpr (tracks) {
      if (pass.is_frozen()) return Frozen<Scalar>(pass, plan).run(runner, workspace);
    }
    Forward<Scalar>(pass, plan).run(runner, workspace);
  }

  // Doubles of the workspace for so many threads.
  static Index workspace_size(const ForwardArguments<Scalar>& pass, const Plan& plan, Index threads) {
    if constexpr (tracks) {
      if (pass.is_frozen()) return Frozen<Scalar>(pass, plan).workspace_size(threads);
    }
    return Memory::workspace_size(plan, threads);
  }

  // Of an x of a plan's.
  static std::uint64_t fingerprint(const Scalar* x, const Shape& shape, const Plan& plan) {
    return plan.span == plan.elements ? core::fingerprint(x, plan.elements) : core::fingerprint(x, shape);
  }

  // ---- infer

  static void infer_by(const Plan& plan, const ForwardArguments<Scalar>& pass, Runner& runner,
                       const InferMemory& memory) {
    const Index size = workspace_size(pass, plan, runner.threads());
    if (size == 0) return run(pass, plan, runner, {});
    double* const doubles = runner.memory(size);
    const InferMemory::Loan loan(memory, doubles == nullptr);
    run(pass, plan, runner, doubles != nullptr ? Workspace{doubles, size} : loan.workspace());
  }

  __attribute__((noinline)) static void infer_on_stack(const Statement& call, const PlanKey& key,
                                                       const ForwardArguments<Scalar>& pass, Runner& runner,
                                                       const InferMemory& memory) {
    std::optional<Plan> plan;
    infer_by(make_plan<Scalar>(call, key, uses_of<Scalar>(call, pass), plan), pass, runner, memory);
  }

  __attribute__((noinline)) static void infer_of_function(const Statement& call, const PlanKey& key,
                                                          const ForwardArguments<Scalar>& pass, Runner& runner) {
    FunctionMemory& memory = FunctionMemory::get();
    SharedPlans::Use use;
    memory.plans.find(axes_of(call, key), uses_of<Scalar>(call, pass), Memory::complete, use);
    if (use.plan() != nullptr) return infer_by(*use.plan(), pass, runner, memory.memory);
    infer_on_stack(call, key, pass, runner, memory.memory);
  }

  // ---- x, or the sum of which it is made, and y

  static bool lie_beside(const Statement& call, const Target<Scalar>& y, const ResidualArguments<Scalar>* sum) {
    return sum == nullptr ? walks_beside(call.shape, y.shape()) : sum->lie_beside(y.shape());
  }

  // Calls run(statement, x, y, sum) with tensors that lie beside each other. Returns the fingerprint of x, or of the
  // sum.
  template <class Run>
  __attribute__((cold, noinline)) static std::uint64_t staged(const Statement& call, const Scalar* x, Target<Scalar>& y,
                                                              const ResidualArguments<Scalar>* sum,
                                                              CopyMemory<Scalar>& memory, const Run& run) {
    call.check_axes();  // what it refuses is not copied
    if (sum != nullptr) {
      sum->check_overlap(y);
      const auto run_sum = [&](const Shape& layout, Target<Scalar>& output, ResidualArguments<Scalar>& staged) {
        run(call.in(layout), nullptr, output, &staged);
      };
      return core::fingerprint(run_staged_sum(*sum, y, memory, run_sum), call.shape);
    }
    const std::uint64_t fingerprint = core::fingerprint(x, call.shape);  // y may be x
    const auto run_plain = [&](const Shape& layout, const Scalar* input, Target<Scalar>& output) {
      run(call.in(layout), input, output, nullptr);
    };
    run_staged(x, call.shape, y, walks_beside, memory, run_plain);
    return fingerprint;
  }

  // The copies of small tensors lie in the memory of infer, the pass itself then on the stack.
  template <class Run>
  __attribute__((cold, noinline)) static void infer_staged(const Statement& call, const Scalar* x, Target<Scalar>& y,
                                                           const ResidualArguments<Scalar>* sum,
                                                           const InferMemory& memory, const Run& run) {
    const InferMemory::Loan loan(memory);
    CopyMemory<Scalar> copies(loan.workspace());
    staged(call, x, y, sum, copies, run);
  }

  // ---- backward

  __attribute__((cold, noinline)) static void complete(BackwardPlan& backward_plan, const Plan& plan) {
    Index bytes = Backward<Scalar>::worker_bytes(backward_plan.partition);
    if constexpr (!tracks) {
      if (backward_plan.crosses) bytes = BackwardApart<Scalar>::worker_bytes(plan, backward_plan.partition);
    }
    backward_plan.worker_size = Arena::doubles(bytes);
  }

  // By either kind of pass, which refers to its arguments.
  template <class Pass>
  static void run_backward(Pass&& backward, BackwardArguments<Scalar>& arguments, const Runner& runner,
                           Target<Scalar>* dx, State& state, const FunctionRef<void()>* write) {
    state.grow_workspace(backward.workspace_size(runner.threads()));
    if (arguments.ranks != nullptr) return run_of_ranks(backward, arguments, runner, dx, state, write);
    if (dx != nullptr) arguments.dx = dx->prepare();
    if (write != nullptr) (*write)();
    backward.run(runner, state.workspace.data());
  }
  // dx gets its memory when no rank refuses the call any more.
  template <class Pass>
  __attribute__((cold, noinline)) static void run_of_ranks(Pass& backward, BackwardArguments<Scalar>& arguments,
                                                           const Runner& runner, Target<Scalar>* dx, State& state,
                                                           const FunctionRef<void()>* write) {
    const RankSums& ranks = *arguments.ranks;
    const auto add = [&](double* sum_g, double* sum_gx) {
      ranks.add(sum_g, sum_gx);
      if (dx != nullptr) arguments.dx = dx->prepare();
    };
    const RankSums then_prepared{ranks.values, add};
    arguments.ranks = &then_prepared;
    if (write != nullptr) (*write)();
    backward.run(runner, state.workspace.data());
  }
};

template <class Scalar, bool tracks, unsigned settings>
void PassEngine<Scalar, tracks, settings>::forward(const Statement& call, const Parameters<Param>& parameters,
                                                   Runner& runner, const Scalar* x, Target<Scalar>& y, State& state,
                                                   bool training, bool keeps_m2, ResidualArguments<Scalar>* sum,
                                                   const Find* find) {
  y.take_shape(call.shape);
  const PlanKey key = forward_key(call, y.shape());
  const bool is_known = call.is_own && state.plan.is_of(key);
  if ((sum != nullptr || !is_known) && !Steps::lie_beside(call, y, sum)) {
    const auto run = [&](const Statement& other, const Scalar* input, Target<Scalar>& output,
                         ResidualArguments<Scalar>* staged) {
      forward(other, parameters, runner, input, output, state, training, keeps_m2, staged, find);
    };
    state.copies.restart();
    const std::uint64_t fingerprint = Steps::staged(call, x, y, sum, state.copies, run);
    return state.record.set(call.shape, fingerprint, training, call.batch);  // its kind is that of the copies' record
  }
  const bool has_data = is_known || keep_plan<Scalar>(call, key, uses_of<Scalar>(call, parameters), state.plan);
  sum == nullptr ? y.check_overlap(x, call.shape, "x") : sum->check_overlap(y);

  // Everything that can fail comes before anything that changes, and y may be x.
  const std::uint64_t fingerprint = sum == nullptr ? core::fingerprint(x, call.shape) : 0;
  const Index stats = has_data ? state.plan.plan().statistics.count() : 0;
  ForwardArguments<Scalar> pass{parameters, x, nullptr, {}};
  if (has_data) state.grow_workspace(Steps::workspace_size(pass, state.plan.plan(), runner.threads()));
  if (keeps_m2) state.m2.resize(static_cast<std::size_t>(stats));
  Array mean, lo, rstd;  // the old ones live until the end, as x may be a view of them
  const bool resizes = state.mean.size() != stats;
  if (resizes) {
    for (Array* const array : {&mean, &lo, &rstd}) array->resize(stats);
  }
  Residual<Scalar> residual;
  if (sum != nullptr) pass.read_sum(residual = sum->prepare());
  const Workspace workspace{state.workspace.data(), static_cast<Index>(state.workspace.size())};
  if (find != nullptr) pass.found = (*find)(pass, has_data ? &state.plan.plan() : nullptr, workspace);
  Scalar* const y_data = y.prepare();
  if (resizes) {
    state.mean.swap(mean);
    state.lo.swap(lo);
    state.rstd.swap(rstd);
  }
  state.record.set(call.shape, fingerprint, training, call.batch);
  state.record.centred = parameters.centred;
  state.record.is_unit = parameters.is_unit;
  if (!has_data) return;
  const bool can_repeat = call.is_own && call.batch && find == nullptr && key.y == nullptr;
  if (can_repeat && state.plan.plan().is_small) state.record.repeated_plan = state.plan.number();

  if constexpr (kRunsColumns) pass.run_columns = &Forward<Scalar>::run_columns;
  pass.post_op = y.post_op();
  pass.y = y_data;
  pass.saved = {state.mean.data(), state.lo.data(), state.rstd.data(), keeps_m2 ? state.m2.data() : nullptr};
  Steps::run(pass, state.plan.plan(), runner, workspace);
  if (sum != nullptr) state.record.fingerprint = core::fingerprint(pass.x, call.shape);
}

template <class Scalar, bool tracks, unsigned settings>
bool PassEngine<Scalar, tracks, settings>::repeat_forward(const Parameters<Param>& parameters, const Scalar* x,
                                                          Scalar* y, State& state, bool keeps_m2) {
  if (state.plan.number() != state.record.repeated_plan) return false;
  const Plan& plan = state.plan.plan();
  if (!are_same_or_apart(x, y, plan.span)) return false;
  const Index stats = plan.walk.bins();  // of a small plan
  const Workspace workspace{state.workspace.data(), static_cast<Index>(state.workspace.size())};
  if (state.mean.size() != stats || workspace.doubles < plan.worker_size) return false;
  if (keeps_m2 && static_cast<Index>(state.m2.size()) != stats) return false;
  state.record.fingerprint = Steps::fingerprint(x, state.record.shape, plan);
  ForwardArguments<Scalar> pass{parameters, x, y, {}};
  pass.saved = {state.mean.data(), state.lo.data(), state.rstd.data(), keeps_m2 ? state.m2.data() : nullptr};
  if constexpr (kRunsColumns) {
    if (Forward<Scalar>::run_columns(pass, plan)) return true;
  }
  Forward<Scalar>::run_small(pass, plan, workspace);
  return true;
}

template <class Scalar, bool tracks, unsigned settings>
bool PassEngine<Scalar, tracks, settings>::repeat_backward(BackwardArguments<Scalar>& pass, State& state) {
  // The first backward makes a plan, and the memory that another of this shape may need.
  if (state.plan.number() != state.record.repeated_plan || !state.plan.has_backward_plan()) return false;
  const Plan& plan = state.plan.plan();
  if (!are_same_or_apart(pass.x, pass.dx, plan.span) || !are_same_or_apart(pass.dy, pass.dx, plan.span)) return false;
  if (state.mean.size() != plan.walk.bins()) return false;
  if (Steps::fingerprint(pass.x, state.record.shape, plan) != state.record.fingerprint) return false;
  pass.hi = state.mean.data();
  pass.lo = state.lo.data();
  pass.rstd = state.rstd.data();
  return Backward<Scalar>::run_columns(pass, plan);
}

template <class Scalar, bool tracks, unsigned settings>
bool PassEngine<Scalar, tracks, settings>::repeat_infer(const ForwardArguments<Scalar>& pass, const Shape& shape,
                                                        const InferPlans& plans) {
  const Plan* const plan = plans.find({shape, true});
  if (plan == nullptr || !plan->is_small || plan->worker_size > 0) return false;
  if (!are_same_or_apart(pass.x, pass.y, plan->span)) return false;
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

// A shape that the plans do not hold: its plan is made in their memory, and where other threads have all of that, on
// the stack.
template <class Scalar, bool tracks, unsigned settings>
void PassEngine<Scalar, tracks, settings>::infer(const Statement& call, const Parameters<Param>& parameters,
                                                 Runner& runner, const Scalar* x, Target<Scalar>& y,
                                                 const InferPlans* plans, const InferMemory* memory,
                                                 ResidualArguments<Scalar>* sum) {
  y.take_shape(call.shape);
  const PlanKey key = forward_key(call, y.shape());
  const Plan* const known = plans == nullptr ? nullptr : plans->find(key);
  if ((sum != nullptr || known == nullptr) && !Steps::lie_beside(call, y, sum)) {
    const auto run = [&](const Statement& other, const Scalar* input, Target<Scalar>& output,
                         ResidualArguments<Scalar>* staged) {
      infer(other, parameters, runner, input, output, plans, memory, staged);
    };
    return Steps::infer_staged(call, x, y, sum, memory == nullptr ? FunctionMemory::get().memory : *memory, run);
  }
  if (known == nullptr && plans != nullptr) call.check_axes();  // those of functions are checked
  sum == nullptr ? y.check_overlap(x, call.shape, "x") : sum->check_overlap(y);
  ForwardArguments<Scalar> pass{parameters, x, nullptr, {}};
  Residual<Scalar> residual;
  if (sum != nullptr) pass.read_sum(residual = sum->prepare());
  pass.post_op = y.post_op();
  pass.y = y.prepare();
  if (call.shape.count() == 0) return;
  if (plans == nullptr) return Steps::infer_of_function(call, key, pass, runner);
  if (known != nullptr) return Steps::infer_by(*known, pass, runner, *memory);
  PlanSlot* const slot = plans->take();
  if (slot == nullptr) return Steps::infer_on_stack(call, key, pass, runner, *memory);
  const Plan& plan = make_plan<Scalar>(call, key, uses_of<Scalar>(call, pass), *slot);
  const bool stays = plans->keep(*slot, plan.elements);
  Steps::infer_by(plan, pass, runner, *memory);
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
  Steps::infer_of_function(call, {call.shape, call.batch, nullptr, nullptr}, pass, runner);
}

template <class Scalar, bool tracks, unsigned settings>
void PassEngine<Scalar, tracks, settings>::backward(const Statement& call, const Parameters<Param>& parameters,
                                                    const GradientsOf& gradients, Index params, Runner& runner,
                                                    const Scalar* x, const OutputGradient<Scalar>& dy,
                                                    Target<Scalar>* dx, State& state, bool training,
                                                    const RankSums* ranks) {
  if (dy.post_op == nullptr) {
    return backward_of_result(call, parameters, gradients, params, runner, x, dy.data, dy.shape, dx, state, training,
                              nullptr, ranks);
  }
  Shape layout;
  const auto backward = [&](const FunctionRef<void()>& write) {
    backward_of_result(call, parameters, gradients, params, runner, x, state.gradient.data(), layout, dx, state,
                       training, &write, ranks);
  };
  const bool is_known = call.batch && call.is_own && state.plan.is_of({call.shape, call.batch});
  dy.post_op->undo({call,
                    parameters,
                    runner,
                    x,
                    dy,
                    dx,
                    state.record,
                    training,
                    {state.mean.data(), state.lo.data(), state.rstd.data()},
                    state.mean.size(),
                    is_known ? &state.plan.plan() : nullptr,
                    state.workspace,
                    state.undo_copies,
                    state.gradient,
                    layout},
                   backward);
}

template <class Scalar, bool tracks, unsigned settings>
void PassEngine<Scalar, tracks, settings>::backward_of_result(
    const Statement& call, const Parameters<Param>& parameters, const GradientsOf& gradients, Index params,
    Runner& runner, const Scalar* x, const Scalar* dy, const Shape& dy_shape, Target<Scalar>* dx, State& state,
    bool training, const FunctionRef<void()>* write, const RankSums* ranks) {
  const Shape& shape = call.shape;
  state.record.check_backward(shape, dy_shape, training);
  state.record.check_kind(parameters.centred, parameters.is_unit);
  state.record.check_same(shape, core::fingerprint(x, shape));
  if (dx != nullptr) dx->take_shape(shape);
  const PlanKey key{shape, call.batch, PlanKey::unless_same(shape, dy_shape),
                    dx == nullptr ? nullptr : PlanKey::unless_same(shape, dx->shape())};
  // The plan of the forward pass serves where its y, dy and dx lie as x does.
  KeptPlan& kept = key.y == nullptr && key.z == nullptr ? state.plan : state.backward_plan;
  const bool is_known = call.is_own && kept.is_of(key);
  if (dx != nullptr) {
    dx->check_overlap(x, shape, "x");
    dx->check_overlap(dy, dy_shape, "dy");
  }
  if (!is_known && (!walks_beside(shape, dy_shape) || (dx != nullptr && !walks_beside(shape, dx->shape())))) {
    const auto run = [&](const Shape& layout, const Scalar* input, const Scalar* gradient, Target<Scalar>* output) {
      backward_of_result(call.in(layout), parameters, gradients, params, runner, input, gradient, layout, output, state,
                         training, write, ranks);
    };
    state.copies.restart();
    return run_staged_backward(x, shape, dy, dy_shape, dx, state.record, walks_beside, state.copies, run);
  }
  const Uses uses = uses_of<Scalar>(call, parameters);
  const bool has_data = is_known || keep_plan<Scalar>(call, key, uses, kept);
  if (!has_data) {
    if (ranks != nullptr) ranks->add(nullptr, nullptr);
    if (dx != nullptr) dx->prepare();
    if (write != nullptr) (*write)();
    const ParameterGradients<Param> none = gradients();
    for (Param* const array : {none.dgamma, none.dbeta}) {
      if (array != nullptr) std::fill_n(array, params, Param(0));
    }
    return;
  }
  const Plan& plan = kept.plan();
  check_that(state.mean.size() == plan.statistics.count(), "the pass has ", state.mean.size(), " statistics but ",
             plan.statistics.count(), " are needed: it is of another forward");
  BackwardArguments<Scalar> pass{parameters, gradients(), x, dy, dx == nullptr ? nullptr : dx->data_before()};
  pass.wants_dx = dx != nullptr;
  if (dx != nullptr) pass.add = dx->add_gradient();
  if constexpr (kRunsColumns) pass.run_columns = &Backward<Scalar>::run_columns;
  pass.ranks = ranks;
  pass.hi = state.mean.data();
  pass.lo = state.lo.data();
  pass.rstd = state.rstd.data();
  const BackwardPlan& backward_plan = kept.backward_plan(uses, Steps::complete);
  if constexpr (!tracks) {
    if (backward_plan.crosses) {
      return Steps::run_backward(BackwardApart<Scalar>(pass, plan, backward_plan), pass, runner, dx, state, write);
    }
  }
  Steps::run_backward(Backward<Scalar>(pass, plan, backward_plan), pass, runner, dx, state, write);
}

}  // namespace core
}  // namespace tensornorm
