// What a type is: the tensor or matrix of Eigen's, or the view, behind it, its scalar, rank and layout, and whether it
// has memory.
#pragma once

#include <Eigen/Core>
#ifndef TENSORNORM_NO_TENSOR
#include <unsupported/Eigen/CXX11/Tensor>
#endif
#include <type_traits>
#include <utility>

// For programs of matrices alone, which need no more of tensors than their names.
namespace Eigen {
template <typename Scalar, int rank, int options, typename Index>
class Tensor;
template <typename Scalar, typename Dimensions, int options, typename Index>
class TensorFixedSize;
template <typename Plain, int options, template <class> class MakePointer>
class TensorMap;
template <typename Derived, int access_level>
class TensorBase;
template <typename Expression, typename Device>
class TensorDevice;
}  // namespace Eigen

namespace tensornorm {

template <class T>
class View;

namespace core {

template <class T>
using Bare = std::remove_cv_t<std::remove_reference_t<T>>;

// ---- the Eigen type of an argument

// The tensor or matrix that an argument is, derives from (struct Image : Eigen::Tensor<float, 4>) or is the base of
// (Eigen::MatrixBase<D>&), whatever its access level.
template <class Expression>
const Expression& as_eigen(const Eigen::TensorBase<Expression, Eigen::ReadOnlyAccessors>& x) {
  return static_cast<const Expression&>(x);
}
template <class Expression>
Expression& as_eigen(Eigen::TensorBase<Expression, Eigen::ReadOnlyAccessors>& x) {
  return static_cast<Expression&>(x);
}
template <class Expression>
const Expression& as_eigen(const Eigen::DenseBase<Expression>& x) {
  return x.derived();
}
template <class Expression>
Expression& as_eigen(Eigen::DenseBase<Expression>& x) {
  return x.derived();
}

template <class T>
const View<T>& as_eigen(const View<T>& x) {
  return x;
}

template <class X, class = void>
struct EigenTypeOf {
  using Type = void;
};
template <class X>
struct EigenTypeOf<X, std::void_t<decltype(core::as_eigen(std::declval<const X&>()))>> {
  using Type = Bare<decltype(core::as_eigen(std::declval<const X&>()))>;
};
// void for all else
template <class X>
using EigenType = typename EigenTypeOf<Bare<X>>::Type;

template <class X>
constexpr bool kIsEigen = !std::is_void<EigenType<X>>::value;
template <class X>
constexpr bool kIsMatrix = std::is_base_of<Eigen::EigenBase<EigenType<X>>, EigenType<X>>::value;
template <class Expression>
struct IsView : std::false_type {};
template <class T>
struct IsView<View<T>> : std::true_type {};
template <class X>
constexpr bool kIsView = IsView<EigenType<X>>::value;
template <class X>
constexpr bool kIsTensor = kIsEigen<X> && !kIsMatrix<X> && !kIsView<X>;

// ---- memory, of an Eigen type

template <class Expression>
struct IsDenseTensor : std::false_type {};
template <class S, int rank, int options, class Ix>
struct IsDenseTensor<Eigen::Tensor<S, rank, options, Ix>> : std::true_type {};
template <class S, class D, int options, class Ix>
struct IsDenseTensor<Eigen::TensorFixedSize<S, D, options, Ix>> : std::true_type {};
template <class P, int options, template <class> class Pointer>
struct IsDenseTensor<Eigen::TensorMap<P, options, Pointer>> : std::true_type {};

template <class Expression>
struct IsOwningTensor : std::false_type {};
template <class S, int rank, int options, class Ix>
struct IsOwningTensor<Eigen::Tensor<S, rank, options, Ix>> : std::true_type {};

template <class Expression>
struct IsOwningMatrix : std::false_type {};
template <class S, int r, int c, int o, int mr, int mc>
struct IsOwningMatrix<Eigen::Matrix<S, r, c, o, mr, mc>> : std::true_type {};
template <class S, int r, int c, int o, int mr, int mc>
struct IsOwningMatrix<Eigen::Array<S, r, c, o, mr, mc>> : std::true_type {};

template <class Expression>
struct IsOwningTranspose : std::false_type {};
template <class Expression>
struct IsOwningTranspose<Eigen::Transpose<Expression>> : IsOwningMatrix<Expression> {};

template <class Expression, class = void>
struct HasData : std::false_type {};
template <class Expression>
struct HasData<Expression, std::void_t<decltype(std::declval<Expression&>().data())>> : std::true_type {};

template <class X>
constexpr int matrix_flags() {
  if constexpr (kIsMatrix<X>) return static_cast<int>(Eigen::internal::traits<EigenType<X>>::Flags);
  return 0;
}
// A matrix or array whose elements lie in memory. Flags alone do not say it: m(rows, Eigen::all) may have the bit.
template <class X>
constexpr bool kIsDirectMatrix =
    (matrix_flags<X>() & static_cast<int>(Eigen::DirectAccessBit)) != 0 && HasData<EigenType<X>>::value;

// ---- an argument, as a forwarding reference has it

template <class X>
constexpr bool kOwnsMemory = IsOwningTensor<EigenType<X>>::value || IsOwningMatrix<EigenType<X>>::value;
template <class X>
constexpr bool kHasMemory = IsDenseTensor<EigenType<X>>::value || kIsDirectMatrix<X> || kIsView<X>;

// Whether it can be written to where it lies.
template <class X>
constexpr bool is_writable() {
  if constexpr (kIsView<X>) return !std::is_const<std::remove_pointer_t<decltype(std::declval<X&>().data())>>::value;
  if constexpr (!kHasMemory<X> || std::is_const<std::remove_reference_t<X>>::value) return false;
  if constexpr (kIsMatrix<X>) return (matrix_flags<X>() & static_cast<int>(Eigen::LvalueBit)) != 0;
  if constexpr (IsDenseTensor<EigenType<X>>::value)
    return !std::is_const<std::remove_pointer_t<decltype(std::declval<EigenType<X>&>().data())>>::value;
  return false;
}

// Rank, layout and plain type of an argument: a tensor of its rank, layout and index type; a matrix's own plain type.
template <class Expression, bool is_tensor = kIsTensor<Expression>, bool is_matrix = kIsMatrix<Expression>>
struct EigenTraits {
  using Scalar = void;
  using Plain = void;
};

template <class Expression>
struct EigenTraits<Expression, true, false> {
  using Scalar = std::remove_const_t<typename Eigen::internal::traits<Expression>::Scalar>;
  static constexpr int rank = Eigen::internal::traits<Expression>::NumDimensions;
  static constexpr bool row_major = static_cast<int>(Eigen::internal::traits<Expression>::Layout) == Eigen::RowMajor;
  using Plain = Eigen::Tensor<Scalar, rank, row_major ? Eigen::RowMajor : Eigen::ColMajor,
                              typename Eigen::internal::traits<Expression>::Index>;
};

template <class Expression>
struct EigenTraits<Expression, false, true> {
  using Scalar = typename Expression::Scalar;
  static constexpr int rank = 2;
  static constexpr bool row_major = Expression::IsRowMajor;
  using Plain = typename Expression::PlainObject;
};

constexpr int kRankOfView = -1;  // known when the program runs

template <class T>
struct EigenTraits<View<T>, false, false> {
  using Scalar = std::remove_const_t<T>;
  static constexpr int rank = kRankOfView;
  static constexpr bool row_major = true;
  using Plain = struct Refused;
};

template <class X>
struct Traits : EigenTraits<EigenType<X>> {};

// What a call returns whose x is refused: the refusal is the only error, whatever becomes of the result.
struct Refused : Eigen::MatrixXf {
  template <class T>
  operator T() const;  // NOLINT(google-explicit-constructor)
};

template <class Scalar, class X>
using Result =
    std::conditional_t<std::is_same<typename Traits<X>::Scalar, Scalar>::value, typename Traits<X>::Plain, Refused>;

}  // namespace core
}  // namespace tensornorm
