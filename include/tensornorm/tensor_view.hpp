// Eigen tensors, maps, matrices, arrays and expressions as a pointer and a Shape.
#pragma once

#include <unsupported/Eigen/CXX11/Tensor>
#include <functional>
#include <limits>
#include <type_traits>
#include <utility>

#include "tensornorm/check.hpp"

namespace tensornorm {
namespace core {

template <class T>
using Bare = std::remove_cv_t<std::remove_reference_t<T>>;

// ---- what a type is

template <class X>
struct IsDenseTensor : std::false_type {};
template <class S, int rank, int options, class Ix>
struct IsDenseTensor<Eigen::Tensor<S, rank, options, Ix>> : std::true_type {};
template <class S, class D, int options, class Ix>
struct IsDenseTensor<Eigen::TensorFixedSize<S, D, options, Ix>> : std::true_type {};
template <class P, int options, template <class> class Pointer>
struct IsDenseTensor<Eigen::TensorMap<P, options, Pointer>> : std::true_type {};

template <class X>
struct IsOwningTensor : std::false_type {};
template <class S, int rank, int options, class Ix>
struct IsOwningTensor<Eigen::Tensor<S, rank, options, Ix>> : std::true_type {};

template <class X>
struct IsOwningMatrix : std::false_type {};
template <class S, int r, int c, int o, int mr, int mc>
struct IsOwningMatrix<Eigen::Matrix<S, r, c, o, mr, mc>> : std::true_type {};
template <class S, int r, int c, int o, int mr, int mc>
struct IsOwningMatrix<Eigen::Array<S, r, c, o, mr, mc>> : std::true_type {};

// Anything derived from TensorBase, whichever access level it has.
template <class X>
std::true_type derives_from_tensor(const Eigen::TensorBase<X, Eigen::ReadOnlyAccessors>*);
template <class X>
std::false_type derives_from_tensor(const void*);
template <class X>
constexpr bool kIsTensor = decltype(derives_from_tensor<Bare<X>>(static_cast<Bare<X>*>(nullptr)))::value;

template <class X>
std::true_type derives_from_matrix(const Eigen::DenseBase<X>*);
template <class X>
std::false_type derives_from_matrix(const void*);
template <class X>
constexpr bool kIsMatrix = decltype(derives_from_matrix<Bare<X>>(static_cast<Bare<X>*>(nullptr)))::value;

// A matrix or array whose elements lie in memory, and one that is also an lvalue.
template <class X>
constexpr int matrix_flags() {
  if constexpr (kIsMatrix<X>) return static_cast<int>(Eigen::internal::traits<Bare<X>>::Flags);
  return 0;
}
template <class X>
constexpr bool kIsDirectMatrix = (matrix_flags<X>() & static_cast<int>(Eigen::DirectAccessBit)) != 0;
template <class X>
constexpr bool kIsWritableMatrix = kIsDirectMatrix<X> && (matrix_flags<X>() & static_cast<int>(Eigen::LvalueBit)) != 0;

// Rank, layout and plain type of an argument: a tensor of its rank, layout and index type; a matrix's own plain type.
template <class X, bool is_tensor = kIsTensor<X>, bool is_matrix = kIsMatrix<X>>
struct Traits {
  static_assert(is_tensor || is_matrix, "tensornorm: the argument is neither an Eigen tensor nor an Eigen matrix");
};

template <class X>
struct Traits<X, true, false> {
  using Scalar = std::remove_const_t<typename Eigen::internal::traits<X>::Scalar>;
  static constexpr int rank = Eigen::internal::traits<X>::NumDimensions;
  static constexpr bool row_major = static_cast<int>(Eigen::internal::traits<X>::Layout) == Eigen::RowMajor;
  static constexpr bool any_layout = rank < 2;
  using Plain = Eigen::Tensor<Scalar, rank, row_major ? Eigen::RowMajor : Eigen::ColMajor,
                              typename Eigen::internal::traits<X>::Index>;
};

template <class X>
struct Traits<X, false, true> {
  using Scalar = typename X::Scalar;
  static constexpr int rank = 2;
  static constexpr bool row_major = X::IsRowMajor;
  static constexpr bool any_layout = X::IsVectorAtCompileTime;
  using Plain = typename X::PlainObject;
};

// ---- shapes

inline Shape dense_shape(Shape shape, bool row_major) {
  Index stride = 1;
  for (int i = 0; i < shape.rank; ++i) {
    const auto d = static_cast<std::size_t>(row_major ? shape.rank - 1 - i : i);
    shape.strides[d] = shape.extents[d] == 1 ? 0 : stride;  // nobody takes it: layouts may differ in it
    stride *= shape.extents[d];
  }
  return shape;
}

// Extents that no tensor in memory has, refused before they are multiplied: a negative one, or more bytes than there
// are addresses. Those of an empty tensor too, its zeros left aside: products of some of them are strides.
inline void check_extents(const Shape& shape, std::size_t element_bytes) {
  Index elements = 1;
  bool fits = true;
  for (int d = 0; d < shape.rank; ++d) {
    const Index extent = shape.extent(d);
    fits = fits && extent >= 0 && !__builtin_mul_overflow(elements, (std::max)(extent, Index{1}), &elements);
  }
  const Index most = (std::numeric_limits<Index>::max)() / static_cast<Index>(element_bytes);
  check_that(fits && elements <= most, "a tensor of extents ", shape, ": they must be 0 or more and make at most ",
             most, " elements");
}

// Without strides.
template <class X>
Shape extents_of(const X& x) {
  Shape shape;
  shape.rank = Traits<X>::rank;
  if constexpr (kIsTensor<X>) {
    for (int d = 0; d < shape.rank; ++d) {
      shape.extents[static_cast<std::size_t>(d)] = static_cast<Index>(x.dimension(static_cast<unsigned>(d)));
    }
  } else {
    shape.extents[0] = x.rows();
    shape.extents[1] = x.cols();
  }
  return shape;
}

// @throws std::invalid_argument on extents that no tensor in memory has
template <class X>
Shape shape_of(const X& x) {
  const Shape shape = extents_of(x);
  check_extents(shape, sizeof(typename Traits<X>::Scalar));
  return dense_shape(shape, Traits<X>::row_major);
}

// Whether a matrix lies in memory without gaps.
template <class X>
bool is_dense_matrix(const X& x) {
  return x.size() == 0 || (x.innerStride() == 1 && (x.outerSize() == 1 || x.outerStride() == x.innerSize()));
}

// ---- inputs

// A tensor with memory of its own is read where it is; anything else is evaluated once.
template <class X, class = void>
class Input {
 public:
  explicit Input(const X& x) : plain_(x), shape_(shape_of(plain_)) {}
  const auto* data() const { return plain_.data(); }
  const Shape& shape() const { return shape_; }

