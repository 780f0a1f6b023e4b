// GradientRef: any gradient by reference, so that gradients of many types make one list.
#pragma once

#include <iterator>

#include "tensornorm/core/gradient.hpp"
#include "tensornorm/tensor_view.hpp"

namespace tensornorm {

class GradientRef;

namespace core {

template <class S>
constexpr bool kIsScalar = std::is_same<S, float>::value || std::is_same<S, double>::value ||
                           std::is_same<S, Eigen::half>::value || std::is_same<S, Eigen::bfloat16>::value;

// Whether G, as a forwarding reference has it, is a tensor or matrix that can be changed where it lies. What it has not
// is asserted in this order, and then nothing else.
template <class G>
struct CheckedGradient {
  using Type = std::remove_reference_t<G>;
  static constexpr bool is_eigen = kIsTensor<G> || kIsMatrix<G>;
  static constexpr bool has_memory = !is_eigen || IsDenseTensor<Bare<G>>::value || kIsDirectMatrix<G>;

  static constexpr bool writable() {
    if constexpr (!is_eigen || !has_memory) return true;
    if constexpr (std::is_const<Type>::value) return false;
    if constexpr (kIsMatrix<G>) return kIsWritableMatrix<G>;
    if constexpr (IsDenseTensor<Bare<G>>::value)
      return !std::is_const<std::remove_pointer_t<decltype(std::declval<Type&>().data())>>::value;
    return true;
  }
  static constexpr bool scalar_known() {
    if constexpr (is_eigen) return kIsScalar<typename Traits<Bare<G>>::Scalar>;
    return true;
  }
  static constexpr bool owns = IsOwningTensor<Bare<G>>::value || IsOwningMatrix<Bare<G>>::value;
  static constexpr bool stays = std::is_lvalue_reference<G>::value || !owns;

  static constexpr bool ok = is_eigen && has_memory && writable() && scalar_known() && stays;
  static_assert(is_eigen,
                "tensornorm: a gradient is an Eigen tensor, matrix or array, a GradientRef or a range of them");
  static_assert(has_memory, "tensornorm: the gradient is an expression without memory of its own: evaluate it first");
  static_assert(writable(), "tensornorm: the gradient is const");
  static_assert(scalar_known(), "tensornorm: a gradient's scalar is float, double, Eigen::half or Eigen::bfloat16");
  static_assert(stays || !writable(), "tensornorm: the gradient is a temporary and would be gone: name it first");
};

template <class G>
Gradient gradient_of(G& g) {
  const GradientOperations* const operations = &kGradientOperations<typename Traits<Bare<G>>::Scalar>;
  if constexpr (kIsMatrix<G>) {
    if (!is_dense_matrix(g))
      return {g.data(), g.outerSize(), g.outerStride(), g.innerSize(), g.innerStride(), operations};
  }
  return {g.data(), 1, 0, static_cast<Index>(g.size()), 1, operations};
}

template <class X, class = void>
struct IsRange : std::false_type {};
template <class X>
struct IsRange<X, std::void_t<decltype(std::begin(std::declval<X&>())), decltype(std::end(std::declval<X&>()))>>
    : std::true_type {};

template <class G>
constexpr bool kIsGradientRef = std::is_same<Bare<G>, GradientRef>::value;

}  // namespace core

/// Refers to a gradient's memory, whatever its type: a `std::vector<GradientRef>` is a model's list of gradients.
/// From an Eigen::Tensor, TensorMap or TensorFixedSize of any rank and layout, or a matrix, array, map, ref or block
/// with any strides; its scalar is float, double, Eigen::half or Eigen::bfloat16. An expression, a const gradient and a
/// temporary that owns its memory fail as one static_assert. Holds a pointer and the extents of the moment: valid until
/// the gradient is resized, moved or destroyed. Cheap to copy; allocates nothing.
class GradientRef {
 public:
  template <class G, class = std::enable_if_t<core::kIsTensor<G> || core::kIsMatrix<G>>>
  GradientRef(G&& gradient) {  // NOLINT(google-explicit-constructor): a list is written as its gradients
    if constexpr (core::CheckedGradient<G>::ok) gradient_ = core::gradient_of(gradient);
  }

  Index size() const { return gradient_.size(); }

 private:
  friend const core::Gradient& gradient_in(const GradientRef& ref) { return ref.gradient_; }

  core::Gradient gradient_{};
};

namespace core {

// Whether an argument is a gradient, a GradientRef or a range of either.
template <class G>
constexpr bool are_gradients() {
  if constexpr (kIsGradientRef<G>) {
    return true;
  } else if constexpr (!kIsTensor<G> && !kIsMatrix<G> && IsRange<std::remove_reference_t<G>>::value) {
    using Element = decltype(*std::begin(std::declval<std::remove_reference_t<G>&>()));
    if constexpr (kIsGradientRef<Element>)
      return true;
    else
      return CheckedGradient<Element>::ok;
  } else {
    return CheckedGradient<G>::ok;
  }
}

template <class G>
void for_each_gradient(G& gradients, FunctionRef<void(const Gradient&)> use) {
  if constexpr (kIsGradientRef<G>) {
    use(gradient_in(gradients));
  } else if constexpr (kIsTensor<G> || kIsMatrix<G>) {
    use(gradient_of(gradients));
  } else {
    for (auto&& gradient : gradients) for_each_gradient(gradient, use);
  }
}

}  // namespace core
}  // namespace tensornorm
