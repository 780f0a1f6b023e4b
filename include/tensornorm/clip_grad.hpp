// Gradient clipping: by the norm of all gradients together, and by value.
#pragma once

#include "tensornorm/requirements.hpp"

#include <cmath>
#include <stdexcept>
#include <string>

#include "tensornorm/core/exceptions.hpp"
#include "tensornorm/core/thread/device.hpp"
#include "tensornorm/gradient_ref.hpp"

namespace tensornorm {

/// norm_type: which norm. error_if_nonfinite: whether a norm that is infinite or NaN throws; else it is returned. The
/// gradients are left alone either way.
struct ClipGradNormOptions {
  NormType norm_type = NormType::kTwo;
  bool error_if_nonfinite = true;
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
                          (std::isnan(norm) ? "NaN" : "infinite") + ": they are not scaled");
}

}  // namespace core

/// Scales all gradients in place by max_norm / norm where their norm exceeds max_norm, and returns that norm: of all
/// elements of all gradients as one vector, before the scaling.
/// gradients: any number of tensors, maps, matrices, arrays and blocks of any layout, strides and scalar, in one call;
/// GradientRefs; and ranges of these with forward iterators, such as std::vector<GradientRef>. No two may overlap:
/// elements given twice count and are scaled twice.
///
/// Errors: std::invalid_argument when max_norm is negative or NaN or a gradient's extents are those of no tensor in
/// memory, and std::range_error when the norm is infinite or NaN (one NaN makes any norm NaN; a norm beyond double's
/// range is infinite) unless options.error_if_nonfinite is false: then that norm is returned. Nothing is changed in any
/// of these cases. What the compiler can see, a const gradient, an expression, another scalar or a range that can be
/// walked only once, fails as a static_assert.
///
/// Edges: a norm of max_norm or less leaves every bit alone; max_norm 0 gives zeros and infinity only measures. No
/// elements: the norm is 0. Nothing is added to the divisor, which is above max_norm and so never 0; PyTorch's
/// clip_grad_norm_ divides by norm + 1e-6 instead, which shrinks tiny gradients further.
///
/// Precision: squares neither overflow nor underflow, so finite gradients have the right norm: to 1e-6 of its value for
/// float and 16-bit gradients, to 1e-14 for double; the scaled norm is max_norm up to rounding. The factor is rounded
/// to double or, for float and 16 bits, float, and so is the product, a 16-bit one once more. Nothing is allocated but
/// for a pool's own scheduling; the same bits on any number of threads and at any alignment.
///
/// Source: Pascanu, Mikolov and Bengio 2013, On the difficulty of training recurrent neural networks, algorithm 1.
template <class Device, class... G>
double clip_grad_norm(const Device& device, double max_norm, ClipGradNormOptions options, G&&... gradients) {
  core::check_that(max_norm >= 0, "max_norm is ", max_norm, " but must be 0 or more");
  double norm = 0;
  if constexpr (core::accepted<core::fault_of_gradients<Device, G...>(), Device, G...>()) {
    core::NormPart total(options.norm_type);
    const auto measure = [&](const core::GradientBatch& batch, const core::Runner& runner) {
      batch.measure(runner, options.norm_type, total);
    };
    core::for_each_batch(device, measure, gradients...);
    norm = total.norm();
    if (!std::isfinite(norm) && options.error_if_nonfinite) core::fail_nonfinite(norm);
    if (!std::isfinite(norm) || norm <= max_norm) return norm;
    const core::Wide factor = static_cast<core::Wide>(max_norm) / static_cast<core::Wide>(norm);
    const auto scale = [&](const core::GradientBatch& batch, const core::Runner& runner) {
      batch.scale(runner, factor);
    };
    core::for_each_batch(device, scale, gradients...);
  }
  return norm;
}
/// The same with the 2-norm, and throwing when it is not finite.
template <class Device, class... G, class = std::enable_if_t<!std::is_arithmetic<Device>::value>>
double clip_grad_norm(const Device& device, double max_norm, G&&... gradients) {
  return clip_grad_norm(device, max_norm, ClipGradNormOptions(), std::forward<G>(gradients)...);
}
/// The same on the calling thread.
template <class... G>
double clip_grad_norm(double max_norm, ClipGradNormOptions options, G&&... gradients) {
  return clip_grad_norm(core::CallingThread(), max_norm, options, std::forward<G>(gradients)...);
}
template <class... G>
double clip_grad_norm(double max_norm, G&&... gradients) {
  return clip_grad_norm(core::CallingThread(), max_norm, ClipGradNormOptions(), std::forward<G>(gradients)...);
}

/// g = min(max(g, -value), value) for every element of all gradients, in place.
/// gradients: as clip_grad_norm takes them; in each, value is rounded to its scalar, and the largest finite one stands
/// for any value beyond. Throws std::invalid_argument when value is negative or NaN, with every gradient as it was. NaN
/// stays NaN, infinity becomes value; value 0 gives zeros with the signs of g and infinity changes nothing.
/// Nothing is allocated but for a pool's own scheduling; the same bits on any number of threads and at any alignment.
/// Source: PyTorch's clip_grad_value_.
template <class Device, class... G, class = std::enable_if_t<!std::is_arithmetic<Device>::value>>
void clip_grad_value(const Device& device, double value, G&&... gradients) {
  core::check_that(value >= 0, "value is ", value, " but must be 0 or more");
  if constexpr (core::accepted<core::fault_of_gradients<Device, G...>(), Device, G...>()) {
    if (std::isinf(value)) return;
    const auto clamp = [&](const core::GradientBatch& batch, const core::Runner& runner) {
      batch.clamp(runner, value);
    };
    core::for_each_batch(device, clamp, gradients...);
  }
}
template <class... G>
void clip_grad_value(double value, G&&... gradients) {
  clip_grad_value(core::CallingThread(), value, std::forward<G>(gradients)...);
}

}  // namespace tensornorm
