// RepeatedForward: a forward or infer that may repeat an earlier one, of tensors that all lie alike.
#pragma once

#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/pass/residual.hpp"
#include "tensornorm/core/post_op.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

template <class Scalar>
struct RepeatedForward {
  const Scalar* x;  // of a sum, its h
  Scalar* y;
  const PostOp<Scalar>* post_op = nullptr;     // null: none
  const Residual<Scalar>* residual = nullptr;  // null: none

  bool is_fused() const { return post_op != nullptr || residual != nullptr; }

  // Whether the tensors, with so many elements from the first to the last, share only the memory that they may.
  bool may_share(Index span) const { return is_fused() ? may_share_all(span) : are_same_or_apart(x, y, span); }

 private:
  __attribute__((noinline)) bool may_share_all(Index span) const {
    const auto fit = [&](const Scalar* a, const Scalar* b) { return are_same_or_apart(a, b, span); };
    const Scalar* const z = post_op == nullptr ? nullptr : post_op->z;
    if (z != nullptr && !fit(z, y)) return false;
    if (residual == nullptr) return fit(x, y);
    const bool is_kept = x != y && x != z && fit(x, y) && (z == nullptr || fit(x, z));
    return is_kept && fit(residual->a, x) && fit(residual->b, x) && fit(residual->a, y) && fit(residual->b, y);
  }
};

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
