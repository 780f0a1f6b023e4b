// What may stand for a tensor in a call: nothing, one that is added to, or a sum that is kept.
#pragma once

#include "tensornorm/tensor_type.hpp"

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
/// An output to which the result is added, once it is rounded to the output's scalar: for residual streams and
/// micro-batches. It refers to tensor, which must have its extents already.
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
/// `norm.forward(add(x, r, h), y)` and `norm.infer(add(x, r, h), y)`, of every layer but Whitening and AnyNorm, read x
/// and r once. It refers to all three, which must outlive the call.
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

namespace core {

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
