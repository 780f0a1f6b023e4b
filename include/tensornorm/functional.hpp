// Functions: normalization by parameters in anybody's memory, an optimizer's, a checkpoint's or a mapped file's.
/// @defgroup functions Functions
/// Normalization without a layer. Nothing is copied in or out: parameters, gradients and running statistics stay where
/// they are.
///
///     layer_norm(view(x, {rows, 768}), view(weight, {768}), kNone, 1e-5, view(y, {rows, 768}));
///
/// x, y, dy and dx are what layers take, view() too, each with any strides. A device may come first, as everywhere. The
/// formulas, the precision and the edges are those of the layers.
///
/// gamma and beta are tensors, matrices, maps or views of the layer's Param, in one of two forms. Either they have the
/// extents of a layer's parameters, or are a vector of as many values. Or they have the rank of x and extents that are
/// x's or 1, as NumPy broadcasts: a scale and a shift for each sample, token or frame. beta lies as gamma does.
/// kNone is an absent parameter; there is no beta without gamma. plus_one(scale) is 1 + scale.
///
/// A Pass keeps what backward needs. Backward wants the x, the gamma and the pass of its forward; dgamma and dbeta get
/// the extents of gamma. Outputs that are kNone are not computed, and add_to(dx) is added to.
///
/// No output may lie where a parameter does, or another output: this is not found.
///
/// Errors: std::invalid_argument with the extents that disagree, and std::bad_alloc; outputs are then as before. What
/// the compiler can see is a static_assert. Memory: with a Pass, the second and later calls with one shape allocate
/// nothing, but to copy tensors that no loop can walk side by side, parameters with gaps, and plus_one, and to add to
/// dgamma and dbeta; without a Pass, the same but for the first call.
#pragma once

#include "tensornorm/requirements.hpp"

#include <utility>
#include <vector>

#include "tensornorm/core/pass/pass_engine.hpp"
#include "tensornorm/group_norm.hpp"
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
  Parameters<Param> parameters;

  auto axes() const {
    return [this](const Shape& x, bool) { return function_axes(x, rule, strides); };
  }

  void infer(Runner& runner, const Scalar* x, const Shape& shape, Target<Scalar>& y) const {
    const auto statement = axes();
    PassEngine<Scalar, false>::infer({statement, shape, true, false}, parameters, runner, x, y, nullptr, nullptr);
  }
  void forward(Runner& runner, const Scalar* x, const Shape& shape, Target<Scalar>& y, PassState<Scalar>& pass,
               bool keeps_m2 = false) const {
    const auto statement = axes();
    PassEngine<Scalar, false>::forward({statement, shape, true, false}, parameters, runner, x, y, pass, true, keeps_m2);
    pass.rule = rule;
    pass.is_of_function = true;
  }
  // `gradients` gives the memory of dgamma and dbeta, once nothing can be refused.
  template <class Gradients>
  void backward(Runner& runner, const Gradients& gradients, Index params, const Scalar* x, const Shape& shape,
                const Scalar* dy, const Shape& dy_shape, Target<Scalar>* dx, PassState<Scalar>& pass) const {
    pass.record.check_backward(shape, dy_shape, pass.record.training);
    pass.record.check_same(shape, fingerprint(x, shape));
    if (dx != nullptr) {
      dx->take_shape(shape);
      dx->check_overlap(x, shape, "x");
      dx->check_overlap(dy, dy_shape, "dy");
    }
    const auto statement = axes();
    PassEngine<Scalar, false>::backward({statement, shape, true, false}, parameters, gradients(), params, runner, x, dy,
                                        dy_shape, dx, pass, pass.record.training);
  }

  template <class Gamma, class Beta>
  void take_parameters(const Shape& x, const Gamma& gamma, const Beta& beta) {
    if constexpr (Gamma::is_given) strides = param_strides(x, rule, gamma.shape());
    if constexpr (Beta::is_given) {
      check_that(strides == param_strides(x, rule, beta.shape()), "gamma has extents ", gamma.shape().shape,
                 " and beta ", beta.shape().shape, ": they must lie alike");
    }
    parameters.gamma = gamma.data();
    parameters.beta = beta.data();
    parameters.centred = rule.centred;
  }
};

