// Bodies of engine.hpp.
#pragma once

#include <algorithm>
#include <cstring>

#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/kernel/blend_columns.hpp"
#include "tensornorm/core/kernel/finish_sums.hpp"
#include "tensornorm/core/kernel/frozen_columns.hpp"
#include "tensornorm/core/pass/engine.hpp"
#include "tensornorm/core/pass/layer_state-inl.hpp"
#include "tensornorm/core/pass/pass_engine-inl.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

// As move_running has it.
inline Index blend_columns(const BatchStatistics<float>& batch, double weight, double degrees, float* mean,
                           float* var) {
  Index done = 0;
  const BlendRule rule{1 - weight, weight, degrees};
  core::dispatch(BlendColumns{batch.count, batch.hi, batch.lo, batch.m2, rule, mean, var, &done});
  return done;
}

template <class Scalar, bool tracks, unsigned settings>
Engine<Scalar, tracks, settings>::Engine(double eps, bool centred, Index params, bool bias, bool is_unit)
    : State(eps, params, bias ? params : 0), centred_(centred), is_unit_(is_unit) {}

template <class Scalar, bool tracks, unsigned settings>
void Engine<Scalar, tracks, settings>::track(Index channels, std::optional<double> momentum, bool unbiased) {
  running_ = {channels, momentum, unbiased, Array::Zero(channels), Array::Ones(channels), 0};
  for (Array* const array : {&prepared_.gamma, &prepared_.var, &prepared_.scale}) array->setZero(gamma_size_);
}

template <class Scalar, bool tracks, unsigned settings>
void Engine<Scalar, tracks, settings>::change_eps(double eps) {
  check_eps(eps);
  eps_ = eps;
  prepared_.is_made = false;
  if constexpr (tracks) {
    if (!training_ && is_tracked()) prepare();
  }
}

