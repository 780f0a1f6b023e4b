// Bodies of pass_engine.hpp: forward; the others have headers of their own.
#pragma once

#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/pass/backward_pass-inl.hpp"
#include "tensornorm/core/pass/call_plan.hpp"
#include "tensornorm/core/pass/forward_steps.hpp"
#include "tensornorm/core/pass/infer_pass-inl.hpp"
#include "tensornorm/core/pass/pass_engine.hpp"
#include "tensornorm/core/pass/residual-inl.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

template <class Scalar, bool tracks, unsigned settings>
void PassEngine<Scalar, tracks, settings>::forward(const Statement& call, const Parameters<Param>& parameters,
                                                   Runner& runner, const Scalar* x, Target<Scalar>& y, State& state,
                                                   bool training, bool keeps_m2, ResidualArguments<Scalar>* sum,
                                                   const Find* find) {
  using Steps = ForwardSteps<Scalar, tracks>;
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
    return state.record.set(call.shape, fingerprint, training, call.batch, parameters.kind());
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
  state.record.set(call.shape, fingerprint, training, call.batch, parameters.kind());
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
bool PassEngine<Scalar, tracks, settings>::repeat_forward(const Parameters<Param>& parameters,
                                                          const RepeatedForward<Scalar>& call, State& state,
                                                          bool keeps_m2) {
  if (state.plan.number() != state.record.repeated_plan) return false;
  const Plan& plan = state.plan.plan();
  if (!call.may_share(plan.span)) return false;
  const Index stats = plan.walk.bins();  // of a small plan
  const Workspace workspace{state.workspace.data(), static_cast<Index>(state.workspace.size())};
  if (state.mean.size() != stats || workspace.doubles < plan.worker_size) return false;
  if (keeps_m2 && static_cast<Index>(state.m2.size()) != stats) return false;
  // Here and not by the pass: run_columns makes no sum, and the fingerprint is that of h. y may be x, so it is found
  // before y is written.
  if (call.residual != nullptr) call.residual->add(*call.residual, plan.only_tile, 0);
  ForwardArguments<Scalar> pass{parameters, call.x, call.y, {}};
  pass.post_op = call.post_op;
  state.record.fingerprint = core::fingerprint(call.x, state.record.shape, plan);
  pass.saved = {state.mean.data(), state.lo.data(), state.rstd.data(), keeps_m2 ? state.m2.data() : nullptr};
  if constexpr (kRunsColumns) {
    if (Forward<Scalar>::run_columns(pass, plan)) return true;
  }
  Forward<Scalar>::run_small(pass, plan, workspace);
  return true;
}

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
