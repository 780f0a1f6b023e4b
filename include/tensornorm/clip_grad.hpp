// Gradient clipping: by the norm of all gradients together, and by value.
#pragma once

#include "tensornorm/requirements.hpp"

#include <stdexcept>
#include <string>

#include "tensornorm/core/exceptions.hpp"
#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/thread/device.hpp"
#include "tensornorm/gradient_ref.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {

/// Options of clip_grad_norm.
struct ClipGradNormOptions {
  NormType norm_type = NormType::kTwo;  ///< Which norm.
  bool error_if_nonfinite = true;       ///< Whether an infinite or NaN norm is an error; false: it is returned.
};

namespace core {

// Calls use(batch, runner) for the gradients of a call, some at a time and in order. Ranges are walked on the calling
// thread alone.
template <class Device, class... G>
void for_each_batch(const Device& device, FunctionRef<void(const GradientBatch&, const Runner&)> use, G&... gradients) {
  GradientBatch batch;
  const auto hand_over = [&] {
    const auto& runner = runner_on(device, batch.elements());
    if (batch.elements() > 0) use(batch, runner);
    batch.clear();
  };
  [[maybe_unused]] const auto add = [&](const Gradient& gradient) {  // unused where there are no gradients
    if (batch.is_full()) hand_over();
    batch.push_back(gradient);
  };
  (for_each_gradient(gradients, add), ...);
  hand_over();
}

// Data and not misuse is at fault: no std::invalid_argument.
[[noreturn]] inline void fail_nonfinite(double norm) {
  raise<std::range_error>(std::string("tensornorm: the norm of the gradients is ") +
                          (is_nan(norm) ? "NaN" : "infinite") + ": they are not scaled");
}

}  // namespace core

/// Returns the norm of all gradients, and multiplies them in place by max_norm / norm if the norm exceeds max_norm. The
/// norm is that of all elements of all gradients as one vector, before the multiplication.
///
/// gradients are any number, in one call, of tensors, maps, matrices, arrays and blocks of any layout, strides and
/// scalar, of GradientRefs, and of ranges of these with forward iterators, such as std::vector<GradientRef>. No two may
/// overlap: elements given twice count twice and are multiplied twice. device is an Eigen::DefaultDevice or an
/// Eigen::ThreadPoolDevice.
///
/// Errors: std::invalid_argument when max_norm is negative or NaN, or when the extents of a gradient are those of no
/// tensor in memory; std::range_error when the norm is infinite or NaN, unless error_if_nonfinite is false. No gradient
/// is changed then. A const gradient, an expression, another scalar and a range that can be walked only once are a
/// static_assert.
///
/// Edges: one NaN makes every norm NaN, and a norm beyond the range of double is infinite. A norm of max_norm or less
/// changes no bit. max_norm 0 gives zeros; an infinite max_norm only measures. Without elements the norm is 0. Nothing
/// is added to the norm before the division, where PyTorch's clip_grad_norm_ adds 1e-6.
///
/// Precision: squares neither overflow nor underflow. The error of the norm is at most 1e-6 of its value for float and
/// 16-bit gradients, and 1e-14 for double. Factor and products are rounded to double, or to float for float and 16-bit
/// gradients; products of 16-bit gradients are rounded once more. The bits are the same on any number of threads and at
/// any alignment. One thread allocates nothing.
///
/// Source: Pascanu, Mikolov and Bengio 2013, On the difficulty of training recurrent neural networks, algorithm 1.
template <class Device, class... G>
double clip_grad_norm(const Device& device, double max_norm, ClipGradNormOptions options, G&&... gradients) {
  core::check_that(!core::is_nan(max_norm) && max_norm >= 0, "max_norm is ", max_norm, " but must be 0 or more");
  double norm = 0;
  if constexpr (core::accepted<core::fault_of_gradients<Device, G...>(), Device, G...>()) {
    core::NormPart total(options.norm_type);
    const auto measure = [&](const core::GradientBatch& batch, const core::Runner& runner) {
      batch.measure(runner, options.norm_type, total);
    };
    core::for_each_batch(device, measure, gradients...);
    norm = total.norm();
    if (!core::is_finite(norm) && options.error_if_nonfinite) core::fail_nonfinite(norm);
    if (!core::is_finite(norm) || norm <= max_norm) return norm;
    const core::Wide factor = core::Wide(max_norm).over(core::Wide(norm));
    const auto scale = [&](const core::GradientBatch& batch, const core::Runner& runner) {
      batch.scale(runner, factor);
    };
    core::for_each_batch(device, scale, gradients...);
  }
  return norm;
}
/// The same with the default options.
template <class Device, class... G, class = std::enable_if_t<!std::is_arithmetic<Device>::value>>
double clip_grad_norm(const Device& device, double max_norm, G&&... gradients) {
  return clip_grad_norm(device, max_norm, ClipGradNormOptions(), std::forward<G>(gradients)...);
}
/// The same on the calling thread.
template <class... G>
double clip_grad_norm(double max_norm, ClipGradNormOptions options, G&&... gradients) {
  return clip_grad_norm(core::CallingThread(), max_norm, options, std::forward<G>(gradients)...);
}
/// The same on the calling thread with the default options.
template <class... G>
double clip_grad_norm(double max_norm, G&&... gradients) {
  return clip_grad_norm(core::CallingThread(), max_norm, ClipGradNormOptions(), std::forward<G>(gradients)...);
}

/// Sets every element g of all gradients to min(max(g, -value), value), in place. device and gradients are those of
/// clip_grad_norm.
///
/// Errors: std::invalid_argument when value is negative or NaN; no gradient is changed then. Others as clip_grad_norm.
///
/// Edges: NaN stays NaN, and infinity becomes value with its sign. value is rounded to the scalar of each gradient; the
/// largest finite number stands for any value beyond. value 0 gives zeros with the signs of g. An infinite value
/// changes nothing.
///
/// The bits are the same on any number of threads and at any alignment. One thread allocates nothing. Source: PyTorch's
/// clip_grad_value_.
template <class Device, class... G, class = std::enable_if_t<!std::is_arithmetic<Device>::value>>
void clip_grad_value(const Device& device, double value, G&&... gradients) {
  core::check_that(!core::is_nan(value) && value >= 0, "value is ", value, " but must be 0 or more");
  if constexpr (core::accepted<core::fault_of_gradients<Device, G...>(), Device, G...>()) {
    if (!core::is_finite(value)) return;
    const auto clamp = [&](const core::GradientBatch& batch, const core::Runner& runner) {
      batch.clamp(runner, value);
    };
    core::for_each_batch(device, clamp, gradients...);
  }
}
/// The same on the calling thread.
template <class... G>
void clip_grad_value(double value, G&&... gradients) {
  clip_grad_value(core::CallingThread(), value, std::forward<G>(gradients)...);
}

}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