 private:
  typename Traits<X>::Plain plain_;
  Shape shape_;
};

template <class X>
class Input<X, std::enable_if_t<IsDenseTensor<X>::value>> {
 public:
  explicit Input(const X& x) : data_(x.data()), shape_(shape_of(x)) {}
  const auto* data() const { return data_; }
  const Shape& shape() const { return shape_; }

 private:
  const typename Traits<X>::Scalar* data_;
  Shape shape_;
};

template <class X>
class Input<X, std::enable_if_t<kIsDirectMatrix<X>>> {
 public:
  explicit Input(const X& x) : shape_(shape_of(x)) {
    if (!is_dense_matrix(x)) copy_ = x;
    data_ = is_dense_matrix(x) ? x.data() : copy_.data();
  }
  Input(const Input&) = delete;
  Input& operator=(const Input&) = delete;
  const auto* data() const { return data_; }
  const Shape& shape() const { return shape_; }

 private:
  typename Traits<X>::Plain copy_;
  const typename Traits<X>::Scalar* data_;
  Shape shape_;
};

// ---- outputs

template <class Scalar>
bool overlap(const Scalar* a, Index a_count, const Scalar* b, Index b_count) {
  const std::less<const Scalar*> less;
  return a_count > 0 && b_count > 0 && less(a, b + b_count) && less(b, a + a_count);
}

// A tensor to write to. An owning one takes the extents it needs, a map must have them; `prepare` is the one call that
// changes anything, after every check has passed. The extents wanted, which a tensor in memory has, outlive this.
template <class Y>
class Output {
 public:
  using Type = std::remove_reference_t<Y>;
  using Scalar = typename Traits<Bare<Y>>::Scalar;

  Output(Type& y, const char* name, const Shape& wanted) : y_(y), wanted_(wanted) {
    const Shape shape = extents_of(y);
    fits_ = same_extents(shape, wanted);
    if constexpr (kIsMatrix<Y>) {
      check_that(!fits_ || is_dense_matrix(y), name, " has gaps between its rows or columns: outer stride ",
                 y.outerStride(), ", inner size ", y.innerSize());
    }
    check_that(fits_ || can_resize(wanted), name, " has extents ", shape, " but x has ", wanted);
  }

  // Refuses memory shared with an input unless it is the same tensor.
  void check_overlap(const Scalar* input, const char* name, const char* input_name) const {
    if (fits_ && y_.data() == input) return;
    if (overlap<Scalar>(y_.data(), static_cast<Index>(y_.size()), input, wanted_.count())) {
      fail(name, " and ", input_name, " overlap: they start ", y_.data() - input, " elements apart but have ",
           y_.size(), " and ", wanted_.count());
    }
  }

  Scalar* prepare() {
    if (!fits_) resize();
    return y_.data();
  }

 private:
  static constexpr bool kOwns = IsOwningTensor<Bare<Y>>::value || IsOwningMatrix<Bare<Y>>::value;
  static constexpr bool can_grow() {
    if constexpr (IsOwningMatrix<Bare<Y>>::value) return Bare<Y>::SizeAtCompileTime == Eigen::Dynamic;
    return kOwns;
  }

  bool can_resize(const Shape& wanted) const {
    if constexpr (!kOwns) return false;
    if constexpr (kOwns && kIsMatrix<Y>) {
      using Matrix = Bare<Y>;
      return fixed_or(Matrix::RowsAtCompileTime, Matrix::MaxRowsAtCompileTime, wanted.extent(0)) &&
             fixed_or(Matrix::ColsAtCompileTime, Matrix::MaxColsAtCompileTime, wanted.extent(1));
    }
    return true;
  }
  static bool fixed_or(int fixed, int most, Index wanted) {
    return fixed == Eigen::Dynamic ? most == Eigen::Dynamic || wanted <= most : wanted == fixed;
  }

  // The old memory goes only when the new is there.
  void resize() {
    if constexpr (IsOwningTensor<Bare<Y>>::value) {
      typename Bare<Y>::Dimensions dimensions;
      for (int d = 0; d < wanted_.rank; ++d) {
        dimensions[static_cast<std::size_t>(d)] = static_cast<typename Bare<Y>::Index>(wanted_.extent(d));
      }
      y_ = Bare<Y>(dimensions);
    } else if constexpr (can_grow()) {
      y_ = Bare<Y>(wanted_.extent(0), wanted_.extent(1));
    }
  }

  Type& y_;
  const Shape& wanted_;
  bool fits_;
};

}  // namespace core
}  // namespace tensornorm