template <class Scalar, class Device, class Y, class X, class G, class B>
constexpr Fault fault_of_function() {
  using Param = ParamOf<Scalar>;
  return first_of({fault_of_call<Scalar, Device, Y, X>(), ParamInput<Param, G>::fault, ParamInput<Param, B>::fault,
                   kIsNone<G> && !kIsNone<B> ? Fault::kBetaAlone : Fault::kNoFault});
}

// Calls run(runner, call, x, shape, y) for a function's arguments; `rule_of(shape, gamma)` says which axes.
template <class Device, class X, class G, class B, class Y, class RuleOf, class Run>
void call_function(const Device& device, const X& x, const G& gamma, const B& beta, double eps, Y&& y,
                   const RuleOf& rule_of, const Run& run) {
  using Scalar = typename Traits<X>::Scalar;
  if constexpr (accepted<fault_of_function<Scalar, Device, Y, X, G, B>(), Device, X, G, B, Y>()) {
    using Param = ParamOf<Scalar>;
    const Input<X> in(x);
    Output<Y> out(y, "y");
    const ParamInput<Param, G> g(gamma, "gamma");
    const ParamInput<Param, B> b(beta, "beta");
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
  call_function(device, x, gamma, beta, eps, y, rule_of,
                [&pass](auto& runner, const auto& call, const auto* data, const Shape& shape, auto& out) {
                  call.forward(runner, data, shape, out, PassAccess::state(pass));
                });
}

// The backward of any function: the pass knows which axes.
template <class Device, class X, class DY, class G, class Scalar, class DX, class DG, class DB>
void call_backward(const Device& device, const X& x, const DY& dy, const G& gamma, Pass<Scalar>& pass, DX&& dx,
                   DG&& dgamma, DB&& dbeta) {
  using Param = ParamOf<Scalar>;
  using DXType = typename Added<DX>::Type;
  using DGamma = ParamOutputOf<Param, DG>;
  using DBeta = ParamOutputOf<Param, DB>;
  constexpr bool is_affine = ParamInput<Param, G>::is_given, wants_affine = DGamma::is_given || DBeta::is_given;
  constexpr Fault fault = first_of({fault_of_inputs<Scalar, Device, X, DY>(), ParamInput<Param, G>::fault,
                                    DGamma::fault, DBeta::fault, fault_of_wanted<Scalar, DXType, X>(),
                                    wants_affine && !is_affine ? Fault::kGradientsAlone : Fault::kNoFault});
  if constexpr (accepted<fault, Device, X, DY, G, DX, DG, DB>()) {
    const Input<X> in(x);
    const Input<DY> gradient(dy);
    const ParamInput<Param, G> g(gamma, "gamma");
    DGamma dgamma_out(dgamma, "dgamma");
    DBeta dbeta_out(dbeta, "dbeta");
    PassState<Scalar>& state = PassAccess::state(pass);
    FunctionCall<Scalar> call;
    call.rule = state.rule;
    check_that(state.record.done, "backward follows a forward pass, but there was none");
    check_that(state.is_of_function,
               "backward of a function follows its forward, but this pass had a layer's, of extents ",
               state.record.shape, ": call the layer's backward");
    check_that(same_extents(in.shape(), state.record.shape), "x has extents ", in.shape(), " but the forward pass had ",
               state.record.shape);
    call.take_parameters(in.shape(), g, ParamInput<Param, None>(None(), ""));
    Index params = 0;
    if constexpr (is_affine) {
      params = g.shape().shape.count();
      dgamma_out.take_shape(g.shape().shape);
      dbeta_out.take_shape(g.shape().shape);
    }
    auto runner = runner_on(device, in.shape().count());
    const auto run = [&](Target<Scalar>* target) {
      const auto gradients = [&] { return ParameterGradients<Param>{dgamma_out.prepare(), dbeta_out.prepare()}; };
      call.backward(runner, gradients, params, in.data(), in.shape(), gradient.data(), gradient.shape(), target, state);
    };
    if constexpr (kIsNone<DX>) {
      run(nullptr);
    } else {
      Output<DXType> out(Added<DX>::of(dx), "dx");
      if constexpr (Added<DX>::adds) {
        AddedTarget<Scalar> added(out, state.added);
        run(&added);
        added.finish();
      } else {
        run(&out);
      }
    }
    dgamma_out.finish();
    dbeta_out.finish();
  }
}

inline NormRule trailing_rule(const Shape& x, int trailing, bool centred) {
  NormRule rule;
  rule.kept = axes_below(x.rank - trailing);
  rule.affine = axes_below(x.rank) & ~rule.kept;
  rule.centred = centred;
  return rule;
}

// Over the trailing axes that gamma has, or the last.
template <bool centred>
struct TrailingRule {
  template <class Gamma>
  NormRule operator()(const Shape& x, const Gamma& gamma) const {
    if constexpr (Gamma::is_given) return trailing_rule(x, trailing_axes(x, gamma.shape()), centred);
    return trailing_rule(x, 1, centred);
  }
};

// Over the groups of channels of each sample; one channel a group where `groups` is 0.
struct GroupRule {
  Index groups, channel_axis;

  template <class Gamma>
  NormRule operator()(const Shape& x, const Gamma&) const {
    return rule_of(x);
  }
  NormRule rule_of(const Shape& x) const {
    check_that(x.rank >= 2, "x has rank ", x.rank, " but needs 2 at least: batch and channels");
    const Index c = channel_axis < 0 ? channel_axis + x.rank : channel_axis;
    check_that(c >= 1 && c < x.rank, "channel_axis is ", channel_axis, " but x of extents ", x,
               " has its channels between 1 and ", x.rank - 1);
    NormRule rule;
    rule.kept = axis(0);
    rule.affine = axis(static_cast<int>(c));
    if (groups == 0) {
      rule.kept |= rule.affine;
      if (x.count() > 0) check_instances(x, x.extent(0), x.extent(static_cast<int>(c)));
      return rule;
    }
    const Index channels = x.extent(static_cast<int>(c));
    check_that(groups > 0 && channels % groups == 0, groups, " groups do not divide ", channels, " channels");
    rule.split = static_cast<int>(c);
    rule.groups = groups;
    return rule;
  }
};

// Over the batch and space of each channel.
struct BatchRule {
  template <class Gamma>
  NormRule operator()(const Shape& x, const Gamma&) const {
    check_that(x.rank >= 2, "x has rank ", x.rank, " but needs 2 at least: batch and channels");
    if (x.count() > 0) check_batch(x, x.extent(1));
    NormRule rule;
    rule.kept = rule.affine = axis(1);
    return rule;
  }
};

// Over a list of axes.
struct ListRule {
  const std::vector<int>& over;

  template <class Gamma>
  NormRule operator()(const Shape& x, const Gamma&) const {
    NormRule rule;
    for (const int a : over) {
      const int d = a < 0 ? a + x.rank : a;
      check_that(d >= 0 && d < x.rank, "axis ", a, " is none of x of extents ", x);
      check_that(!contains(rule.affine, d), "axis ", a, " of x of extents ", x, " is named twice");
      rule.affine |= axis(d);
    }
    check_that(rule.affine != 0, "over ", over.size(), " axes of x of extents ", x, ": at least 1 is needed");
    rule.kept = axes_below(x.rank) & ~rule.affine;
    return rule;
  }
};

// Over the batch and space of each channel, with or without statistics of the batch.
struct ChannelRule {
  template <class Gamma>
  NormRule operator()(const Shape& x, const Gamma&) const {
    check_that(x.rank >= 2, "x has rank ", x.rank, " but needs 2 at least: batch and channels");
    NormRule rule;
    rule.kept = rule.affine = axis(1);
    return rule;
  }
};

template <class Device, class X, class G, class B, class M, class V, class Y, class Scalar>
void call_batch_norm(const Device& device, const X& x, const G& gamma, const B& beta, M&& running_mean, V&& running_var,
                     double momentum, double eps, Y&& y, Pass<Scalar>& pass) {
  using Param = ParamOf<Scalar>;
  using Mean = ParamOutputOf<Param, M>;
  using Var = ParamOutputOf<Param, V>;
  static_assert(!Added<M>::adds && !Added<V>::adds, "tensornorm: running statistics are moved, not added to");
  static_assert(Mean::is_given == Var::is_given,
                "tensornorm: one of the running statistics is kNone: give both or none");
  if constexpr (accepted<first_of({Mean::fault, Var::fault}), M, V>()) {
    check_momentum(momentum);
    Mean mean(running_mean, "running_mean");
    Var var(running_var, "running_var");
    call_function(device, x, gamma, beta, eps, y, BatchRule(),
                  [&](auto& runner, const auto& call, const Scalar* data, const Shape& shape, auto& out) {
                    Shape channels;
                    channels.rank = 1;
                    channels.extents[0] = shape.extent(1);
                    channels = dense_shape(channels, true);
                    mean.take_shape(channels);
                    var.take_shape(channels);
                    mean.check_fits();
                    var.check_fits();
                    PassState<Scalar>& state = PassAccess::state(pass);
                    call.forward(runner, data, shape, out, state, Mean::is_given);
                    if (!Mean::is_given || shape.count() == 0) return;
                    const BatchStatistics<Param> batch{shape.count() / shape.extent(1), shape.extent(1),
                                                       state.mean.data(), state.lo.data(), state.m2.data()};
                    move_running(batch, shape.extent(1), momentum, true, mean.prepare_loaded(), var.prepare_loaded());
                    mean.finish();
                    var.finish();
                  });
  }
}

template <class Device, class X, class G, class B, class M, class V, class Y>
void call_batch_norm_infer(const Device& device, const X& x, const G& gamma, const B& beta, const M& running_mean,
                           const V& running_var, double eps, Y&& y) {
  using Scalar = typename Traits<X>::Scalar;
  using Param = ParamOf<Scalar>;
  if constexpr (accepted<first_of({fault_of_argument<Param, M>(), fault_of_argument<Param, V>()}), M, V>()) {
    const ParamInput<Param, M> mean(running_mean, "running_mean");
    const ParamInput<Param, V> var(running_var, "running_var");
    call_function(
        device, x, gamma, beta, eps, y, ChannelRule(),
        [&](auto& runner, const auto& call, const Scalar* data, const Shape& shape, auto& out) {
          const ParamStrides by_channel = param_strides(shape, call.rule, mean.shape());
          check_that(param_strides(shape, call.rule, var.shape()) == by_channel, "running_var has extents ",
                     var.shape().shape, " and running_mean ", mean.shape().shape, ": they must lie alike");
          ParamStrides plain{};
          plain[1] = shape.extent(1) == 1 ? 0 : 1;
          check_that(by_channel == plain, "running_mean has extents ", mean.shape().shape,
                     " but one value for each of ", shape.extent(1), " channels is needed");
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

/// @addtogroup functions
/// @{

/// What group_norm and instance_norm are told besides: eps alone, or the options of the layer with channel_axis.
struct ChannelOptions {
  /// Channels along axis 1.
  ChannelOptions(double epsilon) : eps(epsilon) {}  // NOLINT(google-explicit-constructor): eps stands for it
  /// Those of a layer; its batch_axis must be 0.
  ChannelOptions(const GroupNormOptions& o) : eps(o.eps), channel_axis(o.channel_axis) {  // NOLINT
    core::check_that(o.batch_axis == 0, "batch_axis is ", o.batch_axis, " but of a function it is 0: give views");
  }

  double eps;              ///< Added to the variance; 0 is allowed.
  Index channel_axis = 1;  ///< The axis of the channels, not 0; negative: from the end.
};

/// Layer normalization over the trailing axes that gamma has, as LayerNorm. Where gamma broadcasts or is kNone, the
/// last axis.
template <class X, class G, class B, class Y>
void layer_norm(const X& x, const G& gamma, const B& beta, double eps, Y&& y) {
  core::call_function(core::CallingThread(), x, gamma, beta, eps, y, core::TrailingRule<true>());
}
/// The same on a device.
template <class Device, class X, class G, class B, class Y>
void layer_norm(const Device& device, const X& x, const G& gamma, const B& beta, double eps, Y&& y) {
  core::call_function(device, x, gamma, beta, eps, y, core::TrailingRule<true>());
}
/// The same, with a Pass for layer_norm_backward.
template <class X, class G, class B, class Y, class Scalar>
void layer_norm(const X& x, const G& gamma, const B& beta, double eps, Y&& y, Pass<Scalar>& pass) {
  core::call_function(core::CallingThread(), x, gamma, beta, eps, y, pass, core::TrailingRule<true>());
}
/// The same on a device, with a Pass.
template <class Device, class X, class G, class B, class Y, class Scalar>
void layer_norm(const Device& device, const X& x, const G& gamma, const B& beta, double eps, Y&& y,
                Pass<Scalar>& pass) {
  core::call_function(device, x, gamma, beta, eps, y, pass, core::TrailingRule<true>());
}
/// The gradients of layer_norm. dgamma and dbeta have the extents of gamma.
template <class X, class DY, class G, class Scalar, class DX, class DG, class DB>
void layer_norm_backward(const X& x, const DY& dy, const G& gamma, Pass<Scalar>& pass, DX&& dx, DG&& dgamma,
                         DB&& dbeta) {
  core::call_backward(core::CallingThread(), x, dy, gamma, pass, dx, dgamma, dbeta);
}
/// The same on a device.
template <class Device, class X, class DY, class G, class Scalar, class DX, class DG, class DB>
void layer_norm_backward(const Device& device, const X& x, const DY& dy, const G& gamma, Pass<Scalar>& pass, DX&& dx,
                         DG&& dgamma, DB&& dbeta) {
  core::call_backward(device, x, dy, gamma, pass, dx, dgamma, dbeta);
}

/// Root mean square normalization over the trailing axes that gamma has, as RMSNorm. Where gamma broadcasts or is
/// kNone, the last axis.
template <class X, class G, class Y>
void rms_norm(const X& x, const G& gamma, double eps, Y&& y) {
  core::call_function(core::CallingThread(), x, gamma, kNone, eps, y, core::TrailingRule<false>());
}
/// The same on a device.
template <class Device, class X, class G, class Y>
void rms_norm(const Device& device, const X& x, const G& gamma, double eps, Y&& y) {
  core::call_function(device, x, gamma, kNone, eps, y, core::TrailingRule<false>());
}
/// The same, with a Pass for rms_norm_backward.
template <class X, class G, class Y, class Scalar>
void rms_norm(const X& x, const G& gamma, double eps, Y&& y, Pass<Scalar>& pass) {
  core::call_function(core::CallingThread(), x, gamma, kNone, eps, y, pass, core::TrailingRule<false>());
}
/// The same on a device, with a Pass.
template <class Device, class X, class G, class Y, class Scalar>
void rms_norm(const Device& device, const X& x, const G& gamma, double eps, Y&& y, Pass<Scalar>& pass) {
  core::call_function(device, x, gamma, kNone, eps, y, pass, core::TrailingRule<false>());
}
/// The gradients of rms_norm.
template <class X, class DY, class G, class Scalar, class DX, class DG>
void rms_norm_backward(const X& x, const DY& dy, const G& gamma, Pass<Scalar>& pass, DX&& dx, DG&& dgamma) {
  core::call_backward(core::CallingThread(), x, dy, gamma, pass, dx, dgamma, kNone);
}
/// The same on a device.
template <class Device, class X, class DY, class G, class Scalar, class DX, class DG>
void rms_norm_backward(const Device& device, const X& x, const DY& dy, const G& gamma, Pass<Scalar>& pass, DX&& dx,
                       DG&& dgamma) {
  core::call_backward(device, x, dy, gamma, pass, dx, dgamma, kNone);
}

/// Group normalization, as GroupNorm: axes 0 and 1 are batch and channels, or as GroupNormOptions say, in the place of
/// eps.
template <class X, class G, class B, class Y>
void group_norm(const X& x, Index groups, const G& gamma, const B& beta, const ChannelOptions& options, Y&& y) {
  core::call_function(core::CallingThread(), x, gamma, beta, options.eps, y,
                      core::GroupRule{(core::check_groups(groups), groups), options.channel_axis});
}
/// The same on a device.
template <class Device, class X, class G, class B, class Y>
void group_norm(const Device& device, const X& x, Index groups, const G& gamma, const B& beta,
                const ChannelOptions& options, Y&& y) {
  core::call_function(device, x, gamma, beta, options.eps, y,
                      core::GroupRule{(core::check_groups(groups), groups), options.channel_axis});
}
/// The same, with a Pass for group_norm_backward.
template <class X, class G, class B, class Y, class Scalar>
void group_norm(const X& x, Index groups, const G& gamma, const B& beta, const ChannelOptions& options, Y&& y,
                Pass<Scalar>& pass) {
  core::call_function(core::CallingThread(), x, gamma, beta, options.eps, y, pass,
                      core::GroupRule{(core::check_groups(groups), groups), options.channel_axis});
}
/// The same on a device, with a Pass.
template <class Device, class X, class G, class B, class Y, class Scalar>
void group_norm(const Device& device, const X& x, Index groups, const G& gamma, const B& beta,
                const ChannelOptions& options, Y&& y, Pass<Scalar>& pass) {
  core::call_function(device, x, gamma, beta, options.eps, y, pass,
                      core::GroupRule{(core::check_groups(groups), groups), options.channel_axis});
}
/// The gradients of group_norm. The pass knows the groups.
template <class X, class DY, class G, class Scalar, class DX, class DG, class DB>
void group_norm_backward(const X& x, const DY& dy, const G& gamma, Pass<Scalar>& pass, DX&& dx, DG&& dgamma,
                         DB&& dbeta) {
  core::call_backward(core::CallingThread(), x, dy, gamma, pass, dx, dgamma, dbeta);
}
/// The same on a device.
template <class Device, class X, class DY, class G, class Scalar, class DX, class DG, class DB>
void group_norm_backward(const Device& device, const X& x, const DY& dy, const G& gamma, Pass<Scalar>& pass, DX&& dx,
                         DG&& dgamma, DB&& dbeta) {
  core::call_backward(device, x, dy, gamma, pass, dx, dgamma, dbeta);
}

/// Instance normalization, as InstanceNorm without running statistics: axes 0 and 1 are batch and channels, or as
/// GroupNormOptions say, in the place of eps.
template <class X, class G, class B, class Y>
void instance_norm(const X& x, const G& gamma, const B& beta, const ChannelOptions& options, Y&& y) {
  core::call_function(core::CallingThread(), x, gamma, beta, options.eps, y, core::GroupRule{0, options.channel_axis});
}
/// The same on a device.
template <class Device, class X, class G, class B, class Y>
void instance_norm(const Device& device, const X& x, const G& gamma, const B& beta, const ChannelOptions& options,
                   Y&& y) {
  core::call_function(device, x, gamma, beta, options.eps, y, core::GroupRule{0, options.channel_axis});
}
/// The same, with a Pass for instance_norm_backward.
template <class X, class G, class B, class Y, class Scalar>
void instance_norm(const X& x, const G& gamma, const B& beta, const ChannelOptions& options, Y&& y,
                   Pass<Scalar>& pass) {
  core::call_function(core::CallingThread(), x, gamma, beta, options.eps, y, pass,
                      core::GroupRule{0, options.channel_axis});
}
/// The same on a device, with a Pass.
template <class Device, class X, class G, class B, class Y, class Scalar>
void instance_norm(const Device& device, const X& x, const G& gamma, const B& beta, const ChannelOptions& options,
                   Y&& y, Pass<Scalar>& pass) {
  core::call_function(device, x, gamma, beta, options.eps, y, pass, core::GroupRule{0, options.channel_axis});
}
/// The gradients of instance_norm.
template <class X, class DY, class G, class Scalar, class DX, class DG, class DB>
void instance_norm_backward(const X& x, const DY& dy, const G& gamma, Pass<Scalar>& pass, DX&& dx, DG&& dgamma,
                            DB&& dbeta) {
  core::call_backward(core::CallingThread(), x, dy, gamma, pass, dx, dgamma, dbeta);
}
/// The same on a device.
template <class Device, class X, class DY, class G, class Scalar, class DX, class DG, class DB>
void instance_norm_backward(const Device& device, const X& x, const DY& dy, const G& gamma, Pass<Scalar>& pass, DX&& dx,
                            DG&& dgamma, DB&& dbeta) {
  core::call_backward(device, x, dy, gamma, pass, dx, dgamma, dbeta);
}

/// Batch normalization in training, as BatchNorm: axis 0 is the batch, axis 1 the channels. The running statistics are
/// moved where they lie, by momentum as in PyTorch, the variance unbiased; kNone for both if there are none. They have
/// a value for each channel.
template <class X, class G, class B, class M, class V, class Y, class Scalar>
void batch_norm(const X& x, const G& gamma, const B& beta, M&& running_mean, V&& running_var, double momentum,
                double eps, Y&& y, Pass<Scalar>& pass) {
  core::call_batch_norm(core::CallingThread(), x, gamma, beta, running_mean, running_var, momentum, eps, y, pass);
}
/// The same on a device.
template <class Device, class X, class G, class B, class M, class V, class Y, class Scalar>
void batch_norm(const Device& device, const X& x, const G& gamma, const B& beta, M&& running_mean, V&& running_var,
                double momentum, double eps, Y&& y, Pass<Scalar>& pass) {
  core::call_batch_norm(device, x, gamma, beta, running_mean, running_var, momentum, eps, y, pass);
}
/// The gradients of batch_norm.
template <class X, class DY, class G, class Scalar, class DX, class DG, class DB>
void batch_norm_backward(const X& x, const DY& dy, const G& gamma, Pass<Scalar>& pass, DX&& dx, DG&& dgamma,
                         DB&& dbeta) {
  core::call_backward(core::CallingThread(), x, dy, gamma, pass, dx, dgamma, dbeta);
}
/// The same on a device.
template <class Device, class X, class DY, class G, class Scalar, class DX, class DG, class DB>
void batch_norm_backward(const Device& device, const X& x, const DY& dy, const G& gamma, Pass<Scalar>& pass, DX&& dx,
                         DG&& dgamma, DB&& dbeta) {
  core::call_backward(device, x, dy, gamma, pass, dx, dgamma, dbeta);
}
/// Batch normalization by running statistics, as BatchNorm in eval mode. gamma and beta have a value for each channel.
template <class X, class G, class B, class M, class V, class Y>
void batch_norm_infer(const X& x, const G& gamma, const B& beta, const M& running_mean, const V& running_var,
                      double eps, Y&& y) {
  core::call_batch_norm_infer(core::CallingThread(), x, gamma, beta, running_mean, running_var, eps, y);
}
/// The same on a device.
template <class Device, class X, class G, class B, class M, class V, class Y>
void batch_norm_infer(const Device& device, const X& x, const G& gamma, const B& beta, const M& running_mean,
                      const V& running_var, double eps, Y&& y) {
  core::call_batch_norm_infer(device, x, gamma, beta, running_mean, running_var, eps, y);
}

/// Normalization with statistics over any list of axes, negative ones counted from the end. gamma and beta have a value
/// for each element of these axes, or broadcast.
template <class X, class G, class B, class Y>
void normalize(const X& x, const std::vector<int>& over, const G& gamma, const B& beta, double eps, Y&& y) {
  core::call_function(core::CallingThread(), x, gamma, beta, eps, y, core::ListRule{over});
}
/// The same on a device.
template <class Device, class X, class G, class B, class Y>
void normalize(const Device& device, const X& x, const std::vector<int>& over, const G& gamma, const B& beta,
               double eps, Y&& y) {
  core::call_function(device, x, gamma, beta, eps, y, core::ListRule{over});
}
/// The same, with a Pass for normalize_backward.
template <class X, class G, class B, class Y, class Scalar>
void normalize(const X& x, const std::vector<int>& over, const G& gamma, const B& beta, double eps, Y&& y,
               Pass<Scalar>& pass) {
  core::call_function(core::CallingThread(), x, gamma, beta, eps, y, pass, core::ListRule{over});
}
/// The same on a device, with a Pass.
template <class Device, class X, class G, class B, class Y, class Scalar>
void normalize(const Device& device, const X& x, const std::vector<int>& over, const G& gamma, const B& beta,
               double eps, Y&& y, Pass<Scalar>& pass) {
  core::call_function(device, x, gamma, beta, eps, y, pass, core::ListRule{over});
}
/// The gradients of normalize. The pass knows the axes.
template <class X, class DY, class G, class Scalar, class DX, class DG, class DB>
void normalize_backward(const X& x, const DY& dy, const G& gamma, Pass<Scalar>& pass, DX&& dx, DG&& dgamma,
                        DB&& dbeta) {
  core::call_backward(core::CallingThread(), x, dy, gamma, pass, dx, dgamma, dbeta);
}
/// The same on a device.
template <class Device, class X, class DY, class G, class Scalar, class DX, class DG, class DB>
void normalize_backward(const Device& device, const X& x, const DY& dy, const G& gamma, Pass<Scalar>& pass, DX&& dx,
                        DG&& dgamma, DB&& dbeta) {
  core::call_backward(device, x, dy, gamma, pass, dx, dgamma, dbeta);
}

/// @}

}  // namespace tensornorm
