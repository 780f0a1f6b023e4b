// What may stand for a tensor in a call: nothing, one that is added to, a sum that is kept, or one behind a post-op.
#pragma once

#include <limits>
#include <type_traits>

#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/tensor_type.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {

/// The type of kNone.
struct None {};
/// In the place of a parameter that is absent, or of an output that is not wanted: its work is not done.
constexpr None kNone{};

/// An output that is added to; made by add_to().
template <class Y>
struct AddTo {
  Y& tensor;  ///< What is added to.
};
/// An output to which the result is added: for residual streams and micro-batches. It refers to tensor, which must have
/// its extents already. The sum is rounded. What is first written to other memory is rounded there too: gradients of
/// parameters, dx of Whitening, and tensors that lie differently.
template <class Y>
AddTo<Y> add_to(Y& tensor) {
  return {tensor};
}
/// The same for a map, a block or a view that is made in the call.
template <class Y, class = std::enable_if_t<!core::kOwnsMemory<Y>>>
AddTo<Y> add_to(const Y& tensor) {
  return {const_cast<Y&>(tensor)};  // what is const of it is not the memory
}

/// An input that is a sum, which is kept; made by add().
template <class X, class R, class H>
struct KeptSum {
  const X& x;  ///< One part.
  const R& r;  ///< The other part.
  H& h;        ///< Where their sum goes.
};
/// The input h = x + r, rounded once to the scalar and kept, of a layer that then normalizes it: a residual connection.
/// `norm.forward(add(x, r, h), y)` and `norm.infer(add(x, r, h), y)`, of every layer but Whitening, read x and r once.
/// It refers to all three, which must outlive the call.
///
/// r has the extents of x: else the call throws std::invalid_argument. h is an output as y is; it may be x or r, and y
/// may be x or r but not h. Where all lie alike nothing is copied.
template <class X, class R, class H>
KeptSum<X, R, H> add(const X& x, const R& r, H& h) {
  return {x, r, h};
}
/// The same for a map, a block or a view that is made in the call.
template <class X, class R, class H, class = std::enable_if_t<!core::kOwnsMemory<H>>>
KeptSum<X, R, H> add(const X& x, const R& r, const H& h) {
  return {x, r, const_cast<H&>(h)};  // what is const of it is not the memory
}

/// A tensor behind a post-op: a clip of a layer's result, or its product with another tensor. Made by then_relu(),
/// then_clip() and then_times().
template <class Y, class Op>
struct Then {
  Y& tensor;  ///< What is stored, or its gradient.
  Op op;      ///< A core::Clip, core::Times or core::TimesGradient.
};

namespace core {

struct Clip {
  double low, high;
};
template <class Z>
struct Times {
  const Z& z;
};
template <class Z, class DZ>
struct TimesGradient {
  const Z& z;
  DZ& dz;
};

}  // namespace core

/// A result that is clipped before it is stored, and rounded: y = min(max(norm(x), low), high), in the place of y in
/// forward and infer of every layer but Whitening and of the functions. NaN stays.
///
/// In the place of dy in backward it is the gradient of such a y: `norm.forward(x, then_clip(y, 0, 6))`,
/// `norm.backward(x, then_clip(dy, 0, 6), dx)`. Backward computes the result again, and takes dy where it lies between
/// low and high, else 0. A result that is NaN or infinite has no gradient, whatever the bounds. Where the mode was
/// eval, it is the result of the running statistics that the last forward used. Backward keeps memory of the size of x
/// for the gradient of the result, unless dx can hold it: in train mode, where x, dy and dx lie alike and without gaps.
///
/// gamma and beta must be those of the forward. Backward of a function is not told beta: the forward with a Pass and
/// behind a post-op, any of the three, keeps a copy of it. It refers to the tensor. Throws std::invalid_argument when
/// low is not less than high, or NaN, and in backward of a function whose forward had a beta and no post-op.
template <class Y>
Then<Y, core::Clip> then_clip(Y& tensor, double low, double high) {
  return {tensor, {low, high}};
}
/// The same for a map, a block, a view or, as a gradient, an expression that is made in the call.
template <class Y, class = std::enable_if_t<!core::kOwnsMemory<Y>>>
Then<Y, core::Clip> then_clip(const Y& tensor, double low, double high) {
  return {const_cast<Y&>(tensor), {low, high}};  // what is const of it is not the memory
}

