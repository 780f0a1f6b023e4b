// Bodies of pass_engine.hpp.
#pragma once

#include <algorithm>

#include "tensornorm/core/pass/backward_apart.hpp"
#include "tensornorm/core/pass/forward.hpp"
#include "tensornorm/core/pass/frozen.hpp"
#include "tensornorm/core/pass/pass_engine.hpp"
#include "tensornorm/core/plan/plan_slot.hpp"
#include "tensornorm/core/plan/shared_plans.hpp"
#include "tensornorm/core/staging.hpp"

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
  using Forward = core::Forward<Scalar>;

  static Uses uses(const Statement& call, const Parameters<Param>& parameters) {
    return {sizeof(Scalar), parameters.is_affine(), !call.batch};
  }

  static PlanKey forward_key(const Statement& call, const Shape& y) {
    const Shape* const other = PlanKey::unless_same(call.shape, y);
    return {call.shape, call.batch, other, other};
  }

  // The statement's axes with the strides of all tensors.
  static Axes axes_of(const Statement& call, const PlanKey& key) {
    Axes axes = call.axes(key.shape, call.batch);
    if (key.y != nullptr) take_strides(call, *key.y, &Axis::y, axes);
    if (key.z != nullptr) take_strides(call, *key.z, &Axis::z, axes);
    return axes;
  }
  __attribute__((noinline)) static void take_strides(const Statement& call, const Shape& shape, Index Axis::*stride,
                                                     Axes& axes) {
    const Axes other = call.axes(shape, call.batch);
    for (int i = 0; i < axes.size(); ++i) axes[i].*stride = other[i].x;
  }

  // Makes a plan of the key's, which is not known; false for an empty x.
  static bool keep_plan(const Statement& call, const PlanKey& key, const Parameters<Param>& parameters,
                        KeptPlan& plan) {
    const Axes axes = axes_of(call, key);
    if (call.shape.count() == 0) return false;
    const Uses uses = Steps::uses(call, parameters);
    if (call.is_own || !plan.is_of(axes, uses)) plan.set(key, axes, uses, Forward::complete);
    return true;
  }

  // In a frame of its own: the axes and the Binning are gone from the stack when the pass begins.
  __attribute__((noinline)) static Plan& make_plan(const Statement& call, const PlanKey& key,
                                                   const Parameters<Param>& parameters, PlanSlot& slot) {
    const Uses uses = Steps::uses(call, parameters);
    const auto axes = [&] { return axes_of(call, key); };
    Plan& plan = slot.make(key, Binning(FunctionRef<Axes()>(axes), uses), uses);
    Forward::complete(plan);
    return plan;
  }

  // The same where its caller keeps it.
  __attribute__((noinline)) static Plan make_plan(const Statement& call, const PlanKey& key,
                                                  const Parameters<Param>& parameters) {
    const Uses uses = Steps::uses(call, parameters);
    const auto axes = [&] { return axes_of(call, key); };
    Plan plan(Binning(FunctionRef<Axes()>(axes), uses), uses);
    Forward::complete(plan);
    return plan;
  }

  static void run(const ForwardArguments<Scalar>& pass, const Plan& plan, const Runner& runner,
                  const Workspace& workspace) {
    if constexpr (tracks) {
      if (pass.is_frozen()) return Frozen<Scalar>(pass, plan).run(runner, workspace);
    }
    Forward(pass, plan).run(runner, workspace);
  }

  // Doubles of the workspace for so many threads.
  static Index workspace_size(const ForwardArguments<Scalar>& pass, const Plan& plan, Index threads) {
    if constexpr (tracks) {
      if (pass.is_frozen()) return Frozen<Scalar>(pass, plan).workspace_size(threads);
    }
    return Forward::workspace_size(plan, threads);
  }

  // ---- infer

  static void infer_by(const Plan& plan, const ForwardArguments<Scalar>& pass, Runner& runner,
                       const InferMemory& memory) {
    const Index size = workspace_size(pass, plan, runner.threads());
    if (double* const doubles = runner.memory(size)) return run(pass, plan, runner, {doubles, size});
    const Workspace workspace = size > 0 ? memory.borrow() : Workspace();
    run(pass, plan, runner, workspace);
    memory.give_back(workspace);
  }

  __attribute__((noinline)) static void infer_on_stack(const Statement& call, const PlanKey& key,
                                                       const ForwardArguments<Scalar>& pass, Runner& runner,
                                                       const InferMemory& memory) {
    infer_by(make_plan(call, key, pass), pass, runner, memory);
  }

  static void infer_of_function(const Statement& call, const PlanKey& key, const ForwardArguments<Scalar>& pass,
                                Runner& runner) {
    FunctionMemory& memory = FunctionMemory::get();
    SharedPlans::Use use;
    memory.plans.find(axes_of(call, key), uses(call, pass), Forward::complete, use);
    if (use.plan() != nullptr) return infer_by(*use.plan(), pass, runner, memory.memory);
    infer_on_stack(call, key, pass, runner, memory.memory);
  }

  // ---- sums

  // Whether a, b and h lie alike, and a pass can walk h and y side by side.
  static bool lie_beside(const ResidualArguments<Scalar>& sum, const Shape& h, const Shape& y) {
    return h == sum.a_shape && h == sum.b_shape && walks_beside(h, h) && walks_beside(h, y);
  }
  static void check_sum(const ResidualArguments<Scalar>& sum, const Target<Scalar>& y) {
    for (const Target<Scalar>* const target : {static_cast<const Target<Scalar>*>(&sum.h), &y}) {
      target->check_overlap(sum.a, sum.a_shape, "x");
      target->check_overlap(sum.b, sum.b_shape, "r");
    }
    y.check_apart(sum.h);
  }
  static void prepare_sum(const ResidualArguments<Scalar>& sum, Residual<Scalar>& residual,
                          ForwardArguments<Scalar>& pass) {
    residual = {sum.a, sum.b, sum.h.prepare(), sum.add};
    pass.residual = &residual;
    pass.x = residual.h;
  }

  // Calls run(statement, y, sum) with tensors that lie alike. Returns where the sum is.
  template <class Run>
  __attribute__((cold, noinline)) static const Scalar* staged_sum(const Statement& call, ResidualArguments<Scalar>& sum,
                                                                  Target<Scalar>& y, const Run& run) {
    check_sum(sum, y);
    call.axes(call.shape, call.batch);  // what it refuses is not copied
    const Shape layout = staged_layout(call.shape);
    const StagedInput<Scalar> a(sum.a, sum.a_shape, layout), b(sum.b, sum.b_shape, layout);
    StagedTarget<Scalar> h(sum.h, layout), output(y, layout);
    h.take_shape(layout);
    ResidualArguments<Scalar> staged{a.data(), b.data(), layout, layout, h, sum.add};
    run(Statement{call.axes, layout, call.batch, call.is_own}, output, staged);
    output.finish();
    return h.finish();
  }

  // ---- tensors that no pass can walk side by side

  // Calls run(statement, x, y) with x and y in a layout of their own.
  template <class Run>
  static void staged(const Statement& call, const Scalar* x, Target<Scalar>& y, const Run& run) {
    call.axes(call.shape, call.batch);  // what it refuses is not copied
    run_staged(x, call.shape, y, walks_beside, [&](const Shape& layout, const Scalar* input, Target<Scalar>& output) {
      run(Statement{call.axes, layout, call.batch, call.is_own}, input, output);
    });
  }

  __attribute__((cold, noinline)) static void staged_backward(
      const Statement& call, const Parameters<Param>& parameters, const GradientsOf& gradients, Index params,
      Runner& runner, const Scalar* x, const Scalar* dy, const Shape& dy_shape, Target<Scalar>* dx, State& state,
      bool training, const FunctionRef<void()>* write, const RankSums* ranks) {
    if (dx != nullptr) {
      dx->check_overlap(x, call.shape, "x");
      dx->check_overlap(dy, dy_shape, "dy");
    }
    const Shape layout = staged_layout(call.shape);
    const StagedInput<Scalar> input(x, call.shape, layout), gradient(dy, dy_shape, layout);
    const Statement other{call.axes, layout, call.batch, call.is_own};
    const StagedRecord record(state.record, layout, core::fingerprint(input.data(), layout));
    const auto run = [&](Target<Scalar>* target) {
      backward(other, parameters, gradients, params, runner, input.data(), gradient.data(), layout, target, state,
               training, write, ranks);
    };
    if (dx == nullptr || walks_beside(layout, dx->shape())) return run(dx);
    StagedTarget<Scalar> target(*dx, layout);
    run(&target);
    target.finish();
  }

  // ---- backward

  static void complete(BackwardPlan& backward_plan, const Plan& plan) {
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
  const PlanKey key = Steps::forward_key(call, y.shape());
  const bool is_known = call.is_own && state.plan.is_of(key);
  if (sum != nullptr && !Steps::lie_beside(*sum, call.shape, y.shape())) {
    const auto run = [&](const Statement& other, Target<Scalar>& output, ResidualArguments<Scalar>& staged) {
      forward(other, parameters, runner, nullptr, output, state, training, keeps_m2, &staged);
    };
    const Scalar* const h = Steps::staged_sum(call, *sum, y, run);
    return state.record.set(call.shape, core::fingerprint(h, call.shape), training, call.batch);
  }
  if (!is_known && !walks_beside(call.shape, y.shape())) {
    const std::uint64_t fingerprint = core::fingerprint(x, call.shape);
    const auto run = [&](const Statement& other, const Scalar* input, Target<Scalar>& output) {
      forward(other, parameters, runner, input, output, state, training, keeps_m2, nullptr, find);
    };
    Steps::staged(call, x, y, run);
    return state.record.set(call.shape, fingerprint, training, call.batch);
  }
  const bool has_data = is_known || Steps::keep_plan(call, key, parameters, state.plan);
  sum == nullptr ? y.check_overlap(x, call.shape, "x") : Steps::check_sum(*sum, y);

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
  if (sum != nullptr) Steps::prepare_sum(*sum, residual, pass);
  const Workspace workspace{state.workspace.data(), static_cast<Index>(state.workspace.size())};
  if (find != nullptr) pass.found = (*find)(pass, has_data ? &state.plan.plan() : nullptr, workspace);
  Scalar* const y_data = y.prepare();
  if (resizes) {
    state.mean.swap(mean);
    state.lo.swap(lo);
    state.rstd.swap(rstd);
  }
  state.record.set(call.shape, fingerprint, training, call.batch);
  if (!has_data) return;

  pass.post_op = y.post_op();
  pass.y = y_data;
  pass.saved = {state.mean.data(), state.lo.data(), state.rstd.data(), keeps_m2 ? state.m2.data() : nullptr};
  Steps::run(pass, state.plan.plan(), runner, workspace);
  if (sum != nullptr) state.record.fingerprint = core::fingerprint(pass.x, call.shape);
}

