// Calls of functions: from tensors and parameters of any type to the passes.
#pragma once

#include "tensornorm/core/pass/add_gradient.hpp"
#include "tensornorm/core/pass/pass_engine.hpp"
#include "tensornorm/core/pass/running.hpp"
#include "tensornorm/norm_rules.hpp"
#include "tensornorm/parameter_argument.hpp"
#include "tensornorm/pass.hpp"

namespace tensornorm {
namespace core {

// A call of a function, once its tensors are pointers and shapes.
template <class Scalar>
struct FunctionCall {
  using Param = ParamOf<Scalar>;

  NormRule rule;
  ParamStrides strides{};
  Index params = 0;  // values of gamma, and of beta
  Parameters<Param> parameters;

  auto axes() const {
    return [this](const Shape& x, bool) { return function_axes(x, rule, strides); };
  }

  void infer(Runner& runner, const Scalar* x, const Shape& shape, Target<Scalar>& y) const {
    const auto statement = axes();
    PassEngine<Scalar, false>::infer({statement, shape, true, false}, parameters, runner, x, y, nullptr, nullptr);
  }
  void forward(Runner& runner, const Scalar* x, const Shape& shape, Target<Scalar>& y, FunctionState<Scalar>& pass,
               bool keeps_m2 = false) const {
    const auto statement = axes();
    const bool has_beta = parameters.beta != nullptr, keeps_beta = has_beta && y.post_op() != nullptr;
    if (keeps_beta) pass.kept_beta.reserve(static_cast<std::size_t>(params));  // what can fail comes first
    PassEngine<Scalar, false>::forward({statement, shape, true, false}, parameters, runner, x, y, pass, true, keeps_m2);
    pass.is_of_function = true;
    pass.rule = rule;
    pass.beta_strides = strides;
    pass.knows_beta = keeps_beta || !has_beta;
    pass.kept_beta.assign(parameters.beta, parameters.beta + (keeps_beta ? params : 0));
  }
  void backward(Runner& runner, const FunctionRef<ParameterGradients<Param>()>& gradients, const Scalar* x,
                const Shape& shape, const OutputGradient<Scalar>& dy, Target<Scalar>* dx,
                FunctionState<Scalar>& pass) const {
    const auto statement = axes();
    PassEngine<Scalar, false>::backward({statement, shape, true, false}, parameters, gradients, params, runner, x, dy,
                                        dx, pass, pass.record.training);
  }

