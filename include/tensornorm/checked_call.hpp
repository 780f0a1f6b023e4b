// What the compiler can see to be wrong in a call, as one readable error.
#pragma once

#include <tuple>

#include "tensornorm/tensor_view.hpp"

namespace tensornorm {
namespace core {

// Whether a call's arguments make sense to the compiler. The assertions are a class's, so that they come first and,
// with the call behind `if constexpr`, alone.
template <class Scalar, class X>
struct CheckedArgument {
  using Argument = Traits<Bare<X>>;
  static constexpr bool same_scalar = std::is_same<typename Argument::Scalar, Scalar>::value;
  static constexpr bool ok = same_scalar && Argument::rank > 0 && Argument::rank < Axes::kCapacity;
  static_assert(same_scalar, "tensornorm: the argument's scalar type is not the layer's: cast one to the other");
  static_assert(Argument::rank > 0, "tensornorm: a tensor of rank 0 has nothing to normalize over");
  static_assert(Argument::rank < Axes::kCapacity, "tensornorm: tensors have a rank of at most 15");
};

template <class X, class Y>
struct CheckedPair {
  using A = Traits<Bare<X>>;
  using B = Traits<Bare<Y>>;
  static constexpr bool same_rank = A::rank == B::rank;
  static constexpr bool same_layout = A::any_layout || B::any_layout || A::row_major == B::row_major;
  static constexpr bool ok = same_rank && same_layout;
  static_assert(same_rank, "tensornorm: the arguments have different ranks");
  static_assert(same_layout, "tensornorm: the arguments have different layouts: swap_layout() or copy one of them");
};

template <class Y>
struct CheckedOutput {
  using Type = std::remove_reference_t<Y>;
  static constexpr bool has_memory = IsDenseTensor<Bare<Y>>::value || kIsWritableMatrix<Y>;
  static constexpr bool writable() {
    if constexpr (std::is_const<Type>::value) return false;
    if constexpr (has_memory)
      return !std::is_const<std::remove_pointer_t<decltype(std::declval<Type&>().data())>>::value;
    return true;
  }
  static constexpr bool ok = has_memory && writable();
  static_assert(has_memory, "tensornorm: the output has no memory of its own: give a Tensor, a TensorMap or a matrix");
  static_assert(writable(), "tensornorm: the output is const");
};

// X, further inputs and, last, the output.
template <class Scalar, class X, class... Others>
struct CheckedCall {
  using Output = std::tuple_element_t<sizeof...(Others) - 1, std::tuple<Others...>>;
  static constexpr bool ok = CheckedArgument<Scalar, X>::ok && (CheckedArgument<Scalar, Others>::ok && ...) &&
                             (CheckedPair<X, Others>::ok && ...) && CheckedOutput<Output>::ok;
};

}  // namespace core
}  // namespace tensornorm
