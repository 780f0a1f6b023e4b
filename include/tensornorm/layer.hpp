// Layer: what every layer that scales by 1 / sqrt(var + eps) does. A layer itself says only which axes share a
// statistic and along which axes its parameters vary, and documents what follows from it.
#pragma once

#include <optional>
#include <vector>

#include "tensornorm/core/pass/running.hpp"
#include "tensornorm/core/plan/plan_cache.hpp"
#include "tensornorm/passes.hpp"
#include "tensornorm/protocol.hpp"

namespace tensornorm {

// Forward: y = (x - mean) / sqrt(var + eps) * gamma + beta. Backward: with g = dy * gamma, dx = rstd * (g - mean(g) -
// xhat * mean(g * xhat)), dgamma = sum(dy * xhat), dbeta = sum(dy); with running statistics, dx = dy * gamma * rstd.
//
// Derived provides
//   Axes axes(const Shape& x) const              its axes for x; throws when x has not the shape it takes
// and may provide
//   Axes frozen_axes(const Shape& x) const       its axes with running statistics
//   void check_statistics(const Shape& x) const  throws when x has too little data for statistics
template <class Derived, class Scalar>
class Layer : public Protocol<Derived, Scalar> {
  using Base = Protocol<Derived, Scalar>;
  friend Base;

 public:
  using typename Base::Array;
  using typename Base::Param;

  /// 1 / sqrt(var + eps) of the last forward, row-major over the kept logical axes.
  const Array& rstd() const { return rstd_; }

 protected:
  using typename Base::Shape;
  using Axes = core::Axes;
  using Base::beta_;
  using Base::beta_size_;
  using Base::dbeta_;
  using Base::dgamma_;
  using Base::eps_;
  using Base::gamma_;
  using Base::gamma_size_;
  using Base::pass_;
  using Base::training_;

  Layer(double eps, bool centred, Index gamma_size, Index beta_size)
      : Base(eps, gamma_size, beta_size), centred_(centred) {}

  void track(Index channels, std::optional<double> momentum, bool unbiased) {
    running_ = {channels, momentum, unbiased, Array::Zero(channels), Array::Ones(channels), 0};
  }

  // What Derived may hide: the axes with running statistics, and how much data statistics need.
  Axes frozen_axes(const Shape& x) const { return derived().axes(x); }
  void check_statistics(const Shape&) const {}

  Array mean_, rstd_;
  core::RunningStatistics<Param> running_;

 private:
  // A new phase may come with other shapes for infer to keep plans of.
  void mode_changed() { infer_plans_.clear(); }

  const Derived& derived() const { return static_cast<const Derived&>(*this); }
  bool uses_batch() const { return training_ || !running_.tracked(); }

  template <class Device, class X, class Y>
  void run_forward(const Device& device, const X& x, Y& y);
  template <class Device, class X, class Y>
  void run_infer(const Device& device, const X& x, Y& y) const;
  template <class Device, class X, class DY, class DX>
  void run_backward(const Device& device, const X& x, const DY& dy, DX& dx);

  // What these are made of, whatever the tensors' types.
  using Plan = core::Plan;
  using PlanKey = core::PlanKey;
  bool keep_plan(const PlanKey& key);
  core::Uses uses(const PlanKey& key) const { return {sizeof(Scalar), gamma_size_ > 0, !key.batch}; }
  void check_parameters() const;
  Axes checked_axes(const PlanKey& key) const;
  void forward_dense(const core::Runner& runner, const Scalar* x, Scalar* y, bool batch);
  template <class AnyRunner>
  void infer_dense(AnyRunner& runner, const Plan& plan, const Scalar* x, Scalar* y, bool batch) const;
  Plan plan_of(const PlanKey& key) const;
  template <class AnyRunner>
  void infer_newly(AnyRunner& runner, const PlanKey& key, const Scalar* x, Scalar* y) const;
  core::BackwardPass<Scalar> backward_pass(const core::BackwardArguments<Scalar>& arguments) {
    const auto& bins = plan_.gradient(uses({pass_.shape, pass_.batch}), core::BackwardPass<Scalar>::complete);
    return {arguments, plan_.plan(), bins};
  }
  void backward_dense(const core::Runner& runner, const core::BackwardArguments<Scalar>& arguments);
  void grow_workspace(Index doubles) {
    if (static_cast<Index>(workspace_.size()) < doubles) workspace_.resize(static_cast<std::size_t>(doubles));
  }
  core::ForwardArguments<Scalar> arguments(const Scalar* x, Scalar* y, bool batch) const;
  core::BackwardArguments<Scalar> backward_arguments(const Scalar* x, const Scalar* dy);