// A shape that the plans do not hold: its plan is made in their memory, and where other threads have all of that, on
// the stack.
template <class Scalar, bool tracks, unsigned settings>
void PassEngine<Scalar, tracks, settings>::infer(const Statement& call, const Parameters<Param>& parameters,
                                                 Runner& runner, const Scalar* x, Target<Scalar>& y,
                                                 const InferPlans* plans, const InferMemory* memory,
                                                 ResidualArguments<Scalar>* sum) {
  y.take_shape(call.shape);
  if (sum != nullptr && !Steps::lie_beside(*sum, call.shape, y.shape())) {
    const auto run = [&](const Statement& other, Target<Scalar>& output, ResidualArguments<Scalar>& staged) {
      infer(other, parameters, runner, nullptr, output, plans, memory, &staged);
    };
    Steps::staged_sum(call, *sum, y, run);
    return;
  }
  const PlanKey key = Steps::forward_key(call, y.shape());
  const Plan* const known = plans == nullptr ? nullptr : plans->find(key);
  if (known == nullptr && !walks_beside(call.shape, y.shape())) {
    return Steps::staged(call, x, y, [&](const Statement& other, const Scalar* input, Target<Scalar>& output) {
      infer(other, parameters, runner, input, output, plans, memory);
    });
  }
  if (known == nullptr && plans != nullptr) call.axes(call.shape, call.batch);  // those of functions are checked
  sum == nullptr ? y.check_overlap(x, call.shape, "x") : Steps::check_sum(*sum, y);
  ForwardArguments<Scalar> pass{parameters, x, nullptr, {}};
  Residual<Scalar> residual;
  if (sum != nullptr) Steps::prepare_sum(*sum, residual, pass);
  pass.post_op = y.post_op();
  pass.y = y.prepare();
  if (call.shape.count() == 0) return;
  if (plans == nullptr) return Steps::infer_of_function(call, key, pass, runner);
  if (known != nullptr) return Steps::infer_by(*known, pass, runner, *memory);
  PlanSlot* const slot = plans->take();
  if (slot == nullptr) return Steps::infer_on_stack(call, key, pass, runner, *memory);
  const Plan& plan = Steps::make_plan(call, key, pass, *slot);
  const bool stays = plans->keep(*slot, plan.elements);
  Steps::infer_by(plan, pass, runner, *memory);
  if (!stays) slot->clear();
}

