// The parameters and statistics of a layer under the names of other libraries, and a frozen layer as a scale and shift.
#pragma once

#include "tensornorm/requirements.hpp"

#include <type_traits>
#include <utility>

#include "tensornorm/batch_norm.hpp"
#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/kernel/rounding.hpp"
#include "tensornorm/group_norm.hpp"
#include "tensornorm/layer_norm.hpp"
#include "tensornorm/rms_norm.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {

/// Whose names and units: torch.nn, keras.layers, ONNX's operators, flax.linen.
enum class Convention { kPyTorch, kKeras, kOnnx, kFlax };

namespace core {

struct StateNames {
  const char *gamma, *beta, *mean, *var;
};
inline StateNames state_names(Convention convention) {
  switch (convention) {
    case Convention::kKeras:
      return {"gamma", "beta", "moving_mean", "moving_variance"};
    case Convention::kOnnx:
      return {"scale", "B", "input_mean", "input_var"};
    case Convention::kFlax:
      return {"scale", "bias", "mean", "var"};
    case Convention::kPyTorch:
      break;
  }
  return {"weight", "bias", "running_mean", "running_var"};
}

// What a kind of layers is named otherwise there.
inline void rename_state(const void*, Convention, StateNames&) {}
template <class Scalar>
void rename_state(const GroupNorm<Scalar>*, Convention convention, StateNames& names) {
  if (convention == Convention::kOnnx) names.beta = "bias";
}
template <class Scalar>
void rename_state(const LayerNorm<Scalar>*, Convention convention, StateNames& names) {
  if (convention == Convention::kOnnx) names.gamma = "Scale";
}
template <class Scalar>
void rename_state(const RMSNorm<Scalar>*, Convention convention, StateNames& names) {
  if (convention == Convention::kKeras) names.gamma = "scale";
}

template <class Norm, class = void>
struct HasRunning : std::false_type {};
template <class Norm>
struct HasRunning<Norm, std::void_t<decltype(std::declval<Norm&>().running_var())>> : std::true_type {};
template <class Norm, class = void>
struct HasBeta : std::false_type {};
template <class Norm>
struct HasBeta<Norm, std::void_t<decltype(std::declval<Norm&>().beta())>> : std::true_type {};

}  // namespace core

/// Calls visit(name, array) for gamma, beta, the running mean and the running variance of a layer, as far as it has
/// them, under the names of the convention: to save a model, or to load one. After loading, call eval() or prepare().
/// Not visited: num_batches_tracked(), which only a momentum of std::nullopt uses; Whitening's statistics, which those
/// libraries have not; parameters that a Normalization has yet to make, which NormalizationOptions::extents makes.
///
///     for_each_state(norm, Convention::kKeras, [&](const char* name, auto& values) { read(file[name], values); });
///
/// The layer is none of AnyNorm's: its target() is. A const layer is visited with const arrays. The values are the same
/// in all conventions; how they move in training is not: see running_options.
template <class Norm, class Visit>
void for_each_state(Norm& norm, Convention convention, const Visit& visit) {
  core::StateNames names = core::state_names(convention);
  core::rename_state(&norm, convention, names);
  if (norm.gamma().size() > 0) visit(names.gamma, norm.gamma());
  if constexpr (core::HasBeta<Norm>::value) {
    if (norm.beta().size() > 0) visit(names.beta, norm.beta());
  }
  if constexpr (core::HasRunning<Norm>::value) {
    if (norm.running_mean().size() == 0) return;
    visit(names.mean, norm.running_mean());
    visit(names.var, norm.running_var());
  }
}

/// The options with which running statistics move as in the convention, for a momentum as it is written there:
/// PyTorch's is the weight of the new batch and its running variance divides by n - 1; the others' is the weight of the
/// old value, and their variance divides by n.
///
/// Options are those of BatchNorm or InstanceNorm. eps stays as it is.
///
///     auto options = running_options<BatchNormOptions>(Convention::kKeras, 0.99);
///     options.eps = 1e-3;  // Keras' default
template <class Options>
Options running_options(Convention convention, double momentum, Options options = {}) {
  const bool is_pytorch = convention == Convention::kPyTorch;
  options.momentum = is_pytorch ? momentum : 1 - momentum;
  options.unbiased_running_var = is_pytorch;
  return options;
}

/// A scale and a shift for each channel.
template <class Array>
struct ScaleAndShift {
  Array scale;  ///< gamma / sqrt(running_var + eps)
  Array shift;  ///< beta - running_mean * scale
};

/// What BatchNorm computes in eval mode as y = x * scale + shift: to multiply into the weights of the layer before it.
/// Computed in double, and rounded: where the mean is large beside the deviations, x * scale + shift loses digits that
/// infer keeps. Where running_var + eps is 0 the scale is 0. Throws std::invalid_argument without
/// running statistics, or when an array of the layer was assigned another size.
template <class Scalar>
ScaleAndShift<typename BatchNorm<Scalar>::Array> fold(const BatchNorm<Scalar>& norm) {
  using Array = typename BatchNorm<Scalar>::Array;
  using Doubles = Eigen::ArrayXd;
  const Index n = norm.channels(), params = norm.options().affine ? n : 0;
  core::check_that(norm.options().track_running_stats && n > 0, "fold of a BatchNorm of ", n,
                   " channels without running statistics");
  const auto check_size = [](const Array& array, Index size, const char* name) {
    core::check_that(array.size() == size, name, " has ", array.size(), " values but the layer needs ", size);
  };
  check_size(norm.gamma(), params, "gamma");
  check_size(norm.beta(), params, "beta");
  check_size(norm.running_mean(), n, "running_mean");
  check_size(norm.running_var(), n, "running_var");
  const Doubles var = norm.running_var().template cast<double>() + norm.options().eps;
  Doubles scale = (var == 0).select(0.0, var.sqrt().inverse()), shift = Doubles::Zero(n);
  if (params > 0) {
    scale *= norm.gamma().template cast<double>();
    shift = norm.beta().template cast<double>();
  }
  for (Index c = 0; c < n; ++c) shift[c] -= core::product(static_cast<double>(norm.running_mean()[c]), scale[c]);
  return {scale.template cast<typename Array::Scalar>(), shift.template cast<typename Array::Scalar>()};
}

}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
