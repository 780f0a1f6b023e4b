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
/// gamma and beta are tensors, matrices, maps or views of Param, which is double beside tensors of double, else float.
/// They have one of two forms. Either they have the extents of a layer's parameters, or are a vector of as many values.
/// Or they have the rank of x and extents that are x's or 1, as NumPy broadcasts: a scale and a shift for each sample,
/// token or frame. What has both forms, such as a gamma of all of x's extents, broadcasts. beta lies as gamma does.
/// kNone is an absent parameter; there is no beta without gamma. plus_one(scale) is 1 + scale.
///
/// Beside 16-bit tensors, gamma, beta, their gradients and running statistics may each have the 16 bits of x, as
/// checkpoints do. They are read as floats, into memory of the Pass. What is written is computed in float and rounded
/// once, a sum of add_to() too.
///
/// A Pass keeps what backward needs, and which function it was. Backward wants the x, the gamma and the pass of its
/// forward; dgamma and dbeta get
/// the extents of gamma. Outputs that are kNone are not computed, and add_to(dx) is added to. Post-ops are those of the
/// layers: `layer_norm(x, gamma, beta, eps, then_relu(y), pass)`, `layer_norm_backward(x, then_relu(dy), gamma, pass,
/// dx, dgamma, dbeta)`. Such a forward keeps a copy of beta in the pass; where a forward had a beta and no post-op,
/// backward takes none.
///
/// No output may lie where a parameter does, or another output: this is not found.
///
/// Errors: std::invalid_argument with the extents that disagree, and std::bad_alloc; outputs are then as before. What
/// the compiler can see is a static_assert. Memory: with a Pass, the second and later calls with one shape allocate
/// nothing, but to evaluate expressions, to resize outputs, and to copy a z that does not lie as y. Without a Pass,
/// also for copies of tensors beyond 24 KB, for copies of parameters with gaps, of 16 bits and of plus_one, and in the
/// first call.
#pragma once

#include "tensornorm/requirements.hpp"

#include <vector>

#include "tensornorm/function_call.hpp"
#include "tensornorm/group_norm.hpp"

namespace tensornorm {

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

/// Unit normalization of the last axis, as UnitNorm.
template <class X, class Y>
void unit_norm(const X& x, double eps, Y&& y) {
  core::call_function(core::CallingThread(), x, kNone, kNone, eps, y, core::UnitRule());
}
/// The same on a device.
template <class Device, class X, class Y>
void unit_norm(const Device& device, const X& x, double eps, Y&& y) {
  core::call_function(device, x, kNone, kNone, eps, y, core::UnitRule());
}
/// The same, with a Pass for unit_norm_backward.
template <class X, class Y, class Scalar>
void unit_norm(const X& x, double eps, Y&& y, Pass<Scalar>& pass) {
  core::call_function(core::CallingThread(), x, kNone, kNone, eps, y, pass, core::UnitRule());
}
/// The same on a device, with a Pass.
template <class Device, class X, class Y, class Scalar>
void unit_norm(const Device& device, const X& x, double eps, Y&& y, Pass<Scalar>& pass) {
  core::call_function(device, x, kNone, kNone, eps, y, pass, core::UnitRule());
}
/// The gradient of unit_norm.
template <class X, class DY, class Scalar, class DX>
void unit_norm_backward(const X& x, const DY& dy, Pass<Scalar>& pass, DX&& dx) {
  core::call_backward(core::CallingThread(), x, dy, kNone, pass, dx, kNone, kNone);
}
/// The same on a device.
template <class Device, class X, class DY, class Scalar, class DX>
void unit_norm_backward(const Device& device, const X& x, const DY& dy, Pass<Scalar>& pass, DX&& dx) {
  core::call_backward(device, x, dy, kNone, pass, dx, kNone, kNone);
}

/// Group normalization, as GroupNorm: axes 0 and 1 are batch and channels, or as GroupNormOptions say, in the place of
/// eps.
template <class X, class G, class B, class Y>
void group_norm(const X& x, Index groups, const G& gamma, const B& beta, const ChannelOptions& options, Y&& y) {
  core::call_function(core::CallingThread(), x, gamma, beta, options.eps, y,
                      core::GroupRule{groups, options.channel_axis});
}
/// The same on a device.
template <class Device, class X, class G, class B, class Y>
void group_norm(const Device& device, const X& x, Index groups, const G& gamma, const B& beta,
                const ChannelOptions& options, Y&& y) {
  core::call_function(device, x, gamma, beta, options.eps, y, core::GroupRule{groups, options.channel_axis});
}
/// The same, with a Pass for group_norm_backward.
template <class X, class G, class B, class Y, class Scalar>
void group_norm(const X& x, Index groups, const G& gamma, const B& beta, const ChannelOptions& options, Y&& y,
                Pass<Scalar>& pass) {
  core::call_function(core::CallingThread(), x, gamma, beta, options.eps, y, pass,
                      core::GroupRule{groups, options.channel_axis});
}
/// The same on a device, with a Pass.
template <class Device, class X, class G, class B, class Y, class Scalar>
void group_norm(const Device& device, const X& x, Index groups, const G& gamma, const B& beta,
                const ChannelOptions& options, Y&& y, Pass<Scalar>& pass) {
  core::call_function(device, x, gamma, beta, options.eps, y, pass, core::GroupRule{groups, options.channel_axis});
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
  core::call_function(core::CallingThread(), x, gamma, beta, options.eps, y, core::InstanceRule{options.channel_axis});
}
/// The same on a device.
template <class Device, class X, class G, class B, class Y>
void instance_norm(const Device& device, const X& x, const G& gamma, const B& beta, const ChannelOptions& options,
                   Y&& y) {
  core::call_function(device, x, gamma, beta, options.eps, y, core::InstanceRule{options.channel_axis});
}
/// The same, with a Pass for instance_norm_backward.
template <class X, class G, class B, class Y, class Scalar>
void instance_norm(const X& x, const G& gamma, const B& beta, const ChannelOptions& options, Y&& y,
                   Pass<Scalar>& pass) {
  core::call_function(core::CallingThread(), x, gamma, beta, options.eps, y, pass,
                      core::InstanceRule{options.channel_axis});
}
/// The same on a device, with a Pass.
template <class Device, class X, class G, class B, class Y, class Scalar>
void instance_norm(const Device& device, const X& x, const G& gamma, const B& beta, const ChannelOptions& options,
                   Y&& y, Pass<Scalar>& pass) {
  core::call_function(device, x, gamma, beta, options.eps, y, pass, core::InstanceRule{options.channel_axis});
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