template <class Scalar, bool tracks, unsigned settings>
void PassEngine<Scalar, tracks, settings>::find_moments(const Statement& call, Runner& runner, const Scalar* x,
                                                        Moments* to) {
  if (!walks_beside(call.shape, call.shape)) {
    const Shape layout = staged_layout(call.shape);
    const StagedInput<Scalar> input(x, call.shape, layout);
    return find_moments({call.axes, layout, call.batch, call.is_own}, runner, input.data(), to);
  }
  ForwardArguments<Scalar> pass{{}, x, nullptr, {}};
  pass.saved.moments = to;
  Steps::infer_of_function(call, {call.shape, call.batch, nullptr, nullptr}, pass, runner);
}

template <class Scalar, bool tracks, unsigned settings>
void PassEngine<Scalar, tracks, settings>::backward(const Statement& call, const Parameters<Param>& parameters,
                                                    const GradientsOf& gradients, Index params, Runner& runner,
                                                    const Scalar* x, const Scalar* dy, const Shape& dy_shape,
                                                    Target<Scalar>* dx, State& state, bool training,
                                                    const FunctionRef<void()>* write, const RankSums* ranks) {
  const Shape& shape = call.shape;
  state.record.check_backward(shape, dy_shape, training);
  state.record.check_same(shape, core::fingerprint(x, shape));
  if (dx != nullptr) dx->take_shape(shape);
  const PlanKey key{shape, call.batch, PlanKey::unless_same(shape, dy_shape),
                    dx == nullptr ? nullptr : PlanKey::unless_same(shape, dx->shape())};
  // The plan of the forward pass serves where its y, dy and dx lie as x does.
  KeptPlan& kept = key.y == nullptr && key.z == nullptr ? state.plan : state.backward_plan;
  const bool is_known = call.is_own && kept.is_of(key);
  if (!is_known && (!walks_beside(shape, dy_shape) || (dx != nullptr && !walks_beside(shape, dx->shape())))) {
    return Steps::staged_backward(call, parameters, gradients, params, runner, x, dy, dy_shape, dx, state, training,
                                  write, ranks);
  }
  const bool has_data = is_known || Steps::keep_plan(call, key, parameters, kept);
  if (dx != nullptr) {
    dx->check_overlap(x, shape, "x");
    dx->check_overlap(dy, dy_shape, "dy");
  }
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
  pass.ranks = ranks;
  pass.hi = state.mean.data();
  pass.lo = state.lo.data();
  pass.rstd = state.rstd.data();
  const BackwardPlan& backward_plan = kept.backward_plan(Steps::uses(call, parameters), Steps::complete);
  if constexpr (!tracks) {
    if (backward_plan.crosses) {
      return Steps::run_backward(BackwardApart<Scalar>(pass, plan, backward_plan), pass, runner, dx, state, write);
    }
  }
  Steps::run_backward(Backward<Scalar>(pass, plan, backward_plan), pass, runner, dx, state, write);
}

}  // namespace core
}  // namespace tensornorm
