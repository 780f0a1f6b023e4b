// GradientRef: any gradient by reference, so that gradients of many types make one list.
#pragma once

#include <iterator>

#include "tensornorm/checked_call.hpp"
#include "tensornorm/core/gradient.hpp"

namespace tensornorm {

class GradientRef;

namespace core {

template <class S>
constexpr bool kIsScalar = std::is_same<S, float>::value || std::is_same<S, double>::value ||
                           std::is_same<S, Eigen::half>::value || std::is_same<S, Eigen::bfloat16>::value;

// Whether a tensor or matrix G, as a forwarding reference has it, can be changed where it lies. What it has not is
// asserted in this order, and then nothing else.
template <class G>
struct CheckedGradient {
  static constexpr bool has_memory = kHasMemory<G>, writable = is_writable<G>();
  static constexpr bool known = kIsScalar<typename Traits<G>::Scalar>, fits = Traits<G>::rank < Axes::kCapacity;
  static constexpr bool stays = std::is_lvalue_reference<G>::value || !kOwnsMemory<G>;
  static constexpr bool value = writable && known && fits && stays;
  static_assert(has_memory, "tensornorm: the gradient is an expression without memory of its own: evaluate it first");
  static_assert(writable || !has_memory, "tensornorm: the gradient is const: give one that can be written to");
  static_assert(known || !writable,
                "tensornorm: a gradient's scalar is float, double, Eigen::half or Eigen::bfloat16: cast it to one");
  static_assert(fits || !known || !writable, "tensornorm: gradients have a rank of at most 15: reshape it");
  static_assert(stays || !fits || !known || !writable,
                "tensornorm: the gradient is a temporary and would be gone: name it first");
};

template <class G>
Gradient gradient_of(G& gradient) {
  auto& g = core::as_eigen(gradient);
  const GradientOperations* const operations = &kGradientOperations<typename Traits<G>::Scalar>;
  const Index size = shape_of(g).count();
  if constexpr (kIsMatrix<G>) {
    if (!is_dense_matrix(g))
      return {g.data(), g.outerSize(), g.outerStride(), g.innerSize(), g.innerStride(), operations};
  }
  return {g.data(), 1, 0, size, 1, operations};
}

template <class G>
constexpr bool kIsGradientRef = std::is_same<Bare<G>, GradientRef>::value;

}  // namespace core

/// Refers to a gradient's memory, whatever its type: a `std::vector<GradientRef>` is a model's list of gradients.
/// From an Eigen::Tensor, TensorMap or TensorFixedSize of a rank of at most 15 and any layout, or a matrix, array, map,
/// ref or block with any strides, or what derives from one; its scalar is float, double, Eigen::half or
/// Eigen::bfloat16. An expression, a const gradient and a temporary that owns its memory fail as one static_assert;
/// extents that no tensor in memory has throw std::invalid_argument. Holds a pointer and the extents of the moment:
/// valid until the gradient is resized, moved or destroyed. Cheap to copy; allocates nothing.
class GradientRef {
 public:
  template <class G, class = std::enable_if_t<core::kIsEigen<G>>>
  GradientRef(G&& gradient) {  // NOLINT(google-explicit-constructor): a list is written as its gradients
    if constexpr (core::CheckedGradient<G>::value) gradient_ = core::gradient_of(gradient);
  }

  Index size() const { return gradient_.size(); }

 private:
  friend const core::Gradient& gradient_in(const GradientRef& ref) { return ref.gradient_; }

  core::Gradient gradient_{};
};

namespace core {

template <class Range>
using ElementOf = decltype(*std::begin(std::declval<Range&>()));

// A range of numbers is no list of gradients.
template <class G>
constexpr bool is_list() {
  using Range = std::remove_reference_t<G>;
  if constexpr (!kIsEigen<G> && IsRange<Range>::value) return !std::is_arithmetic<Bare<ElementOf<Range>>>::value;
  return false;
}

// What an iterator says of itself: its C++20 concept, else its category, else nothing.
template <class Iterator, class = void>
struct IteratorCategory {
  using Type = void;
};
template <class Iterator>
struct IteratorCategory<Iterator, std::void_t<typename std::iterator_traits<Iterator>::iterator_category>> {
  using Type = typename std::iterator_traits<Iterator>::iterator_category;
};
template <class Iterator, class = void>
struct IteratorConcept : IteratorCategory<Iterator> {};
template <class Iterator>
struct IteratorConcept<Iterator, std::void_t<typename Iterator::iterator_concept>> {
  using Type = typename Iterator::iterator_concept;
};

template <class List>
struct CheckedList {
  using Iterator = Bare<decltype(std::begin(std::declval<List&>()))>;
  static constexpr bool value =
      std::is_base_of<std::forward_iterator_tag, typename IteratorConcept<Iterator>::Type>::value;
  static_assert(value,
                "tensornorm: a range of gradients is walked twice, but its iterators are not forward iterators: copy "
                "it to a std::vector<tensornorm::GradientRef> first");
};

// Whether an argument is a gradient, a GradientRef or a range of either.
template <class G>
struct CheckedElement : std::conditional_t<kIsGradientRef<G>, std::true_type,
                                           std::conjunction<CheckedKind<Bare<G>>, CheckedGradient<G>>> {};
template <class G, bool is_list = is_list<G>()>
struct CheckedGradients : CheckedElement<G> {};
template <class G>
struct CheckedGradients<G, true>
    : std::conjunction<CheckedList<std::remove_reference_t<G>>, CheckedElement<ElementOf<std::remove_reference_t<G>>>> {
};

template <class G>
void for_each_gradient(G& gradients, FunctionRef<void(const Gradient&)> use) {
  if constexpr (kIsGradientRef<G>) {
    use(gradient_in(gradients));
  } else if constexpr (kIsEigen<G>) {
    use(gradient_of(gradients));
  } else {
    for (auto&& gradient : gradients) for_each_gradient(gradient, use);
  }
}

}  // namespace core
}  // namespace tensornorm