  template <class Gamma, class Beta>
  void take_parameters(const Shape& x, const Gamma& gamma, const Beta& beta) {
    if constexpr (Gamma::is_given) {
      strides = param_strides(x, rule, gamma.shape());
      params = gamma.shape().shape.count();
    }
    if constexpr (Beta::is_given) {
      check_that(strides == param_strides(x, rule, beta.shape()), "gamma has extents ", gamma.shape().shape,
                 " and beta ", beta.shape().shape, ": they must lie alike");
    }
    parameters.gamma = gamma.data();
    parameters.beta = beta.data();
    parameters.centred = rule.centred;
    parameters.is_unit = rule.is_unit;
  }
  // Of backward behind a post-op: the beta of its forward.
  void take_kept_beta(const FunctionState<Scalar>& pass) {
    check_that(pass.knows_beta,
               "backward behind a post-op computes the result again, but its forward had a beta and no post-op, and so "
               "kept no copy: give then_relu(y), then_clip(y, low, high) or then_times(y, z) in the place of y");
    if (pass.kept_beta.empty()) return;
    check_that(params == static_cast<Index>(pass.kept_beta.size()) && strides == pass.beta_strides, "gamma has ",
               params, " values but beta of the forward pass has ", pass.kept_beta.size(),
               ": they must vary along the same axes");
    parameters.beta = pass.kept_beta.data();
  }
};

template <class Scalar, class Device, class Y, class X, class G, class B>
constexpr Fault fault_of_function() {
  return first_of({fault_of_call<Scalar, Device, Y, X>(), fault_of_scalar<Scalar>(), fault_of_parameter<Scalar, G>(),
                   fault_of_parameter<Scalar, B>(), kIsNone<G> && !kIsNone<B> ? Fault::kBetaAlone : Fault::kNoFault});
}

// Calls run(runner, call, x, shape, y) for a function's arguments; `rule_of(shape, gamma)` says which axes. Copies of
// parameters are a pass's, if it has one.
template <class Device, class X, class G, class B, class Y, class RuleOf, class Run>
void call_function(const Device& device, const X& x, const G& gamma, const B& beta, double eps, Y&& y,
                   const RuleOf& rule_of, const Run& run, FunctionState<typename Traits<X>::Scalar>* pass = nullptr) {
  using Scalar = typename Traits<X>::Scalar;
  if constexpr (accepted<fault_of_function<Scalar, Device, Y, X, G, B>(), Device, X, G, B, Y>()) {
    const Input<X> in(x);
    OutputOf<Y> out(y, "y");
    const ParamInput<Scalar, G> g(gamma, "gamma", pass == nullptr ? nullptr : &pass->gamma);
    const ParamInput<Scalar, B> b(beta, "beta", pass == nullptr ? nullptr : &pass->beta);
    FunctionCall<Scalar> call;
    call.rule = rule_of(in.shape(), g);
    check_eps(eps);
    call.parameters.eps = eps;
    call.take_parameters(in.shape(), g, b);
    auto runner = runner_on(device, in.shape().count());
    run(runner, call, in.data(), in.shape(), out);
  }
}

template <class Device, class X, class G, class B, class Y, class RuleOf>
void call_function(const Device& device, const X& x, const G& gamma, const B& beta, double eps, Y&& y,
                   const RuleOf& rule_of) {
  call_function(device, x, gamma, beta, eps, y, rule_of,
                [](auto& runner, const auto& call, const auto* data, const Shape& shape, auto& out) {
                  call.infer(runner, data, shape, out);
                });
}
template <class Device, class X, class G, class B, class Y, class RuleOf, class Scalar>
void call_function(const Device& device, const X& x, const G& gamma, const B& beta, double eps, Y&& y,
                   Pass<Scalar>& pass, const RuleOf& rule_of) {
  FunctionState<Scalar>& state = PassAccess::state(pass);
  call_function(
      device, x, gamma, beta, eps, y, rule_of,
      [&state](auto& runner, const auto& call, const auto* data, const Shape& shape, auto& out) {
        call.forward(runner, data, shape, out, state);
      },
      &state);
}

// The backward of any function: the pass knows which axes.
template <class Device, class X, class DY, class G, class Scalar, class DX, class DG, class DB>
void call_backward(const Device& device, const X& x, const DY& dy, const G& gamma, Pass<Scalar>& pass, DX&& dx,
                   DG&& dgamma, DB&& dbeta) {
  using Param = ParamOf<Scalar>;
  using DXType = typename Added<DX>::Type;
  using DGamma = ParamOutputOf<Scalar, DG>;
  using DBeta = ParamOutputOf<Scalar, DB>;
  using DYType = std::remove_const_t<TensorOf<DY>>;
  constexpr bool is_affine = !kIsNone<G>, wants_affine = !kIsNone<DG> || !kIsNone<DB>;
  constexpr Fault fault = first_of(
      {fault_of_inputs<Scalar, Device, X, DYType>(), fault_of_scalar<Scalar>(), fault_of_parameter<Scalar, G>(),
       fault_of_written<Scalar, DG>(), fault_of_written<Scalar, DB>(), fault_of_wanted<Scalar, DXType, X>(),
       fault_of_post_op<Scalar, DY, X, true>(), wants_affine && !is_affine ? Fault::kGradientsAlone : Fault::kNoFault});
  if constexpr (accepted<fault, Device, X, DYType, G, DX, DG, DB>()) {
    const Input<X> in(x);
    GradientInput<DY> dy_input(dy);
    const OutputGradient<Scalar> gradient = dy_input.get();
    FunctionState<Scalar>& state = PassAccess::state(pass);
    const ParamInput<Scalar, G> g(gamma, "gamma", &state.gamma);
    DGamma dgamma_out(dgamma, "dgamma", state.first_output);
    DBeta dbeta_out(dbeta, "dbeta", state.second_output);
    FunctionCall<Scalar> call;
    call.rule = state.rule;
    check_that(state.record.done, "backward follows a forward pass, but there was none");
    check_that(state.is_of_function,
               "backward of a function follows its forward, but this pass had a layer's, of extents ",
               state.record.shape, ": call the layer's backward");
    check_that(same_extents(in.shape(), state.record.shape), "x has extents ", in.shape(), " but the forward pass had ",
               state.record.shape);
    call.take_parameters(in.shape(), g, ParamInput<Scalar, None>(None(), ""));
    if (gradient.post_op != nullptr) call.take_kept_beta(state);
    if constexpr (is_affine) {
      dgamma_out.take_shape(g.shape().shape);
      dbeta_out.take_shape(g.shape().shape);
    }
    auto runner = runner_on(device, in.shape().count());
    const auto run = [&](Target<Scalar>* target) {
      const auto gradients = [&] { return ParameterGradients<Param>{dgamma_out.prepare(), dbeta_out.prepare()}; };
      call.backward(runner, gradients, in.data(), in.shape(), gradient, target, state);
    };
    if constexpr (kIsNone<DX>) {
      run(nullptr);
    } else {
      Output<DXType> out(Added<DX>::of(dx), "dx");
      if constexpr (Added<DX>::adds) out.set_add_gradient(&add_gradient<Scalar>);
      run(&out);
    }
    dgamma_out.finish();
    dbeta_out.finish();
  }
}

template <class Device, class X, class G, class B, class M, class V, class Y, class Scalar>
void call_batch_norm(const Device& device, const X& x, const G& gamma, const B& beta, M&& running_mean, V&& running_var,
                     double momentum, double eps, Y&& y, Pass<Scalar>& pass) {
  using Param = ParamOf<Scalar>;
  using Mean = ParamOutputOf<Scalar, M>;
  using Var = ParamOutputOf<Scalar, V>;
  static_assert(!Added<M>::adds && !Added<V>::adds, "tensornorm: running statistics are moved, not added to");
  static_assert(kIsNone<M> == kIsNone<V>, "tensornorm: one of the running statistics is kNone: give both or none");
  if constexpr (accepted<first_of({fault_of_written<Scalar, M>(), fault_of_written<Scalar, V>()}), M, V>()) {
    check_momentum(momentum);
    FunctionState<Scalar>& state = PassAccess::state(pass);
    Mean mean(running_mean, "running_mean", state.first_output);
    Var var(running_var, "running_var", state.second_output);
    call_function(
        device, x, gamma, beta, eps, y, ChannelRule{true},
        [&](auto& runner, const auto& call, const Scalar* data, const Shape& shape, auto& out) {
          Shape channels;
          channels.rank = 1;
          channels.extents[0] = shape.extent(1);
          channels = dense_shape(channels, true);
          mean.take_shape(channels);
          var.take_shape(channels);
          mean.check_fits();
          var.check_fits();
          call.forward(runner, data, shape, out, state, Mean::is_given);
          if (!Mean::is_given || shape.count() == 0) return;
          const BatchStatistics<Param> batch{shape.count() / shape.extent(1), shape.extent(1), state.mean.data(),
                                             state.lo.data(), state.m2.data()};
          move_running(batch, shape.extent(1), momentum, true, mean.prepare_loaded(), var.prepare_loaded());
          mean.finish();
          var.finish();
        },
        &state);
  }
}

template <class Device, class X, class G, class B, class M, class V, class Y>
void call_batch_norm_infer(const Device& device, const X& x, const G& gamma, const B& beta, const M& running_mean,
                           const V& running_var, double eps, Y&& y) {
  using Scalar = typename Traits<X>::Scalar;
  using Param = ParamOf<Scalar>;
  if constexpr (accepted<first_of({fault_of_values<Scalar, M>(), fault_of_values<Scalar, V>()}), M, V>()) {
    const ParamInput<Scalar, M> mean(running_mean, "running_mean");
    const ParamInput<Scalar, V> var(running_var, "running_var");
    call_function(
        device, x, gamma, beta, eps, y, ChannelRule{false},
        [&](auto& runner, const auto& call, const Scalar* data, const Shape& shape, auto& out) {
          ParamStrides by_channel{};
          by_channel[1] = shape.extent(1) == 1 ? 0 : 1;
          for (const ParamShape* const given : {&mean.shape(), &var.shape()}) {
            check_that(param_strides(shape, call.rule, *given) == by_channel, given->name, " has extents ",
                       given->shape, " but one value for each of ", shape.extent(1), " channels is needed");
          }
          check_that(call.parameters.gamma == nullptr || call.strides == by_channel,
                     "batch_norm_infer takes one gamma for each of the ", shape.extent(1), " channels");
          Parameters<Param> all = call.parameters;
          all.frozen_mean = mean.data();
          all.frozen_var = var.data();
          const auto statement = call.axes();
          PassEngine<Scalar, true>::infer({statement, shape, false, false}, all, runner, data, out, nullptr, nullptr);
        });
  }
}

}  // namespace core

}  // namespace tensornorm