  bool centred_;
  Array lo_;                // what rounding lost of mean_
  std::vector<double> m2_;  // sums of squared deviations, of the last forward that tracks
  std::vector<double> workspace_;
  core::KeptPlan plan_;
  core::InferPlans infer_plans_;
};

template <class Derived, class Scalar>
void Layer<Derived, Scalar>::check_parameters() const {
  this->check_affine();
  this->check_size(running_.mean, running_.channels, "running_mean");
  this->check_size(running_.var, running_.channels, "running_var");
}

// The layer's axes for x; throws when x has not the shape it takes, or too little data.
template <class Derived, class Scalar>
core::Axes Layer<Derived, Scalar>::checked_axes(const PlanKey& key) const {
  const Axes axes = key.batch ? derived().axes(key.shape) : derived().frozen_axes(key.shape);
  check_parameters();
  if (key.batch && key.shape.count() > 0) derived().check_statistics(key.shape);
  return axes;
}

// Makes plan_ that of x; false for an empty x.
template <class Derived, class Scalar>
bool Layer<Derived, Scalar>::keep_plan(const PlanKey& key) {
  if (plan_.is_of(key)) return check_parameters(), true;
  const Axes axes = checked_axes(key);
  if (key.shape.count() == 0) return false;
  plan_.set(key, axes, uses(key), core::Forward<Scalar>::complete);
  return true;
}

template <class Derived, class Scalar>
core::ForwardArguments<Scalar> Layer<Derived, Scalar>::arguments(const Scalar* x, Scalar* y, bool batch) const {
  core::ForwardArguments<Scalar> result;
  result.x = x;
  result.y = y;
  result.gamma = gamma_size_ > 0 ? gamma_.data() : nullptr;
  result.beta = beta_size_ > 0 ? beta_.data() : nullptr;
  result.eps = eps_;
  result.centred = centred_;
  result.frozen_mean = batch ? nullptr : running_.mean.data();
  result.frozen_var = batch ? nullptr : running_.var.data();
  return result;
}

template <class Derived, class Scalar>
core::BackwardArguments<Scalar> Layer<Derived, Scalar>::backward_arguments(const Scalar* x, const Scalar* dy) {
  core::BackwardArguments<Scalar> result;
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

template <class Derived, class Scalar>
template <class Device, class X, class Y>
void Layer<Derived, Scalar>::run_forward(const Device& device, const X& x, Y& y) {
  const core::Input<X> in(x);
  const bool batch = uses_batch(), has_data = keep_plan({in.shape(), batch});
  core::Output<Y> out(y, "y", in.shape());
  out.check_overlap(in.data(), "y", "x");

  // Everything that can fail comes before anything that changes, and y may be x.
  const std::uint64_t fingerprint = core::fingerprint(in.data(), in.shape().count());
  const auto runner = core::runner_on(device, in.shape().count());
  const Index stats = has_data ? plan_.plan().statistics.count() : 0;
  if (has_data) grow_workspace(core::Forward<Scalar>::workspace_size(plan_.plan(), runner.threads()));
  if (training_ && running_.tracked()) m2_.resize(static_cast<std::size_t>(stats));
  Array mean, lo, rstd;  // the old ones live until the end, as x may be a view of them
  const bool resizes = mean_.size() != stats;
  if (resizes) {
    for (Array* const array : {&mean, &lo, &rstd}) array->resize(stats);
  }
  Scalar* const y_data = out.prepare();
  if (resizes) {
    mean_.swap(mean);
    lo_.swap(lo);
    rstd_.swap(rstd);
  }
  this->passed(in.shape(), fingerprint, batch);
  if (has_data) forward_dense(runner, in.data(), y_data, batch);
}

template <class Derived, class Scalar>
void Layer<Derived, Scalar>::forward_dense(const core::Runner& runner, const Scalar* x, Scalar* y, bool batch) {
  const bool tracks = training_ && running_.tracked();
  auto pass = arguments(x, y, batch);
  pass.saved = {mean_.data(), lo_.data(), rstd_.data(), tracks ? m2_.data() : nullptr};
  core::Forward<Scalar>(pass, plan_.plan()).run(runner, workspace_.data());
  if (tracks) running_.update({plan_.plan().stat_size, mean_.size(), mean_.data(), lo_.data(), m2_.data()});
}

template <class Derived, class Scalar>
template <class Device, class X, class Y>
void Layer<Derived, Scalar>::run_infer(const Device& device, const X& x, Y& y) const {
  const core::Input<X> in(x);
  const PlanKey key{in.shape(), !running_.tracked()};
  const Plan* const known = infer_plans_.find(key);
  known != nullptr ? check_parameters() : void(checked_axes(key));
  core::Output<Y> out(y, "y", in.shape());
  out.check_overlap(in.data(), "y", "x");
  Scalar* const y_data = out.prepare();
  if (in.shape().count() == 0) return;
  auto runner = core::runner_on(device, in.shape().count());
  known != nullptr ? infer_dense(runner, *known, in.data(), y_data, key.batch)
                   : infer_newly(runner, key, in.data(), y_data);
}

template <class Derived, class Scalar>
template <class AnyRunner>
void Layer<Derived, Scalar>::infer_dense(AnyRunner& runner, const Plan& plan, const Scalar* x, Scalar* y,
                                         bool batch) const {
  double* const memory = runner.memory(core::Forward<Scalar>::workspace_size(plan, runner.threads()));
  core::Forward<Scalar>(arguments(x, y, batch), plan).run(runner, memory);
}

// In a frame of its own: the axes and the Binning are gone from the stack when the pass begins.
template <class Derived, class Scalar>
__attribute__((noinline)) core::Plan Layer<Derived, Scalar>::plan_of(const PlanKey& key) const {
  Plan plan(core::Binning(checked_axes(key), uses(key)), uses(key));
  core::Forward<Scalar>::complete(plan);
  return plan;
}

// A shape that infer_plans_ does not hold.
template <class Derived, class Scalar>
template <class AnyRunner>
void Layer<Derived, Scalar>::infer_newly(AnyRunner& runner, const PlanKey& key, const Scalar* x, Scalar* y) const {
  const Plan plan = plan_of(key);
  infer_plans_.offer(key, plan);
  infer_dense(runner, plan, x, y, key.batch);
}

template <class Derived, class Scalar>
template <class Device, class X, class DY, class DX>
void Layer<Derived, Scalar>::run_backward(const Device& device, const X& x, const DY& dy, DX& dx) {
  const core::Input<X> in(x);
  const core::Input<DY> gradient(dy);
  this->check_pass(in.shape(), gradient.shape());
  const bool has_data = keep_plan({in.shape(), pass_.batch});
  core::Output<DX> out(dx, "dx", in.shape());
  out.check_overlap(in.data(), "dx", "x");
  out.check_overlap(gradient.data(), "dx", "dy");
  this->check_same_x(in.shape(), in.data());
  if (!has_data) {
    out.prepare();
    dgamma_.setZero();
    dbeta_.setZero();
    return;
  }
  core::BackwardArguments<Scalar> pass = backward_arguments(in.data(), gradient.data());
  const auto runner = core::runner_on(device, in.shape().count());
  grow_workspace(backward_pass(pass).workspace_size(runner.threads()));
  pass.dx = out.prepare();
  backward_dense(runner, pass);
}

template <class Derived, class Scalar>
void Layer<Derived, Scalar>::backward_dense(const core::Runner& runner,
                                            const core::BackwardArguments<Scalar>& arguments) {
  backward_pass(arguments).run(runner, workspace_.data());
}

}  // namespace tensornorm
