// Bodies of engine.hpp.
#pragma once

#include <cstring>

#include "tensornorm/core/pass/backward_apart.hpp"
#include "tensornorm/core/pass/engine.hpp"
#include "tensornorm/core/pass/forward.hpp"
#include "tensornorm/core/pass/frozen.hpp"
#include "tensornorm/core/pass/layer_state-inl.hpp"
#include "tensornorm/core/plan/plan_slot.hpp"

namespace tensornorm {
namespace core {

template <class Scalar, bool tracks, unsigned settings>
Engine<Scalar, tracks, settings>::Engine(double eps, bool centred, Index params, bool bias)
    : State(eps, params, bias ? params : 0), centred_(centred) {}

template <class Scalar, bool tracks, unsigned settings>
void Engine<Scalar, tracks, settings>::track(Index channels, std::optional<double> momentum, bool unbiased) {
  running_ = {channels, momentum, unbiased, Array::Zero(channels), Array::Ones(channels), 0};
  for (Array* const array : {&prepared_.gamma, &prepared_.var, &prepared_.scale}) array->setZero(gamma_size_);
}

// A new phase may come with other shapes for infer to keep plans of, and with other parameters.
template <class Scalar, bool tracks, unsigned settings>
void Engine<Scalar, tracks, settings>::set_training(bool training) {
  training_ = training;
  infer_plans_.clear();
  if constexpr (tracks) {
    if (!training && is_tracked()) prepare();
  }
}

template <class Scalar, bool tracks, unsigned settings>
void Engine<Scalar, tracks, settings>::prepare() {
  const Index n = prepared_.scale.size();
  if (n == 0 || gamma_.size() != n || running_.var.size() != n) return;
  prepared_.gamma = gamma_;
  prepared_.var = running_.var;
  find_roots(running_.var.data(), n, 1, eps_, prepared_.scale.data());
  scale_roots(gamma_.data(), n, prepared_.scale.data());
  prepared_.is_made = true;
}

// Null where it must be made.
template <class Scalar, bool tracks, unsigned settings>
const typename Engine<Scalar, tracks, settings>::Param* Engine<Scalar, tracks, settings>::prepared_scale() const {
  const auto are_same = [](const Array& a, const Array& b) {
    return a.size() == b.size() &&
           std::memcmp(a.data(), b.data(), static_cast<std::size_t>(a.size()) * sizeof(Param)) == 0;
  };
  const bool is_known = prepared_.is_made && are_same(prepared_.gamma, gamma_) && are_same(prepared_.var, running_.var);
  return is_known ? prepared_.scale.data() : nullptr;
}

// ---- plans

template <class Scalar, bool tracks, unsigned settings>
void Engine<Scalar, tracks, settings>::check_parameters() const {
  this->check_affine();
  if constexpr (tracks) {
    this->check_size(running_.mean, running_.channels, "running_mean");
    this->check_size(running_.var, running_.channels, "running_var");
  }
}

// The layer's axes for x; throws when x has not the shape it takes, or too little data.
template <class Scalar, bool tracks, unsigned settings>
Axes Engine<Scalar, tracks, settings>::checked_axes(const AxesOf& axes, const PlanKey& key) const {
  const Axes result = axes(key.shape, key.batch);
  check_parameters();
  return result;
}

// Makes plan_ that of x; false for an empty x.
template <class Scalar, bool tracks, unsigned settings>
bool Engine<Scalar, tracks, settings>::keep_plan(const AxesOf& axes, const PlanKey& key) {
  if (plan_.is_of(key)) {
    check_parameters();
    return true;
  }
  const Axes checked = checked_axes(axes, key);
  if (key.shape.count() == 0) return false;
  plan_.set(key, checked, uses(key), Forward<Scalar>::complete);
  return true;
}

// In a frame of its own: the axes and the Binning are gone from the stack when the pass begins.
template <class Scalar, bool tracks, unsigned settings>
__attribute__((noinline)) Plan& Engine<Scalar, tracks, settings>::make_plan(const AxesOf& axes, const PlanKey& key,
                                                                            PlanSlot& slot) const {
  Plan& plan = slot.make(key, Binning(axes(key.shape, key.batch), uses(key)), uses(key));
  Forward<Scalar>::complete(plan);
  return plan;
}

template <class Scalar, bool tracks, unsigned settings>
Uses Engine<Scalar, tracks, settings>::uses(const PlanKey& key) const {
  return {sizeof(Scalar), gamma_size_ > 0, !key.batch};
}

// ---- forward

template <class Scalar, bool tracks, unsigned settings>
ForwardArguments<Scalar> Engine<Scalar, tracks, settings>::forward_arguments(const Scalar* x, Scalar* y,
                                                                             bool batch) const {
  ForwardArguments<Scalar> result;
  result.x = x;
  result.y = y;
  result.gamma = gamma_size_ > 0 ? gamma_.data() : nullptr;
  result.beta = beta_size_ > 0 ? beta_.data() : nullptr;
  result.eps = eps_;
  result.centred = centred_;
  if constexpr (tracks) {
    result.frozen_mean = batch ? nullptr : running_.mean.data();
    result.frozen_var = batch ? nullptr : running_.var.data();
  }
  return result;
}

template <class Scalar, bool tracks, unsigned settings>
void Engine<Scalar, tracks, settings>::run_forward(const AxesOf& axes, Runner& runner, const Scalar* x,
                                                   const Shape& shape, Target<Scalar>& y) {
  const bool batch = uses_batch(), updates = training_ && is_tracked();
  const bool has_data = keep_plan(axes, {shape, batch});
  y.take_shape(shape);
  y.check_overlap(x, "x");

  // Everything that can fail comes before anything that changes, and y may be x.
  const std::uint64_t fingerprint = core::fingerprint(x, shape.count());
  const Index stats = has_data ? plan_.plan().statistics.count() : 0;
  if (has_data && batch) grow_workspace(Forward<Scalar>::workspace_size(plan_.plan(), runner.threads()));
  if (updates) m2_.resize(static_cast<std::size_t>(stats));
  Array mean, lo, rstd;  // the old ones live until the end, as x may be a view of them
  const bool resizes = mean_.size() != stats;
  if (resizes) {
    for (Array* const array : {&mean, &lo, &rstd}) array->resize(stats);
  }
  Scalar* const y_data = y.prepare();
  if (resizes) {
    mean_.swap(mean);
    lo_.swap(lo);
    rstd_.swap(rstd);
  }
  this->passed(shape, fingerprint, batch);
  if (!has_data) return;

  ForwardArguments<Scalar> pass = forward_arguments(x, y_data, batch);
  pass.saved = {mean_.data(), lo_.data(), rstd_.data(), updates ? m2_.data() : nullptr};
  run_pass(pass, plan_.plan(), runner, {workspace_.data(), static_cast<Index>(workspace_.size())});
  if constexpr (tracks) {
    if (updates) running_.update({plan_.plan().stat_size, mean_.size(), mean_.data(), lo_.data(), m2_.data()});
  }
}

template <class Scalar, bool tracks, unsigned settings>
void Engine<Scalar, tracks, settings>::run_pass(const ForwardArguments<Scalar>& pass, const Plan& plan,
                                                const Runner& runner, const Workspace& workspace) {
  if constexpr (tracks) {
    if (pass.is_frozen()) return Frozen<Scalar>(pass, plan).run(runner);
  }
  Forward<Scalar>(pass, plan).run(runner, workspace);
}

// ---- infer

template <class Scalar, bool tracks, unsigned settings>
void Engine<Scalar, tracks, settings>::run_infer(const AxesOf& axes, Runner& runner, const Scalar* x,
                                                 const Shape& shape, Target<Scalar>& y) const {
  const PlanKey key{shape, !is_tracked()};
  const Plan* const known = infer_plans_.find(key);
  if (known != nullptr) {
    check_parameters();
  } else {
    checked_axes(axes, key);
  }
  y.take_shape(shape);
  y.check_overlap(x, "x");
  Scalar* const y_data = y.prepare();
  if (shape.count() == 0) return;
  ForwardArguments<Scalar> pass = forward_arguments(x, y_data, key.batch);
  if constexpr (tracks) {
    if (pass.is_frozen()) pass.frozen_scale = prepared_scale();
  }
  if (known != nullptr) return infer_by(*known, pass, runner);
  infer_newly(axes, key, pass, runner);
}

template <class Scalar, bool tracks, unsigned settings>
void Engine<Scalar, tracks, settings>::infer_by(const Plan& plan, const ForwardArguments<Scalar>& pass,
                                                Runner& runner) const {
  if (pass.is_frozen()) return run_pass(pass, plan, runner, {});
  const Index size = Forward<Scalar>::workspace_size(plan, runner.threads());
  if (double* const memory = runner.memory(size)) return run_pass(pass, plan, runner, {memory, size});
  const Workspace workspace = size > 0 ? infer_memory_.borrow() : Workspace();
  run_pass(pass, plan, runner, workspace);
  infer_memory_.give_back(workspace);
}

// A shape that infer_plans_ does not hold: its plan is made in the layer's memory, and where other threads have all of
// that, on the stack.
template <class Scalar, bool tracks, unsigned settings>
void Engine<Scalar, tracks, settings>::infer_newly(const AxesOf& axes, const PlanKey& key,
                                                   const ForwardArguments<Scalar>& pass, Runner& runner) const {
  PlanSlot* const slot = infer_plans_.take();
  if (slot == nullptr) return infer_on_stack(axes, key, pass, runner);
  const Plan& plan = make_plan(axes, key, *slot);
  const bool stays = infer_plans_.keep(*slot, plan.elements);
  infer_by(plan, pass, runner);
  if (!stays) slot->clear();
}

template <class Scalar, bool tracks, unsigned settings>
__attribute__((noinline)) void Engine<Scalar, tracks, settings>::infer_on_stack(const AxesOf& axes, const PlanKey& key,
                                                                                const ForwardArguments<Scalar>& pass,
                                                                                Runner& runner) const {
  PlanSlot slot;
  infer_by(make_plan(axes, key, slot), pass, runner);
}

template <class Scalar, bool tracks, unsigned settings>
void Engine<Scalar, tracks, settings>::grow_workspace(Index doubles) {
  if (static_cast<Index>(workspace_.size()) < doubles) workspace_.resize(static_cast<std::size_t>(doubles));
}

// ---- backward

template <class Scalar, bool tracks, unsigned settings>
BackwardArguments<Scalar> Engine<Scalar, tracks, settings>::backward_arguments(const Scalar* x, const Scalar* dy) {
  BackwardArguments<Scalar> result;
  result.x = x;
  result.dy = dy;
  result.gamma = gamma_size_ > 0 ? gamma_.data() : nullptr;
  result.hi = mean_.data();
  result.lo = lo_.data();
  result.rstd = rstd_.data();
  result.centred = centred_;
  result.frozen = !pass_.batch;
  result.dgamma = gamma_size_ > 0 ? dgamma_.data() : nullptr;
  result.dbeta = beta_size_ > 0 ? dbeta_.data() : nullptr;
  return result;
}

template <class Scalar, bool tracks, unsigned settings>
void Engine<Scalar, tracks, settings>::run_backward(const AxesOf& axes, Runner& runner, const Scalar* x,
                                                    const Shape& shape, const Scalar* dy, const Shape& dy_shape,
                                                    Target<Scalar>& dx) {
  this->check_pass(shape, dy_shape);
  const PlanKey key{shape, pass_.batch};
  const bool has_data = keep_plan(axes, key);
  dx.take_shape(shape);
  dx.check_overlap(x, "x");
  dx.check_overlap(dy, "dy");
  this->check_same_x(shape, x);
  if (!has_data) {
    dx.prepare();
    dgamma_.setZero();
    dbeta_.setZero();
    return;
  }
  BackwardArguments<Scalar> pass = backward_arguments(x, dy);
  const Plan& plan = plan_.plan();
  const BackwardPlan& backward_plan = plan_.backward_plan(uses(key), complete);
  if constexpr (!tracks) {
    if (backward_plan.crosses) return run_backward(BackwardApart<Scalar>(pass, plan, backward_plan), pass, runner, dx);
  }
  run_backward(Backward<Scalar>(pass, plan, backward_plan), pass, runner, dx);
}

template <class Scalar, bool tracks, unsigned settings>
void Engine<Scalar, tracks, settings>::complete(BackwardPlan& backward_plan, const Plan& plan) {
  Index bytes = Backward<Scalar>::worker_bytes(backward_plan.partition);
  if constexpr (!tracks) {
    if (backward_plan.crosses) bytes = BackwardApart<Scalar>::worker_bytes(plan, backward_plan.partition);
  }
  backward_plan.worker_size = Arena::doubles(bytes);
}

// By either kind of pass, which refers to its arguments.
template <class Scalar, bool tracks, unsigned settings>
template <class Pass>
void Engine<Scalar, tracks, settings>::run_backward(Pass&& backward, BackwardArguments<Scalar>& arguments,
                                                    const Runner& runner, Target<Scalar>& dx) {
  grow_workspace(backward.workspace_size(runner.threads()));
  arguments.dx = dx.prepare();
  backward.run(runner, workspace_.data());
}

}  // namespace core
}  // namespace tensornorm
