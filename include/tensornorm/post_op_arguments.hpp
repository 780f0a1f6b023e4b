// Outputs and gradients behind a post-op, as targets and pointers.
#pragma once

#include <cmath>
#include <limits>

#include "tensornorm/arguments.hpp"
#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/pass/post_op.hpp"
#include "tensornorm/core/pass/undo_post_op.hpp"
#include "tensornorm/core/staging.hpp"
#include "tensornorm/tensor_view.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

// @throws std::invalid_argument where nothing lies between the bounds
template <class Scalar>
PostOp<Scalar> post_op_of(const Clip& clip, void (*put)(const PostOp<Scalar>&, const NormalizedTile<Scalar>&)) {
  using T = ParamOf<Scalar>;
  constexpr double kMost = static_cast<double>((std::numeric_limits<T>::max)());
  const auto bound = [&](double v) {
    return v > kMost || v < -kMost ? std::copysign(std::numeric_limits<T>::infinity(), static_cast<T>(v > 0 ? 1 : -1))
                                   : static_cast<T>(v);
  };
  PostOp<Scalar> op;
  op.low = bound(clip.low);
  op.high = bound(clip.high);
  check_that(!is_nan(clip.low) && !is_nan(clip.high) && op.low < op.high, "a clip between ", clip.low, " and ",
             clip.high, ": the first must be less");
  op.put = put;
  return op;
}

// An output behind a clip.
template <class Y, class Op>
class ThenOutput final : public Output<Y> {
  using Scalar = typename Traits<Y>::Scalar;

 public:
  ThenOutput(const Then<Y, Op>& then, const char* name)
      : Output<Y>(then.tensor, name), op_(post_op_of<Scalar>(then.op, &put_clipped<Scalar>)) {
    this->post_op_ = &op_;
  }

 private:
  PostOp<Scalar> op_;
};

// An output that is a product.
template <class Y, class Z>
class ThenOutput<Y, Times<Z>> final : public Output<Y> {
  using Scalar = typename Traits<Y>::Scalar;

 public:
  ThenOutput(const Then<Y, Times<Z>>& then, const char* name) : Output<Y>(then.tensor, name), in_(then.op.z) {
    op_.put = &put_product<Scalar>;
    this->post_op_ = &op_;
  }
  const Input<Z>& z() const { return in_; }

 private:
  void check_extents() override {
    Output<Y>::check_extents();
    check_that(same_extents(in_.shape(), this->shape_), "z has extents ", in_.shape(), " but a factor of ",
               this->shape_, " needs the same");
    this->check_overlap(in_.data(), in_.shape(), "z");
    copies_.restart();
    op_.z = staged_input(in_.data(), in_.shape(), this->shape_, copies_);
  }

  Input<Z> in_;
  CopyMemory<Scalar> copies_;
  PostOp<Scalar> op_;
};

template <class Y>
struct OutputFor {
  using Type = Output<Y>;
};
template <class Y, class Op>
struct OutputFor<Then<Y, Op>> {
  using Type = ThenOutput<Y, Op>;
};
// What a call writes to, for an output as it has it.
template <class Y>
using OutputOf = typename OutputFor<std::conditional_t<ThenTraits<Y>::is_then, Bare<Y>, Y>>::Type;

// dy as a call has it: a tensor,
template <class DY>
class GradientInput {
  using Scalar = typename Traits<DY>::Scalar;

 public:
  explicit GradientInput(const DY& dy) : in_(dy) {}
  OutputGradient<Scalar> get() { return {in_.data(), in_.shape()}; }

 private:
  Input<DY> in_;
};
// or one behind a clip,
template <class DY>
class GradientInput<Then<DY, Clip>> {
  using Scalar = typename Traits<DY>::Scalar;

 public:
  explicit GradientInput(const Then<DY, Clip>& then) : in_(then.tensor) {
    gradient_.op = post_op_of<Scalar>(then.op, &put_clip_gradient<Scalar>);
    gradient_.undo = &undo_post_op<Scalar>;
  }
  OutputGradient<Scalar> get() { return {in_.data(), in_.shape(), &gradient_}; }

 private:
  Input<std::remove_const_t<DY>> in_;
  PostOpGradient<Scalar> gradient_;
};
// or one of a product.
template <class DY, class Z, class DZ>
class GradientInput<Then<DY, TimesGradient<Z, DZ>>> {
  using Scalar = typename Traits<DY>::Scalar;
  struct NoOutput {
    NoOutput(const None&, const char*) {}
  };

 public:
  explicit GradientInput(const Then<DY, TimesGradient<Z, DZ>>& then)
      : in_(then.tensor), z_(then.op.z), dz_(then.op.dz, "dz") {
    gradient_.op.put = &put_product_gradient<Scalar>;
    gradient_.undo = &undo_post_op<Scalar>;
    gradient_.multiply = &multiply<Scalar>;
    gradient_.z = z_.data();
    gradient_.z_shape = &z_.shape();
    if constexpr (!kIsNone<DZ>) gradient_.dz = &dz_;
  }
  OutputGradient<Scalar> get() { return {in_.data(), in_.shape(), &gradient_}; }

 private:
  Input<std::remove_const_t<DY>> in_;
  Input<Z> z_;
  std::conditional_t<kIsNone<DZ>, NoOutput, Output<DZ>> dz_;
  PostOpGradient<Scalar> gradient_;
};

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
