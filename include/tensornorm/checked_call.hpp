// What the compiler can see to be wrong in a call, as one readable error.
#pragma once

#include <initializer_list>
#include <iterator>
#include <type_traits>

#include "tensornorm/arguments.hpp"
#include "tensornorm/core/scalar.hpp"
#include "tensornorm/core/thread/device.hpp"
#include "tensornorm/tensor_view.hpp"

namespace tensornorm {
namespace core {

// ---- what an argument is

template <class X, class = void>
struct IsRange : std::false_type {};
template <class X>
struct IsRange<X, std::void_t<decltype(std::begin(std::declval<X&>())), decltype(std::end(std::declval<X&>()))>>
    : std::true_type {};

// The calling thread, Eigen::DefaultDevice, or what has a pool of threads as Eigen::ThreadPoolDevice has.
template <class D, class = void>
struct IsDevice : std::integral_constant<bool, std::is_same<D, CallingThread>::value ||
                                                   std::is_same<D, Eigen::DefaultDevice>::value> {};
template <class D>
struct IsDevice<D, std::void_t<decltype(std::declval<const D&>().numThreads()),
                               decltype(std::declval<const D&>().getPool()->NumThreads())>> : std::true_type {};

// noalias() and device() of a matrix or tensor.
template <class X>
struct IsAssignmentProxy : std::false_type {};
template <class Expression, template <class> class Base>
struct IsAssignmentProxy<Eigen::NoAlias<Expression, Base>> : std::true_type {};
template <class Expression, class Device>
struct IsAssignmentProxy<Eigen::TensorDevice<Expression, Device>> : std::true_type {};

// A sparse, diagonal, triangular, permutation matrix and the like.
template <class Expression>
typename Eigen::internal::traits<Expression>::StorageKind storage_of(const Eigen::EigenBase<Expression>&);
template <class X, class = void>
struct StorageOf {
  using Type = void;
};
template <class X>
struct StorageOf<X, std::void_t<decltype(core::storage_of(std::declval<const X&>()))>> {
  using Type = decltype(core::storage_of(std::declval<const X&>()));
};

// ---- what can be wrong

// The first fault of a call is found without an error; `refuse` is then the one error.
enum class Fault {
  kNoFault,
  kPointer,
  kContainer,
  kProxy,
  kSparse,
  kSpecial,
  kDeviceForTensor,
  kNotEigen,
  kTensorForDevice,
  kNotADevice,
  kOtherScalar,
  kNoRank,
  kHighRank,
  kRanksDiffer,
  kOutputWithoutMemory,
  kConstOutput,
  kGradientWithoutMemory,
  kConstGradient,
  kNoGradientScalar,
  kNoScalar,
  kTemporaryGradient,
  kListOfOneWalk,
  kResultOfView,
  kBetaAlone,
  kGradientsAlone,
  kOtherThenTimes
};

// Fails to compile, with what is wrong and what to do; T are the types that an error message shows.
template <Fault fault, class... T>
void refuse() {
  static_assert(fault != Fault::kPointer,
                "tensornorm: a pointer says no extents: wrap it in an Eigen::Map or an Eigen::TensorMap");
  static_assert(fault != Fault::kContainer,
                "tensornorm: a standard container or array is neither a tensor nor a matrix: wrap its data() in an "
                "Eigen::Map or an Eigen::TensorMap");
  static_assert(fault != Fault::kProxy,
                "tensornorm: noalias() and device() have no memory: give the tensor or matrix itself, and a device as "
                "the first argument");
  static_assert(fault != Fault::kSparse,
                "tensornorm: a sparse matrix has no dense memory: copy it to a dense Eigen::Matrix");
  static_assert(fault != Fault::kSpecial,
                "tensornorm: a diagonal, triangular, selfadjoint or permutation matrix has no dense memory: copy it to "
                "a dense Eigen::Matrix");
  static_assert(fault != Fault::kDeviceForTensor,
                "tensornorm: a device where a tensor or matrix belongs: it is the first argument, before x and y or x, "
                "dy and dx");
  static_assert(fault != Fault::kNotEigen,
                "tensornorm: the argument is neither an Eigen tensor nor an Eigen matrix or array: wrap its memory in "
                "an Eigen::Map or an Eigen::TensorMap");
  static_assert(fault != Fault::kTensorForDevice,
                "tensornorm: a tensor or matrix where the device belongs: forward and infer take x and y, backward "
                "takes x, dy and dx, and a device may come before them");
  static_assert(
      fault != Fault::kNotADevice,
      "tensornorm: the device is neither an Eigen::DefaultDevice nor has it numThreads() and getPool(): give one "
      "of Eigen's (Eigen::ThreadPoolDevice needs EIGEN_USE_THREADS, defined before the first include)");
  static_assert(fault != Fault::kOtherScalar,
                "tensornorm: the argument's scalar type is not the layer's: cast one to the other");
  static_assert(fault != Fault::kNoRank,
                "tensornorm: a tensor of rank 0 has nothing to normalize over: give it an axis");
  static_assert(fault != Fault::kHighRank, "tensornorm: tensors have a rank of at most 15: reshape it");
  static_assert(fault != Fault::kRanksDiffer, "tensornorm: the arguments have different ranks: reshape one of them");
  static_assert(fault != Fault::kOutputWithoutMemory,
                "tensornorm: the output is an expression without memory of its own: give a Tensor, a TensorMap, a "
                "Matrix, an Array or a Map");
  static_assert(fault != Fault::kConstOutput, "tensornorm: the output is const: give one that can be written to");
  static_assert(fault != Fault::kGradientWithoutMemory,
                "tensornorm: the gradient is an expression without memory of its own: evaluate it first");
  static_assert(fault != Fault::kConstGradient, "tensornorm: the gradient is const: give one that can be written to");
  static_assert(fault != Fault::kNoGradientScalar,
                "tensornorm: a gradient's scalar is float, double, Eigen::half or Eigen::bfloat16: cast it to one");
  static_assert(fault != Fault::kNoScalar,
                "tensornorm: x's scalar is float, double, Eigen::half or Eigen::bfloat16: cast it to one");
  static_assert(fault != Fault::kTemporaryGradient,
                "tensornorm: the gradient is a temporary and would be gone: name it first");
  static_assert(fault != Fault::kListOfOneWalk,
                "tensornorm: a range of gradients is walked twice, but its iterators are not forward iterators: copy "
                "it to a std::vector<tensornorm::GradientRef> first");
  static_assert(fault != Fault::kResultOfView,
                "tensornorm: a new tensor for the result has a rank, but that of a view is known when the program "
                "runs: give a y");
  static_assert(fault != Fault::kBetaAlone, "tensornorm: beta without gamma: give a gamma of ones");
  static_assert(fault != Fault::kGradientsAlone,
                "tensornorm: without gamma there are no gradients of parameters: give kNone for them");
  static_assert(
      fault != Fault::kOtherThenTimes,
      "tensornorm: then_times takes y and z in forward and infer, and dy, z and dz in backward: give kNone for "
      "a dz that is not wanted");
}

// Whether a call has no fault. One that has names `refuse`, which a compiler reads last: this stays a constant.
template <Fault fault, class... T>
constexpr bool accepted() {
  if constexpr (fault != Fault::kNoFault) static_cast<void>(&refuse<fault, T...>);
  return fault == Fault::kNoFault;
}

constexpr Fault first_of(std::initializer_list<Fault> faults) {
  for (const Fault fault : faults) {
    if (fault != Fault::kNoFault) return fault;
  }
  return Fault::kNoFault;
}

// ---- where it is wrong; X, Y, DX and G are arguments as forwarding references have them, or bare

template <class X>
constexpr Fault fault_of_kind() {
  using T = Bare<X>;
  using Storage = typename StorageOf<T>::Type;
  if (kIsEigen<T>) return Fault::kNoFault;
  if (std::is_pointer<T>::value) return Fault::kPointer;
  if (IsAssignmentProxy<T>::value) return Fault::kProxy;
  if (std::is_same<Storage, Eigen::Sparse>::value) return Fault::kSparse;
  if (!std::is_void<Storage>::value) return Fault::kSpecial;
  if (IsRange<T>::value) return Fault::kContainer;
  return IsDevice<T>::value ? Fault::kDeviceForTensor : Fault::kNotEigen;
}

template <class Device>
constexpr Fault fault_of_device() {
  if (IsDevice<Device>::value) return Fault::kNoFault;
  return kIsEigen<Device> ? Fault::kTensorForDevice : Fault::kNotADevice;
}

template <class Scalar, class X>
constexpr Fault fault_of_argument() {
  if constexpr (kIsEigen<X>) {
    if (!std::is_same<typename Traits<Bare<X>>::Scalar, Scalar>::value) return Fault::kOtherScalar;
    if (Traits<Bare<X>>::rank == 0) return Fault::kNoRank;
    return Traits<Bare<X>>::rank < Axes::kCapacity ? Fault::kNoFault : Fault::kHighRank;
  }
  return fault_of_kind<X>();
}

template <class X, class Y>
constexpr Fault fault_of_pair() {
  using A = Traits<Bare<X>>;
  using B = Traits<Bare<Y>>;
  const bool is_seen = A::rank != kRankOfView && B::rank != kRankOfView;
  return A::rank == B::rank || !is_seen ? Fault::kNoFault : Fault::kRanksDiffer;
}

template <class Y>
constexpr Fault fault_of_output() {
  if (!kHasMemory<Y>) return Fault::kOutputWithoutMemory;
  return is_writable<Y>() ? Fault::kNoFault : Fault::kConstOutput;
}

// An output beside the input X, or none.
template <class Scalar, class DX, class X>
constexpr Fault fault_of_wanted() {
  if constexpr (!kIsNone<DX>) {
    constexpr Fault fault = first_of({fault_of_argument<Scalar, X>(), fault_of_argument<Scalar, DX>()});
    if constexpr (fault == Fault::kNoFault) return first_of({fault_of_pair<X, DX>(), fault_of_output<DX>()});
    return fault;
  }
  return Fault::kNoFault;
}

// The other tensors of a post-op, beside the input X.
template <class Scalar, class Y, class X, bool of_gradient = false>
constexpr Fault fault_of_post_op() {
  using Then = ThenTraits<Y>;
  if (Then::is_product && Then::is_gradient != of_gradient) return Fault::kOtherThenTimes;
  if (Then::is_product && kIsNone<typename Then::Z>) return Fault::kNotEigen;
  if constexpr (!kIsNone<typename Then::Z>) {
    constexpr Fault fault = first_of({fault_of_argument<Scalar, X>(), fault_of_argument<Scalar, typename Then::Z>()});
    if constexpr (fault == Fault::kNoFault) {
      return first_of({fault_of_pair<X, typename Then::Z>(), fault_of_wanted<Scalar, typename Then::DZ, X>()});
    }
    return fault;
  }
  return Fault::kNoFault;
}

// What comes after the faults of each argument.
template <Fault fault, class X, class DY>
constexpr Fault fault_of_backward() {
  if constexpr (fault == Fault::kNoFault) return fault_of_pair<X, DY>();
  return fault;
}

// Of the x of a function or of moments: no layer says its scalar.
template <class Scalar>
constexpr Fault fault_of_scalar() {
  return kIsScalar<Scalar> ? Fault::kNoFault : Fault::kNoScalar;
}

// A call with inputs alone.
template <class Scalar, class Device, class... X>
constexpr Fault fault_of_inputs() {
  return first_of({fault_of_device<Device>(), fault_of_argument<Scalar, X>()...});
}

// A call with the output Y and the inputs X and Others.
template <class Scalar, class Device, class Y, class X, class... Others>
constexpr Fault fault_of_call() {
  using Tensor = TensorOf<Y>;
  constexpr Fault fault = first_of({fault_of_inputs<Scalar, Device, X, Others...>(),
                                    fault_of_argument<Scalar, Tensor>(), fault_of_post_op<Scalar, Y, X>()});
  if constexpr (fault == Fault::kNoFault) {
    return first_of({fault_of_pair<X, Others>()..., fault_of_pair<X, Tensor>(), fault_of_output<Tensor>()});
  }
  return fault;
}

}  // namespace core
}  // namespace tensornorm
