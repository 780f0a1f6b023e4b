// Engine: the state of a layer that scales by 1 / sqrt(var + eps), and its passes. It knows pointers and shapes, and
// neither a tensor's type nor the layer's.
#pragma once

#include <cstdint>
#include <optional>

#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/memory.hpp"
#include "tensornorm/core/pass/layer_state.hpp"
#include "tensornorm/core/pass/pass_engine.hpp"
#include "tensornorm/core/pass/ranks.hpp"
#include "tensornorm/core/pass/running.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

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
  const Array& rstd() const { return pass_.rstd; }

 protected:
  // `centred`: whether the mean is taken away; `params`: values of gamma (0: not affine), and of beta with a bias;
  // `is_unit` as Parameters has it.
  __attribute__((cold)) Engine(double eps, bool centred, Index params, bool bias, bool is_unit = false);

  /// The mean that the last forward subtracted, rounded to Param. Empty before the first forward and after an empty x.
  const Array& mean() const { return pass_.mean; }

  /// The running mean. Empty without running statistics. It can be assigned, to load a model.
  Array& running_mean() { return running_.mean; }
  const Array& running_mean() const { return running_.mean; }
  /// The running variance. Empty without running statistics. It can be assigned, to load a model.
  Array& running_var() { return running_.var; }
  const Array& running_var() const { return running_.var; }
  /// The number of batches in the running statistics: calls of forward in train mode, but for those with an empty x or
  /// with a single value for each statistic. It can be assigned. Without running statistics it is 0.
  std::int64_t& num_batches_tracked() { return running_.num_batches_tracked; }
  std::int64_t num_batches_tracked() const { return running_.num_batches_tracked; }

  /// Computes 1 / sqrt(running_var + eps) * gamma of each channel, which every call of infer computes otherwise. eval()
  /// does so too: call prepare when gamma or running_var was assigned in eval mode.
  ///
  /// infer gives the same bits without it. infer also compares gamma and running_var with those of the last prepare, so
  /// old values are never used. Without gamma or running statistics it does nothing. It allocates nothing.
  void prepare();

  // @throws std::invalid_argument as the constructor
  void change_eps(double eps);
  void change_momentum(const std::optional<double>& momentum);

  void track(Index channels, std::optional<double> momentum, bool unbiased);

  PassState<Scalar, settings>& own_pass() { return pass_; }

  // What a call costs, in elements.
  Index work(const Shape& x) const { return x.count(); }

  // As PassEngine has them; with the layer's own memory, or with a pass of the caller's.
  void run_forward(const AxesOf& axes, Runner& runner, const Scalar* x, const Shape& shape, Target<Scalar>& y,
                   PassState<Scalar, settings>* pass = nullptr, ResidualArguments<Scalar>* sum = nullptr);
  void run_infer(const AxesOf& axes, Runner& runner, const Scalar* x, const Shape& shape, Target<Scalar>& y,
                 ResidualArguments<Scalar>* sum = nullptr) const;
  // @throws std::invalid_argument where run_infer of such an x would
  void run_check(const AxesOf& axes, const Shape& shape) const;
  void run_backward(const AxesOf& axes, Runner& runner, const Scalar* x, const Shape& shape,
                    const OutputGradient<Scalar>& dy, Target<Scalar>* dx, PassState<Scalar, settings>* pass = nullptr,
                    const RankSums* ranks = nullptr);

  // The same calls where they are small, and all tensors lie as x did in a call before. False, and nothing is done,
  // where a call must go the way above, which throws where they would be wrong.
  using AddGradient = typename Target<Scalar>::AddGradient;
  static constexpr bool kRepeats = true;
  bool repeat_forward(const RepeatedForward<Scalar>& call);
  bool repeat_infer(const RepeatedForward<Scalar>& call, const Shape& shape) const;
  bool repeat_backward(const Scalar* x, const Scalar* dy, Scalar* dx, AddGradient add);
  // The shape that all tensors of repeat_forward and repeat_backward have; null: neither may be called now.
  const Shape* repeated_shape() const {
    const PassRecord& record = pass_.record;
    return record.repeated_plan > 0 && record.training == training_ ? &record.shape : nullptr;
  }

  // In train mode, by the statistics of all ranks; `allows_one`: also of one value. Everything but memory that can be
  // refused is, before the ranks gather.
  void run_forward_of_ranks(const AxesOf& axes, Runner& runner, const Scalar* x, const Shape& shape, Target<Scalar>& y,
                            PassState<Scalar, settings>* pass, Ranks<Param>& ranks, const AllGather& all_gather,
                            bool allows_one);

 private:
  using State::beta_, State::beta_size_, State::eps_, State::gamma_, State::gamma_size_, State::training_;
  using Passes = PassEngine<Scalar, tracks, settings>;

  // What prepare makes, and of which gamma and variance.
  struct Prepared {
    Array gamma, var, scale;
    bool is_made = false;
  };

  void set_training(bool training);
  const Param* prepared_scale() const;
  bool is_tracked() const { return running_.tracked(); }
  bool uses_batch() const { return training_ || !is_tracked(); }

  // By the statistics of a forward.
  void move_running(const PassState<Scalar, settings>& state);
  void check_parameters() const;
  bool has_parameters() const;  // whether check_parameters lets them pass
  Parameters<Param> parameters(bool batch) const;

  bool centred_, is_unit_;
  RunningStatistics<Param, tracks> running_;
  Prepared prepared_;
  PassState<Scalar, settings> pass_;
  InferPlans infer_plans_;
  InferMemory infer_memory_;
};

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END

#ifndef TENSORNORM_COMPILED
#include "tensornorm/core/pass/engine-inl.hpp"
#endif
