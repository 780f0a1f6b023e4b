// Bodies of pass_engine.hpp: backward.
#pragma once

#include <algorithm>
#include <type_traits>

#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/pass/backward_apart.hpp"
#include "tensornorm/core/pass/call_plan.hpp"
#include "tensornorm/core/pass/pass_engine.hpp"
#include "tensornorm/core/pass/staged_pass.hpp"
#include "tensornorm/core/pass/undo_post_op.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

template <class Scalar, bool tracks, class State>
struct BackwardSteps {
  __attribute__((cold, noinline)) static void complete(BackwardPlan& backward_plan, const Plan& plan) {
    Index bytes = Backward<Scalar>::worker_bytes(backward_plan.partition);
    if constexpr (!tracks) {
      if (backward_plan.crosses) bytes = BackwardApart<Scalar>::worker_bytes(plan, backward_plan.partition);
    }
    backward_plan.worker_size = Arena::doubles(bytes);
  }

  // By either kind of pass, which refers to its arguments.
  template <class Pass>
  static void run(Pass&& backward, BackwardArguments<Scalar>& arguments, const Runner& runner, Target<Scalar>* dx,
                  State& state, const ResultGradient<Scalar>* gradient) {
    state.grow_workspace(backward.workspace_size(runner.threads()));
    if (arguments.ranks != nullptr) return run_of_ranks(backward, arguments, runner, dx, state, gradient);
    if (arguments.write_range != nullptr) {
      arguments.dy = arguments.dx = dx->prepare();
      gradient->into_dx->begin(arguments.dx);
    } else {
      if (gradient != nullptr) arguments.dy = gradient->take_memory();
      if (dx != nullptr) arguments.dx = dx->prepare();
      if (gradient != nullptr) gradient->write();
    }
    backward.run(runner, state.workspace.data());
  }
  // Whether a backward may write the gradient of the result to dx range by range. Frozen statistics have no sums to
  // write it for, and ranks give dx its memory late. A small plan goes to one kernel. Where parameters are apart, only
  // BackwardApart normalizes as Forward did, to the same bits.
  static bool writes_ranges(const BackwardArguments<Scalar>& arguments, const Plan& plan,
                            const BackwardPlan& backward_plan) {
    if (arguments.is_frozen() || arguments.ranks != nullptr) return false;
    return (!tracks && backward_plan.crosses) || (!plan.is_small && !plan.params_apart);
  }
  // dx gets its memory when no rank refuses the call any more.
  template <class Pass>
  __attribute__((cold, noinline)) static void run_of_ranks(Pass& backward, BackwardArguments<Scalar>& arguments,
                                                           const Runner& runner, Target<Scalar>* dx, State& state,
                                                           const ResultGradient<Scalar>* gradient) {
    const RankSums& ranks = *arguments.ranks;
    const auto add = [&](double* sum_g, double* sum_gx) {
      ranks.add(sum_g, sum_gx);
      if (dx != nullptr) arguments.dx = dx->prepare();
    };
    const RankSums then_prepared{ranks.values, add};
    arguments.ranks = &then_prepared;
    if (gradient != nullptr) {
      arguments.dy = gradient->take_memory();
      gradient->write();
    }
    backward.run(runner, state.workspace.data());
  }
};

template <class Scalar, bool tracks, unsigned settings>
void PassEngine<Scalar, tracks, settings>::backward(const Statement& call, const Parameters<Param>& parameters,
                                                    const GradientsOf& gradients, Index params, Runner& runner,
                                                    const Scalar* x, const OutputGradient<Scalar>& dy,
                                                    Target<Scalar>* dx, State& state, bool training,
                                                    const RankSums* ranks) {
  state.record.check_kind(parameters.kind(), ranks != nullptr);
  if (dy.post_op == nullptr) {
    return backward_of_result(call, parameters, gradients, params, runner, x, dy.data, dy.shape, dx, state, training,
                              nullptr, ranks);
  }
  Shape layout;
  const auto backward = [&](const ResultGradient<Scalar>& gradient) {
    backward_of_result(call, parameters, gradients, params, runner, x, nullptr, layout, dx, state, training, &gradient,
                       ranks);
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
    bool training, const ResultGradient<Scalar>* gradient, const RankSums* ranks) {
  using Steps = BackwardSteps<Scalar, tracks, State>;
  const Shape& shape = call.shape;
  if (gradient == nullptr) {  // else undo_post_op checked the call
    state.record.check_backward(shape, dy_shape, training);
    state.record.check_same(shape, core::fingerprint(x, shape));
  }
  if (dx != nullptr) dx->take_shape(shape);
  const PlanKey key{shape, call.batch, PlanKey::unless_same(shape, dy_shape),
                    dx == nullptr ? nullptr : PlanKey::unless_same(shape, dx->shape())};
  // The plan of the forward pass serves where its y, dy and dx lie as x does.
  KeptPlan& kept = key.y == nullptr && key.z == nullptr ? state.plan : state.backward_plan;
  const bool is_known = call.is_own && kept.is_of(key);
  if (dx != nullptr && gradient == nullptr) {
    dx->check_overlap(x, shape, "x");
    dx->check_overlap(dy, dy_shape, "dy");
  }
  if (!is_known && (!walks_beside(shape, dy_shape) || (dx != nullptr && !walks_beside(shape, dx->shape())))) {
    const auto run = [&](const Shape& layout, const Scalar* input, const Scalar* of_y, Target<Scalar>* output) {
      backward_of_result(call.in(layout), parameters, gradients, params, runner, input, of_y, layout, output, state,
                         training, gradient, ranks);
    };
    state.copies.restart();
    return run_staged_backward(x, shape, dy, dy_shape, dx, state.record, walks_beside, state.copies, run);
  }
  const Uses uses = uses_of<Scalar>(call, parameters);
  const bool has_data = is_known || keep_plan<Scalar>(call, key, uses, kept);
  if (!has_data) {
    if (ranks != nullptr) ranks->add(nullptr, nullptr);
    if (dx != nullptr) dx->prepare();
    if (gradient != nullptr) gradient->write();
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
  const bool fits_dx = gradient != nullptr && gradient->into_dx != nullptr;
  if (fits_dx && Steps::writes_ranges(pass, plan, backward_plan)) {
    pass.write_range = &gradient->into_dx->write;
    pass.dy = pass.dx;  // the pass decides when it is made whether dx goes past the cache: not where dx holds dy
  }
  if constexpr (!tracks) {
    if (backward_plan.crosses) {
      return Steps::run(BackwardApart<Scalar>(pass, plan, backward_plan), pass, runner, dx, state, gradient);
    }
  }
  Steps::run(Backward<Scalar>(pass, plan, backward_plan), pass, runner, dx, state, gradient);
}

template <class Scalar, bool tracks, unsigned settings>
bool PassEngine<Scalar, tracks, settings>::repeat_backward(BackwardArguments<Scalar>& pass, State& state) {
  // The first backward makes a plan, and the memory that another of this shape may need.
  if (state.plan.number() != state.record.repeated_plan || !state.plan.has_backward_plan()) return false;
  const Plan& plan = state.plan.plan();
  if (!are_same_or_apart(pass.x, pass.dx, plan.span) || !are_same_or_apart(pass.dy, pass.dx, plan.span)) return false;
  if (state.mean.size() != plan.walk.bins()) return false;
  if (core::fingerprint(pass.x, state.record.shape, plan) != state.record.fingerprint) return false;
  pass.hi = state.mean.data();
  pass.lo = state.lo.data();
  pass.rstd = state.rstd.data();
  return Backward<Scalar>::run_columns(pass, plan);
}

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
