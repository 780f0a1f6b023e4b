// GradientRef: any gradient by reference, so that gradients of many types make one list.
#pragma once

#include <iterator>

#include "tensornorm/checked_call.hpp"
#include "tensornorm/core/clip/gradient.hpp"

namespace tensornorm {

class GradientRef;

namespace core {

template <class G>
constexpr bool kIsGradientRef = std::is_same<Bare<G>, GradientRef>::value;

// What is wrong with a gradient that is to be changed where it lies. What it has not is found in this order.
template <class G>
constexpr Fault fault_of_gradient() {
  if constexpr (kIsEigen<G>) {
    if (!kHasMemory<G>) return Fault::kGradientWithoutMemory;
    if (!is_writable<G>()) return Fault::kConstGradient;
    if (!kIsScalar<typename Traits<Bare<G>>::Scalar>) return Fault::kNoGradientScalar;
    if (Traits<Bare<G>>::rank >= Axes::kCapacity) return Fault::kHighRank;
    return std::is_lvalue_reference<G>::value || !kOwnsMemory<G> ? Fault::kNoFault : Fault::kTemporaryGradient;
  }
  return kIsGradientRef<G> ? Fault::kNoFault : fault_of_kind<G>();
}

template <class G>
Gradient gradient_of(G& gradient) {
  auto& g = core::as_eigen(gradient);
  const GradientOperations* const operations = &gradient_operations<typename Traits<G>::Scalar>();
  const Shape shape = shape_of(g);
  const Index size = shape.count();
  if constexpr (kIsView<G>) {
    check_that(lies_alike(shape, shape), "a gradient of extents ", shape, " is a view with gaps: ", span_of(shape),
               " elements from the first to the last");
  }
  if constexpr (kIsMatrix<G>) {
    if (!is_dense_matrix(g))
      return {g.data(), g.outerSize(), g.outerStride(), g.innerSize(), g.innerStride(), operations};
  }
  return {g.data(), 1, 0, size, 1, operations};
}

}  // namespace core

/// Refers to the memory of a gradient of any type: a `std::vector<GradientRef>` is the list of a model's gradients.
///
/// It holds a pointer and the extents of the moment, and is valid until the gradient is resized, moved or destroyed. It
/// allocates nothing and is cheap to copy.
class GradientRef {
 public:
  /// Refers to gradient: an Eigen::Tensor, TensorMap or TensorFixedSize of rank 0 to 15, or a matrix, array, map, ref
  /// or block with any strides, or an object of a class derived from one. Its scalar is float, double, Eigen::half or
  /// Eigen::bfloat16. Throws std::invalid_argument on extents that no tensor in memory has. An expression, a const
  /// gradient and a temporary that owns its memory are a static_assert.
  template <class G, class = std::enable_if_t<core::kIsEigen<G>>>
  GradientRef(G&& gradient) {  // NOLINT(google-explicit-constructor): a list is written as its gradients
    if constexpr (core::accepted<core::fault_of_gradient<G>(), G>()) gradient_ = core::gradient_of(gradient);
  }

  /// The number of elements.
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
constexpr bool is_walked_again() {
  using Iterator = Bare<decltype(std::begin(std::declval<List&>()))>;
  return std::is_base_of<std::forward_iterator_tag, typename IteratorConcept<Iterator>::Type>::value;
}

// What is wrong with an argument that is a gradient, a GradientRef or a range of either.
template <class G>
constexpr Fault fault_of_list() {
  using List = std::remove_reference_t<G>;
  if constexpr (is_list<G>())
    return is_walked_again<List>() ? fault_of_gradient<ElementOf<List>>() : Fault::kListOfOneWalk;
  return fault_of_gradient<G>();
}

template <class Device, class... G>
constexpr Fault fault_of_gradients() {
  return first_of({fault_of_device<Device>(), fault_of_list<G>()...});
}

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
