// The tensors of a call that may be repeated, as pointers. Each class says whether its tensors have one shape and its
// strides.
#pragma once

#include "tensornorm/arguments.hpp"
#include "tensornorm/core/pass/post_op.hpp"
#include "tensornorm/core/pass/residual.hpp"
#include "tensornorm/post_op_arguments.hpp"
#include "tensornorm/tensor_view.hpp"

namespace tensornorm {
namespace core {

// Whether tensors are read and written where they lie.
template <class Scalar, class... Tensors>
constexpr bool kHaveMemory = ((kHasMemory<Tensors> && std::is_same<typename Traits<Tensors>::Scalar, Scalar>::value) &&
                              ...);

template <class... Tensors>
bool have_shape(const Shape& shape, const Tensors&... tensors) {
  return (core::has_shape(core::as_eigen(tensors), shape) && ...);
}

// x: a tensor,
template <class Scalar, class X>
class RepeatedInput {
 public:
  static constexpr bool kMayRepeat = kHaveMemory<Scalar, X>;

  explicit RepeatedInput(const X& x) : x_(x) {}
  Shape shape() const { return core::unchecked_shape(core::as_eigen(x_)); }
  bool has_shape(const Shape& shape) const { return core::have_shape(shape, x_); }
  static bool others_have_shape(const Shape&) { return true; }  // all but what shape() is of
  const Scalar* data() const { return core::as_eigen(x_).data(); }
  static const Residual<Scalar>* residual() { return nullptr; }

 private:
  const X& x_;
};
// or a sum that is kept.
template <class Scalar, class X, class R, class H>
class RepeatedInput<Scalar, KeptSum<X, R, H>> {
 public:
  static constexpr bool kMayRepeat = kHaveMemory<Scalar, X, R, H> && core::is_writable<H>();

  explicit RepeatedInput(const KeptSum<X, R, H>& x)
      : x_(x), residual_{core::as_eigen(x.x).data(), core::as_eigen(x.r).data(), core::as_eigen(x.h).data(),
                         &core::add_tile<Scalar>} {}
  Shape shape() const { return core::unchecked_shape(core::as_eigen(x_.x)); }
  bool has_shape(const Shape& shape) const { return core::have_shape(shape, x_.x, x_.r, x_.h); }
  bool others_have_shape(const Shape& shape) const { return core::have_shape(shape, x_.r, x_.h); }
  const Scalar* data() const { return residual_.h; }
  const Residual<Scalar>* residual() const { return &residual_; }

 private:
  const KeptSum<X, R, H>& x_;
  Residual<Scalar> residual_;
};

// y: a tensor,
template <class Scalar, class Y>
class RepeatedOutput {
 public:
  static constexpr bool kMayRepeat = kHaveMemory<Scalar, Y> && core::is_writable<Y>();

  explicit RepeatedOutput(Y& y) : y_(y) {}
  bool has_shape(const Shape& shape) const { return core::have_shape(shape, y_); }
  Scalar* data() const { return core::as_eigen(y_).data(); }
  static const PostOp<Scalar>* post_op() { return nullptr; }

 private:
  Y& y_;
};
// one behind a clip,
template <class Scalar, class Y>
class RepeatedOutput<Scalar, Then<Y, Clip>> : public RepeatedOutput<Scalar, Y> {
 public:
  explicit RepeatedOutput(const Then<Y, Clip>& y)
      : RepeatedOutput<Scalar, Y>(y.tensor), op_(post_op_of<Scalar>(y.op, &put_clipped<Scalar>)) {}
  const PostOp<Scalar>* post_op() const { return &op_; }

 private:
  PostOp<Scalar> op_;
};
// or a product.
template <class Scalar, class Y, class Z>
class RepeatedOutput<Scalar, Then<Y, Times<Z>>> : public RepeatedOutput<Scalar, Y> {
 public:
  static constexpr bool kMayRepeat = RepeatedOutput<Scalar, Y>::kMayRepeat && kHaveMemory<Scalar, Z>;

  explicit RepeatedOutput(const Then<Y, Times<Z>>& y) : RepeatedOutput<Scalar, Y>(y.tensor), z_(y.op.z) {
    op_.z = core::as_eigen(z_).data();
    op_.put = &put_product<Scalar>;
  }
  bool has_shape(const Shape& shape) const {
    return RepeatedOutput<Scalar, Y>::has_shape(shape) && core::have_shape(shape, z_);
  }
  const PostOp<Scalar>* post_op() const { return &op_; }

 private:
  const Z& z_;
  PostOp<Scalar> op_;
};

template <class Scalar, class Y>
using RepeatedOutputOf = RepeatedOutput<Scalar, std::conditional_t<ThenTraits<Y>::is_then, std::remove_const_t<Y>, Y>>;

}  // namespace core
}  // namespace tensornorm
