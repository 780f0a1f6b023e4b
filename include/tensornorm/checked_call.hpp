// What the compiler can see to be wrong in a call, as one readable error.
#pragma once

#include <iterator>
#include <type_traits>

#include "tensornorm/tensor_view.hpp"

namespace tensornorm {
namespace core {

// Whether a call's arguments make sense to the compiler. The assertions are classes', so that they come first and, with
// the call behind `if constexpr`, alone: a conjunction of such classes ends with the first that fails, and each fails
// with one assertion.

// ---- what an argument is

template <class X, class = void>
struct IsRange : std::false_type {};
template <class X>
struct IsRange<X, std::void_t<decltype(std::begin(std::declval<X&>())), decltype(std::end(std::declval<X&>()))>>
    : std::true_type {};

// Eigen::DefaultDevice, or what has a pool of threads as Eigen::ThreadPoolDevice has.
template <class D, class = void>
struct IsDevice : std::is_same<D, Eigen::DefaultDevice> {};
template <class D>
struct IsDevice<D, std::void_t<decltype(std::declval<const D&>().numThreads()),
                               decltype(std::declval<const D&>().getPool()->NumThreads())>> : std::true_type {};

// noalias() and device() of a matrix or tensor.
template <class X>
struct IsAssignmentProxy : std::false_type {};
template <class E, template <class> class Base>
struct IsAssignmentProxy<Eigen::NoAlias<E, Base>> : std::true_type {};
template <class E, class Device>
struct IsAssignmentProxy<Eigen::TensorDevice<E, Device>> : std::true_type {};

// A sparse, diagonal, triangular, permutation matrix and the like.
template <class E>
typename Eigen::internal::traits<E>::StorageKind storage_of(const Eigen::EigenBase<E>&);
template <class X, class = void>
struct StorageOf {
  using Type = void;
};
template <class X>
struct StorageOf<X, std::void_t<decltype(core::storage_of(std::declval<const X&>()))>> {
  using Type = decltype(core::storage_of(std::declval<const X&>()));
};

enum class Kind { kEigen, kPointer, kContainer, kProxy, kSparse, kSpecial, kDevice, kOther };

template <class X>
constexpr Kind kind_of() {
  using T = Bare<X>;
  if constexpr (kIsEigen<T>) return Kind::kEigen;
  if constexpr (std::is_pointer<T>::value) return Kind::kPointer;
  if constexpr (IsAssignmentProxy<T>::value) return Kind::kProxy;
  using Storage = typename StorageOf<T>::Type;
  if constexpr (std::is_same<Storage, Eigen::Sparse>::value) return Kind::kSparse;
  if constexpr (!std::is_void<Storage>::value) return Kind::kSpecial;
  if constexpr (IsRange<T>::value) return Kind::kContainer;
  if constexpr (IsDevice<T>::value) return Kind::kDevice;
  return Kind::kOther;
}

template <class X>
struct CheckedKind {
  static constexpr Kind kind = kind_of<X>();
  static constexpr bool value = kind == Kind::kEigen;
  static_assert(kind != Kind::kPointer,
                "tensornorm: a pointer says no extents: wrap it in an Eigen::Map or an Eigen::TensorMap");
  static_assert(kind != Kind::kContainer,
                "tensornorm: a standard container or array is neither a tensor nor a matrix: "
                "wrap it in an Eigen::Map or an Eigen::TensorMap of its data()");
  static_assert(kind != Kind::kProxy,
                "tensornorm: noalias() and device() have no memory: give the tensor or matrix "
                "itself, and a device as the first argument");
  static_assert(kind != Kind::kSparse,
                "tensornorm: a sparse matrix has no dense memory: copy it to a dense Eigen matrix");
  static_assert(kind != Kind::kSpecial,
                "tensornorm: a diagonal, triangular, selfadjoint or permutation matrix has no "
                "dense memory: copy it to a dense Eigen matrix");
  static_assert(kind != Kind::kDevice,
                "tensornorm: a device where a tensor or matrix belongs: it is the first "
                "argument, before x and y or x, dy and dx");
  static_assert(kind != Kind::kOther,
                "tensornorm: the argument is neither an Eigen tensor nor an Eigen matrix or "
                "array: wrap its memory in an Eigen::Map or an Eigen::TensorMap");
};

// ---- a layer's call

template <class Device>
struct CheckedDevice {
  static constexpr bool value = IsDevice<Device>::value, is_argument = kIsEigen<Device>;
  static_assert(!is_argument,
                "tensornorm: a tensor or matrix where the device belongs: forward and infer take x and "
                "y, backward takes x, dy and dx, and a device may come before them");
  static_assert(value || is_argument,
                "tensornorm: the device is neither an Eigen::DefaultDevice nor has it "
                "numThreads() and getPool() as Eigen::ThreadPoolDevice has: give one of these");
};

template <class Scalar, class X>
struct CheckedTensor {
  using Argument = Traits<X>;
  static constexpr bool same_scalar = std::is_same<typename Argument::Scalar, Scalar>::value;
  static constexpr bool value = same_scalar && Argument::rank > 0 && Argument::rank < Axes::kCapacity;
  static_assert(same_scalar, "tensornorm: the argument's scalar type is not the layer's: cast one to the other");
  static_assert(Argument::rank > 0 || !same_scalar,
                "tensornorm: a tensor of rank 0 has nothing to normalize over: give it an axis");
  static_assert(Argument::rank < Axes::kCapacity || !same_scalar,
                "tensornorm: tensors have a rank of at most 15: reshape it");
};

template <class Scalar, class X>
struct CheckedArgument : std::conjunction<CheckedKind<X>, CheckedTensor<Scalar, X>> {};

template <class X, class Y>
struct CheckedPair {
  using A = Traits<X>;
  using B = Traits<Y>;
  static constexpr bool same_rank = A::rank == B::rank, matrices = kIsMatrix<X> && kIsMatrix<Y>;
  static constexpr bool same_layout = A::any_layout || B::any_layout || A::row_major == B::row_major;
  static constexpr bool value = same_rank && same_layout;
  static_assert(same_rank, "tensornorm: the arguments have different ranks: reshape one of them");
  static_assert(same_layout || !same_rank || matrices,
                "tensornorm: the arguments have different layouts: swap_layout() or copy one of them");
  static_assert(same_layout || !same_rank || !matrices,
                "tensornorm: the matrices have different layouts, one row-major and one column-major, which a "
                "transpose() turns round: declare y with the layout of x, or copy x to a matrix of y's first");
};

template <class Y>
struct CheckedOutput {
  static constexpr bool value = is_writable<Y>();
  static_assert(kHasMemory<Y>,
                "tensornorm: the output is an expression without memory of its own: give a Tensor, a "
                "TensorMap, a Matrix, an Array or a Map");
  static_assert(value || !kHasMemory<Y>, "tensornorm: the output is const: give one that can be written to");
};

// A call with inputs alone.
template <class Scalar, class Device, class... X>
struct CheckedInputs : std::conjunction<CheckedDevice<Bare<Device>>, CheckedArgument<Scalar, Bare<X>>...> {};

// A call with an output, Y as a forwarding reference has it, and the inputs X and Others.
template <class Scalar, class Device, class Y, class X, class... Others>
struct CheckedCall : std::conjunction<CheckedInputs<Scalar, Device, X, Others...>, CheckedArgument<Scalar, Bare<Y>>,
                                      CheckedPair<X, Others>..., CheckedPair<X, Bare<Y>>, CheckedOutput<Y>> {};

}  // namespace core
}  // namespace tensornorm