/// A rectified result, y = max(norm(x), 0): then_clip between 0 and infinity.
template <class Y>
Then<Y, core::Clip> then_relu(Y& tensor) {
  return then_clip(tensor, 0, std::numeric_limits<double>::infinity());
}
/// The same for a map, a block, a view or, as a gradient, an expression that is made in the call.
template <class Y, class = std::enable_if_t<!core::kOwnsMemory<Y>>>
Then<Y, core::Clip> then_relu(const Y& tensor) {
  return then_clip(tensor, 0, std::numeric_limits<double>::infinity());
}

/// A gated result, y = norm(x) * z, in the place of y as then_clip(). z has the extents of x. It is copied if it does
/// not lie as y; y may be z.
template <class Y, class Z>
Then<Y, core::Times<Z>> then_times(Y& y, const Z& z) {
  return {y, {z}};
}
/// The same for a map, a block or a view that is made in the call.
template <class Y, class Z, class = std::enable_if_t<!core::kOwnsMemory<Y>>>
Then<Y, core::Times<Z>> then_times(const Y& y, const Z& z) {
  return {const_cast<Y&>(y), {z}};  // what is const of it is not the memory
}
/// The gradient dy of a gated result, in the place of dy in backward as then_clip(), and dz = dy * norm(x), that of z.
/// kNone in the place of dz spares its work. dz may be dy or z, and not x. dx may be z too. Where a call fails for want
/// of memory, dx may have its new extents already.
template <class DY, class Z, class DZ>
Then<const DY, core::TimesGradient<Z, DZ>> then_times(const DY& dy, const Z& z, DZ& dz) {
  return {dy, {z, dz}};
}
/// The same for a dz that is a map, a block or a view made in the call.
template <class DY, class Z, class DZ, class = std::enable_if_t<!core::kOwnsMemory<DZ>>>
Then<const DY, core::TimesGradient<Z, DZ>> then_times(const DY& dy, const Z& z, const DZ& dz) {
  return {dy, {z, const_cast<DZ&>(dz)}};  // what is const of it is not the memory
}

namespace core {

// What a tensor behind a post-op is: `Tensor`, and the Z of a product or None. Anything else is a tensor itself.
template <class Y, class Bare>
struct ThenTraitsOf {
  using Tensor = Y;
  using Z = None;
  using DZ = None;
  static constexpr bool is_then = false, is_product = false, is_gradient = false;
};
template <class Y, class T>
struct ThenTraitsOf<Y, Then<T, Clip>> : ThenTraitsOf<T, T> {
  static constexpr bool is_then = true;
};
template <class Y, class T, class Z_>
struct ThenTraitsOf<Y, Then<T, Times<Z_>>> : ThenTraitsOf<Y, Then<T, Clip>> {
  using Z = Z_;
  static constexpr bool is_product = true;
};
template <class Y, class T, class Z_, class DZ_>
struct ThenTraitsOf<Y, Then<T, TimesGradient<Z_, DZ_>>> : ThenTraitsOf<Y, Then<T, Times<Z_>>> {
  using DZ = DZ_;
  static constexpr bool is_gradient = true;
};
template <class Y>
using ThenTraits = ThenTraitsOf<Y, std::remove_cv_t<std::remove_reference_t<Y>>>;
template <class Y>
using TensorOf = typename ThenTraits<Y>::Tensor;

template <class T>
struct IsKeptSum : std::false_type {};
template <class X, class R, class H>
struct IsKeptSum<KeptSum<X, R, H>> : std::true_type {};
template <class T>
constexpr bool kIsKeptSum = IsKeptSum<std::remove_cv_t<std::remove_reference_t<T>>>::value;

template <class T>
constexpr bool kIsNone = std::is_same<std::remove_cv_t<std::remove_reference_t<T>>, None>::value;

// The tensor of an output, and whether it is added to.
template <class Y>
struct Added {
  using Type = std::remove_reference_t<Y>;
  static constexpr bool adds = false;
  static Type& of(Type& y) { return y; }
};
template <class Y>
struct AddedTo {
  using Type = Y;
  static constexpr bool adds = true;
  static Type& of(const AddTo<Y>& y) { return y.tensor; }
};
template <class Y>
struct Added<AddTo<Y>> : AddedTo<Y> {};
template <class Y>
struct Added<const AddTo<Y>> : AddedTo<Y> {};
template <class Y>
struct Added<AddTo<Y>&> : AddedTo<Y> {};
template <class Y>
struct Added<const AddTo<Y>&> : AddedTo<Y> {};

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
