// Layer: what every layer that scales by 1 / sqrt(var + eps) does. A layer itself says only which axes share a
// statistic and along which axes its parameters vary, and documents what follows from it.
#pragma once

#include <optional>
#include <vector>

#include "tensornorm/core/plan_cache.hpp"
#include "tensornorm/core/running.hpp"
#include "tensornorm/passes.hpp"
#include "tensornorm/protocol.hpp"

namespace tensornorm {

// Forward: y = (x - mean) / sqrt(var + eps) * gamma + beta. Backward: with g = dy * gamma, dx = rstd * (g - mean(g) -
// xhat * mean(g * xhat)), dgamma = sum(dy * xhat), dbeta = sum(dy); with running statistics, dx = dy * gamma * rstd.
//
// Derived provides
//   Axes plan(const Shape& x) const              its axes for x; throws when x has not the shape it takes
// and may provide
//   Axes frozen_plan(const Shape& x) const       its axes with running statistics
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
  Axes frozen_plan(const Shape& x) const { return derived().plan(x); }
  void check_statistics(const Shape&) const {}

  Array mean_, rstd_;
  core::RunningStatistics<Param> running_;

 private:
  // A new phase may come with another shape for infer to keep a plan of.
  void mode_changed() { infer_plan_.clear(); }

  const Derived& derived() const { return static_cast<const Derived&>(*this); }
  bool uses_batch() const { return training_ || !running_.tracked(); }

  template <class Device, class X, class Y>
  void run_forward(const Device& device, const X& x, Y& y);
  template <class Device, class X, class Y>
  void run_infer(const Device& device, const X& x, Y& y) const;
  template <class Device, class X, class DY, class DX>
  void run_backward(const Device& device, const X& x, const DY& dy, DX& dx);

  // What these are made of, whatever the tensors' types.
  using Traversal = core::Traversal;
  using PlanKey = core::PlanKey;
  const Traversal* keep_plan(const PlanKey& key);
  core::Uses uses(const PlanKey& key) const { return {sizeof(Scalar), gamma_size_ > 0, !key.batch}; }
  void check_parameters() const;
  Axes checked_plan(const PlanKey& key) const;
  void forward_dense(const core::Runner& runner, const Traversal& traversal, const Scalar* x, Scalar* y, bool batch);
  void infer_dense(const core::Runner& runner, const Traversal& traversal, const Scalar* x, Scalar* y,
                   bool batch) const;
  void infer_newly(const core::Runner& runner, const PlanKey& key, const Scalar* x, Scalar* y) const;
  void backward_dense(const core::Runner& runner, const Traversal& traversal,
                      core::BackwardArguments<Scalar> arguments);
  core::ForwardArguments<Scalar> arguments(const Scalar* x, Scalar* y, bool batch) const;
  core::BackwardArguments<Scalar> backward_arguments(const Scalar* x, const Scalar* dy);

  bool centred_;
  Array lo_;                // what rounding lost of mean_
  std::vector<double> m2_;  // sums of squared deviations, of the last forward that tracks
  std::vector<double> workspace_;
  core::PlanCache plan_, infer_plan_;  // of forward and backward; of infer
};

template <class Derived, class Scalar>
void Layer<Derived, Scalar>::check_parameters() const {
  this->check_affine();
  this->check_size(running_.mean, running_.channels, "running_mean");
  this->check_size(running_.var, running_.channels, "running_var");
}

// The layer's axes for x; throws when x has not the shape it takes, or too little data.
template <class Derived, class Scalar>
core::Axes Layer<Derived, Scalar>::checked_plan(const PlanKey& key) const {
  const Axes plan = key.batch ? derived().plan(key.shape) : derived().frozen_plan(key.shape);
  check_parameters();
  if (key.batch && key.shape.count() > 0) derived().check_statistics(key.shape);
  return plan;
}