template <class Scalar, bool tracks, unsigned settings>
void Engine<Scalar, tracks, settings>::change_momentum(const std::optional<double>& momentum) {
  check_momentum(momentum);
  if constexpr (tracks) running_.momentum = momentum;
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

template <class Scalar, bool tracks, unsigned settings>
void Engine<Scalar, tracks, settings>::check_parameters() const {
  this->check_affine();
  if constexpr (tracks) {
    this->check_size(running_.mean, running_.channels, "running_mean");
    this->check_size(running_.var, running_.channels, "running_var");
  }
}

template <class Scalar, bool tracks, unsigned settings>
auto Engine<Scalar, tracks, settings>::parameters(bool batch) const -> core::Parameters<Param> {
  Parameters<Param> result;
  result.gamma = gamma_size_ > 0 ? gamma_.data() : nullptr;
  result.beta = beta_size_ > 0 ? beta_.data() : nullptr;
  result.eps = eps_;
  result.centred = centred_;
  result.is_unit = is_unit_;
  if constexpr (tracks) {
    result.frozen_mean = batch ? nullptr : running_.mean.data();
    result.frozen_var = batch ? nullptr : running_.var.data();
  }
  return result;
}

template <class Scalar, bool tracks, unsigned settings>
void Engine<Scalar, tracks, settings>::run_forward(const AxesOf& axes, Runner& runner, const Scalar* x,
                                                   const Shape& shape, Target<Scalar>& y,
                                                   PassState<Scalar, settings>* pass, ResidualArguments<Scalar>* sum) {
  const bool batch = uses_batch(), updates = training_ && is_tracked();
  check_parameters();
  PassState<Scalar, settings>& state = pass == nullptr ? pass_ : *pass;
  Passes::forward({axes, shape, batch, pass == nullptr}, parameters(batch), runner, x, y, state, training_, updates,
                  sum);
  state.is_of_function = false;
  if (updates) move_running(state);
}

template <class Scalar, bool tracks, unsigned settings>
void Engine<Scalar, tracks, settings>::move_running(const PassState<Scalar, settings>& state) {
  if constexpr (tracks) {
    const Index stats = state.mean.size(), values = state.record.shape.count();
    if (values <= stats) return;  // no value, or one for each statistic: they have no variance
    MoveTogether<Param> together = nullptr;
    if constexpr (!std::is_same<Param, double>::value) together = &blend_columns;
    running_.update({values / stats, stats, state.mean.data(), state.lo.data(), state.m2.data()}, together);
  }
}

template <class Scalar, bool tracks, unsigned settings>
void Engine<Scalar, tracks, settings>::run_forward_of_ranks(const AxesOf& axes, Runner& runner, const Scalar* x,
                                                            const Shape& shape, Target<Scalar>& y,
                                                            PassState<Scalar, settings>* pass, Ranks<Param>& ranks,
                                                            const AllGather& all_gather, bool allows_one) {
  check_parameters();
  PassState<Scalar, settings>& state = pass == nullptr ? pass_ : *pass;
  const Parameters<Param> all = parameters(true);
  const auto find = [&](const ForwardArguments<Scalar>& arguments, const Plan* plan, const Workspace& workspace) {
    if (plan == nullptr) {
      std::fill_n(ranks.moments(), ranks.channels(), Moments{});
    } else {
      ForwardArguments<Scalar> sums = arguments;
      sums.saved.moments = ranks.moments();
      if constexpr (std::is_same<Param, double>::value) {
        sums.add_for_ranks = &add_high_or_low;
      } else {
        sums.add_for_ranks = &add_in_double<Scalar, true>;
      }
      Forward<Scalar>(sums, *plan).run(runner, workspace);
    }
    ranks.merge(all_gather, eps_, allows_one);
    return ranks.found();
  };
  const typename Passes::Find found(find);
  Passes::forward({axes, shape, true, pass == nullptr}, all, runner, x, y, state, training_, false, nullptr, &found);
  state.is_of_function = false;
  state.record.rank_values = ranks.values();
  if (ranks.values() == 0) return;
  using Statistics = Eigen::Map<const Array>;
  const FoundStatistics<Param> statistics = ranks.found();
  state.mean = Statistics(statistics.hi, ranks.channels());
  state.lo = Statistics(statistics.lo, ranks.channels());
  state.rstd = Statistics(statistics.rstd, ranks.channels());
  if constexpr (tracks) {
    if (!is_tracked() || ranks.values() == 1) return;
    running_.update({ranks.values(), ranks.channels(), statistics.hi, statistics.lo, ranks.m2()}, nullptr);
  }
}

template <class Scalar, bool tracks, unsigned settings>
void Engine<Scalar, tracks, settings>::run_infer(const AxesOf& axes, Runner& runner, const Scalar* x,
                                                 const Shape& shape, Target<Scalar>& y,
                                                 ResidualArguments<Scalar>* sum) const {
  const bool batch = !is_tracked();
  check_parameters();
  Parameters<Param> all = parameters(batch);
  if constexpr (tracks) {
    if (!batch) all.frozen_scale = prepared_scale();
  }
  Passes::infer({axes, shape, batch, true}, all, runner, x, y, &infer_plans_, &infer_memory_, sum);
}

template <class Scalar, bool tracks, unsigned settings>
bool Engine<Scalar, tracks, settings>::has_parameters() const {
  if constexpr (tracks) {
    if (running_.mean.size() != running_.channels || running_.var.size() != running_.channels) return false;
  }
  return gamma_.size() == gamma_size_ && beta_.size() == beta_size_ && this->dgamma_.size() == gamma_size_ &&
         this->dbeta_.size() == beta_size_;
}

template <class Scalar, bool tracks, unsigned settings>
bool Engine<Scalar, tracks, settings>::repeat_forward(const RepeatedForward<Scalar>& call) {
  const bool updates = training_ && is_tracked();
  if (!has_parameters() || !Passes::repeat_forward(parameters(true), call, pass_, updates)) return false;
  if (updates) move_running(pass_);
  return true;
}

template <class Scalar, bool tracks, unsigned settings>
bool Engine<Scalar, tracks, settings>::repeat_infer(const RepeatedForward<Scalar>& call, const Shape& shape) const {
  if (!has_parameters()) return false;
  if constexpr (tracks) {
    if (is_tracked()) {
      if (!prepared_.is_made || beta_size_ == 0) return false;
      const FrozenArrays<Param> arrays{running_.mean.data(), prepared_.scale.data(), beta_.data(),        gamma_.data(),
                                       running_.var.data(),  prepared_.gamma.data(), prepared_.var.data()};
      if (!call.is_fused()) return Passes::repeat_frozen(arrays, call.x, shape, call.y, infer_plans_);
      ForwardArguments<Scalar> pass{parameters(false), call.x, call.y, {}, call.residual, call.post_op};
      pass.frozen_scale = prepared_scale();
      return pass.frozen_scale != nullptr && Passes::repeat_infer(pass, call, shape, infer_plans_);
    }
  }
  const ForwardArguments<Scalar> pass{parameters(true), call.x, call.y, {}, call.residual, call.post_op};
  return Passes::repeat_infer(pass, call, shape, infer_plans_);
}

template <class Scalar, bool tracks, unsigned settings>
bool Engine<Scalar, tracks, settings>::repeat_backward(const Scalar* x, const Scalar* dy, Scalar* dx, AddGradient add) {
  if constexpr (Passes::kRunsColumns) {
    if (!has_parameters()) return false;
    BackwardArguments<Scalar> arguments{parameters(true), this->gradients_wanted(), x, dy, dx};
    arguments.add = add;
    if (!Passes::repeat_backward(arguments, pass_)) return false;
    this->finish_gradients();
    return true;
  }
  return false;
}

template <class Scalar, bool tracks, unsigned settings>
void Engine<Scalar, tracks, settings>::run_check(const AxesOf& axes, const Shape& shape) const {
  check_parameters();
  axes(shape, !is_tracked());
}

template <class Scalar, bool tracks, unsigned settings>
void Engine<Scalar, tracks, settings>::run_backward(const AxesOf& axes, Runner& runner, const Scalar* x,
                                                    const Shape& shape, const OutputGradient<Scalar>& dy,
                                                    Target<Scalar>* dx, PassState<Scalar, settings>* pass,
                                                    const RankSums* ranks) {
  check_parameters();
  PassState<Scalar, settings>& state = pass == nullptr ? pass_ : *pass;
  const bool batch = state.record.batch;
  const ParameterGradients<Param> wanted = this->gradients_wanted();
  const auto gradients = [&] { return wanted; };
  Passes::backward({axes, shape, batch, pass == nullptr}, parameters(batch), gradients, gamma_size_, runner, x, dy, dx,
                   state, training_, ranks);
  this->finish_gradients();
}

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
