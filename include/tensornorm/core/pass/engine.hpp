// Engine: the state and the passes of a layer that scales by 1 / sqrt(var + eps). It knows pointers and shapes, and
// neither a tensor's type nor the layer's.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "tensornorm/core/function_ref.hpp"
#include "tensornorm/core/memory.hpp"
#include "tensornorm/core/pass/layer_state.hpp"
#include "tensornorm/core/pass/running.hpp"
#include "tensornorm/core/plan/plan_cache.hpp"
#include "tensornorm/core/target.hpp"
#include "tensornorm/core/thread/runner.hpp"

namespace tensornorm {
namespace core {

template <class Scalar>
struct ForwardArguments;
template <class Scalar>
struct BackwardArguments;

// What a layer states: its axes for x, with the batch's statistics or with running ones. Throws where the layer does
// not take x, or x has too little data for statistics.
using AxesOf = FunctionRef<Axes(const Shape& x, bool batch)>;

// Forward: y = (x - mean) / sqrt(var + eps) * gamma + beta. Backward: with g = dy * gamma, dx = rstd * (g - mean(g) -
// xhat * mean(g * xhat)), dgamma = sum(dy * xhat), dbeta = sum(dy); with running statistics, dx = dy * gamma * rstd.
//
// `tracks`: whether the layer may have running statistics. Then its parameters vary along its statistics' axes.
template <class Scalar, bool tracks, unsigned settings = kSettings>
class Engine : public LayerState<Scalar, settings> {
  using State = LayerState<Scalar, settings>;

 public:
  using typename State::Array;
  using typename State::Param;

  /// The mode of a new layer: statistics are the batch's.
  void train() { set_training(true); }
  /// Statistics are the running ones, where the layer tracks them. Calls prepare.
  void eval() { set_training(false); }

  /// The 1 / sqrt(var + eps) by which the last forward multiplied, and 0 where var + eps is 0. Empty before the first
  /// forward and after an empty x.
  const Array& rstd() const { return rstd_; }

 protected:
  // `centred`: whether the mean is taken away; `params`: values of gamma (0: not affine), and of beta with a bias.
  Engine(double eps, bool centred, Index params, bool bias);

  /// The mean that the last forward subtracted, rounded to Param. Empty before the first forward and after an empty x.
  const Array& mean() const { return mean_; }

  /// The running mean. Empty without running statistics. It can be assigned, to load a model.
  Array& running_mean() { return running_.mean; }
  const Array& running_mean() const { return running_.mean; }
  /// The running variance. Empty without running statistics. It can be assigned, to load a model.
  Array& running_var() { return running_.var; }
  const Array& running_var() const { return running_.var; }
  /// The number of batches in the running statistics: calls of forward in train mode, but for those with an empty x. It
  /// can be assigned. Without running statistics it is 0.
  std::int64_t& num_batches_tracked() { return running_.num_batches_tracked; }
  std::int64_t num_batches_tracked() const { return running_.num_batches_tracked; }

  /// Computes 1 / sqrt(running_var + eps) * gamma of each channel, which every call of infer computes otherwise. eval()
  /// does so too: call prepare when gamma or running_var was assigned in eval mode.
  ///
  /// infer gives the same bits without it. infer also compares gamma and running_var with those of the last prepare, so
  /// old values are never used. Without gamma or running statistics it does nothing. It allocates nothing.
  void prepare();

  void track(Index channels, std::optional<double> momentum, bool unbiased);

  // What a call costs, in elements.
  Index work(const Shape& x) const { return x.count(); }

  // x and dy are dense, y and dx theirs or disjoint; all of one shape.
  void run_forward(const AxesOf& axes, Runner& runner, const Scalar* x, const Shape& shape, Target<Scalar>& y);
  void run_infer(const AxesOf& axes, Runner& runner, const Scalar* x, const Shape& shape, Target<Scalar>& y) const;
  void run_backward(const AxesOf& axes, Runner& runner, const Scalar* x, const Shape& shape, const Scalar* dy,
                    const Shape& dy_shape, Target<Scalar>& dx);

 private:
  using State::beta_, State::beta_size_, State::dbeta_, State::dgamma_, State::eps_, State::gamma_, State::gamma_size_,
      State::pass_, State::training_;

  // What prepare makes, and of which gamma and variance.
  struct Prepared {
    Array gamma, var, scale;
    bool is_made = false;
  };

  void set_training(bool training);
  const Param* prepared_scale() const;
  bool is_tracked() const { return running_.tracked(); }
  bool uses_batch() const { return training_ || !is_tracked(); }

  Uses uses(const PlanKey& key) const;
  void check_parameters() const;
  Axes checked_axes(const AxesOf& axes, const PlanKey& key) const;
  bool keep_plan(const AxesOf& axes, const PlanKey& key);
  Plan& make_plan(const AxesOf& axes, const PlanKey& key, PlanSlot& slot) const;
  void grow_workspace(Index doubles);

  ForwardArguments<Scalar> forward_arguments(const Scalar* x, Scalar* y, bool batch) const;
  static void run_pass(const ForwardArguments<Scalar>& pass, const Plan& plan, const Runner& runner,
                       const Workspace& workspace);
  void infer_by(const Plan& plan, const ForwardArguments<Scalar>& pass, Runner& runner) const;
  void infer_newly(const AxesOf& axes, const PlanKey& key, const ForwardArguments<Scalar>& pass, Runner& runner) const;
  void infer_on_stack(const AxesOf& axes, const PlanKey& key, const ForwardArguments<Scalar>& pass,
                      Runner& runner) const;
  BackwardArguments<Scalar> backward_arguments(const Scalar* x, const Scalar* dy);
  static void complete(BackwardPlan& backward_plan, const Plan& plan);
  template <class Pass>
  void run_backward(Pass&& backward, BackwardArguments<Scalar>& arguments, const Runner& runner, Target<Scalar>& dx);

  bool centred_;
  Array mean_, lo_, rstd_;  // lo_ is what rounding lost of mean_
  RunningStatistics<Param, tracks> running_;
  Prepared prepared_;
  std::vector<double> m2_;  // sums of squared deviations, of the last forward that tracks
  std::vector<double> workspace_;
  KeptPlan plan_;
  InferPlans infer_plans_;
  InferMemory infer_memory_;
};

}  // namespace core
}  // namespace tensornorm

#ifndef TENSORNORM_COMPILED
#include "tensornorm/core/pass/engine-inl.hpp"
#endif