// The traversal of x, from now on in plan_; null for an empty x.
template <class Derived, class Scalar>
const core::Traversal* Layer<Derived, Scalar>::keep_plan(const PlanKey& key) {
  if (const Traversal* const known = plan_.find(key)) {
    check_parameters();
    return known;
  }
  const Axes plan = checked_plan(key);
  if (key.shape.count() == 0) return nullptr;
  plan_.clear();
  plan_.offer(key, Traversal(plan, uses(key)));
  return plan_.find(key);
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
  const bool batch = uses_batch();
  const Traversal* const traversal = keep_plan({in.shape(), batch});
  core::Output<Y> out(y, "y", in.shape());
  out.check_overlap(in.data(), "y", "x");

  // Everything that can fail comes before anything that changes.
  const Index stats = traversal == nullptr ? 0 : traversal->statistics.count();
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
  this->passed(in.shape(), batch);
  if (traversal != nullptr)
    forward_dense(core::runner_on(device, in.shape().count()), *traversal, in.data(), y_data, batch);
}

template <class Derived, class Scalar>
void Layer<Derived, Scalar>::forward_dense(const core::Runner& runner, const Traversal& traversal, const Scalar* x,
                                           Scalar* y, bool batch) {
  const bool tracks = training_ && running_.tracked();
  auto pass = arguments(x, y, batch);
  pass.saved = {mean_.data(), lo_.data(), rstd_.data(), tracks ? m2_.data() : nullptr};
  core::Forward<Scalar>(pass, traversal).run(runner);
  if (tracks) running_.update({traversal.stat_size, mean_.size(), mean_.data(), lo_.data(), m2_.data()});
}

template <class Derived, class Scalar>
template <class Device, class X, class Y>
void Layer<Derived, Scalar>::run_infer(const Device& device, const X& x, Y& y) const {
  const core::Input<X> in(x);
  const PlanKey key{in.shape(), !running_.tracked()};
  const Traversal* const known = infer_plan_.find(key);
  known != nullptr ? check_parameters() : void(checked_plan(key));
  core::Output<Y> out(y, "y", in.shape());
  out.check_overlap(in.data(), "y", "x");
  Scalar* const y_data = out.prepare();
  if (known != nullptr)
    return infer_dense(core::runner_on(device, in.shape().count()), *known, in.data(), y_data, key.batch);
  if (in.shape().count() > 0) infer_newly(core::runner_on(device, in.shape().count()), key, in.data(), y_data);
}

template <class Derived, class Scalar>
void Layer<Derived, Scalar>::infer_dense(const core::Runner& runner, const Traversal& traversal, const Scalar* x,
                                         Scalar* y, bool batch) const {
  core::Forward<Scalar>(arguments(x, y, batch), traversal).run(runner);
}

// A shape that infer_plan_ does not hold.
template <class Derived, class Scalar>
void Layer<Derived, Scalar>::infer_newly(const core::Runner& runner, const PlanKey& key, const Scalar* x,
                                         Scalar* y) const {
  const Traversal traversal(checked_plan(key), uses(key));
  infer_plan_.offer(key, traversal);
  infer_dense(runner, traversal, x, y, key.batch);
}

template <class Derived, class Scalar>
template <class Device, class X, class DY, class DX>
void Layer<Derived, Scalar>::run_backward(const Device& device, const X& x, const DY& dy, DX& dx) {
  const core::Input<X> in(x);
  const core::Input<DY> gradient(dy);
  this->check_pass(in.shape(), gradient.shape());
  const Traversal* const traversal = keep_plan({in.shape(), pass_.batch});
  core::Output<DX> out(dx, "dx", in.shape());
  out.check_overlap(in.data(), "dx", "x");
  out.check_overlap(gradient.data(), "dx", "dy");
  if (traversal == nullptr) {
    out.prepare();
    dgamma_.setZero();
    dbeta_.setZero();
    return;
  }
  core::BackwardArguments<Scalar> pass = backward_arguments(in.data(), gradient.data());
  const auto size = static_cast<std::size_t>(core::BackwardPass<Scalar>(pass, *traversal).workspace_size());
  if (workspace_.size() < size) workspace_.resize(size);
  pass.dx = out.prepare();
  backward_dense(core::runner_on(device, in.shape().count()), *traversal, pass);
}

template <class Derived, class Scalar>
void Layer<Derived, Scalar>::backward_dense(const core::Runner& runner, const Traversal& traversal,
                                            core::BackwardArguments<Scalar> arguments) {
  core::BackwardPass<Scalar>(arguments, traversal).run(runner, workspace_.data());
}

}  // namespace tensornorm
