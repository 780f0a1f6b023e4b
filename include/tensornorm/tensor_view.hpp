// Eigen tensors, maps, matrices, arrays and expressions as a pointer and a Shape.
#pragma once

#include <limits>
#include <type_traits>

#include "tensornorm/core/target.hpp"
#include "tensornorm/tensor_type.hpp"

namespace tensornorm {
namespace core {

// ---- shapes

inline Shape dense_shape(Shape shape, bool row_major) {
  Index stride = 1;
  for (int i = 0; i < shape.rank; ++i) {
    const auto d = static_cast<std::size_t>(row_major ? shape.rank - 1 - i : i);
    shape.strides[d] = shape.extents[d] == 1 ? 0 : stride;  // no step is made along it: layouts may differ here
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
      // A type that every index type holds.
      shape.extents[static_cast<std::size_t>(d)] = x.dimension(static_cast<unsigned char>(d));
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
template <class Expression>
bool is_dense_matrix(const Expression& x) {
  return x.rows() == 0 || x.cols() == 0 ||
         ((x.innerStride() == 1 || x.innerSize() == 1) && (x.outerStride() == x.innerSize() || x.outerSize() == 1));
}

// ---- inputs

// A tensor with memory of its own is read where it is; anything else is evaluated once.
template <class Expression, class = void>
class EigenInput {
 public:
  explicit EigenInput(const Expression& x) : plain_(x), shape_(shape_of(plain_)) {}
  const auto* data() const { return plain_.data(); }
  const Shape& shape() const { return shape_; }

 private:
  typename Traits<Expression>::Plain plain_;
  Shape shape_;
};

template <class Expression>
class EigenInput<Expression, std::enable_if_t<IsDenseTensor<Expression>::value>> {
 public:
  explicit EigenInput(const Expression& x) : data_(x.data()), shape_(shape_of(x)) {}
  const auto* data() const { return data_; }
  const Shape& shape() const { return shape_; }

 private:
  const typename Traits<Expression>::Scalar* data_;
  Shape shape_;
};

template <class Expression>
class EigenInput<Expression, std::enable_if_t<kIsDirectMatrix<Expression>>> {
 public:
  explicit EigenInput(const Expression& x) : shape_(shape_of(x)) {
    if (!is_dense_matrix(x)) copy_ = x;
    data_ = is_dense_matrix(x) ? x.data() : copy_.data();
  }
  EigenInput(const EigenInput&) = delete;
  EigenInput& operator=(const EigenInput&) = delete;
  const auto* data() const { return data_; }
  const Shape& shape() const { return shape_; }

 private:
  typename Traits<Expression>::Plain copy_;
  const typename Traits<Expression>::Scalar* data_;
  Shape shape_;
};

template <class X>
class Input : public EigenInput<EigenType<X>> {
 public:
  explicit Input(const X& x) : EigenInput<EigenType<X>>(core::as_eigen(x)) {}
};

// ---- outputs

template <class Y>
class Output final : public Target<typename Traits<Y>::Scalar> {
 public:
  using Type = EigenType<Y>;
  using Scalar = typename Traits<Y>::Scalar;

  Output(std::remove_reference_t<Y>& y, const char* name) : Target<Scalar>(name), y_(core::as_eigen(y)) {}

 private:
  using Target<Scalar>::wanted, Target<Scalar>::name_;

  void check_extents() override {
    const Shape shape = extents_of(y_);
    this->data_ = y_.data();
    this->count_ = shape.count();
    this->fits_ = same_extents(shape, wanted());
    if (!this->fits_ && !can_resize()) refuse_extents(shape);
    if constexpr (kIsMatrix<Type>) {
      if (this->fits_ && !is_dense_matrix(y_)) refuse_gaps();
    }
  }

  Scalar* resized() override {
    resize();
    return y_.data();
  }

  // Up to where an owning tensor counts its elements.
  static constexpr Index most() {
    if constexpr (IsOwningTensor<Type>::value) return (std::numeric_limits<typename Type::Index>::max)();
    return 0;
  }

  bool can_resize() const {
    if constexpr (IsOwningTensor<Type>::value) {
      bool fits = wanted().count() <= most();
      for (int d = 0; d < wanted().rank; ++d) fits = fits && wanted().extent(d) <= most();
      return fits;
    } else if constexpr (IsOwningMatrix<Type>::value) {
      return fixed_or(Type::RowsAtCompileTime, Type::MaxRowsAtCompileTime, wanted().extent(0)) &&
             fixed_or(Type::ColsAtCompileTime, Type::MaxColsAtCompileTime, wanted().extent(1));
    }
    return false;
  }
  static bool fixed_or(int fixed, int most, Index wanted) {
    return fixed == Eigen::Dynamic ? most == Eigen::Dynamic || wanted <= most : wanted == fixed;
  }

  // The old memory goes only when the new is there. What a derived class adds stays.
  void resize() {
    if constexpr (IsOwningTensor<Type>::value) {
      typename Type::Dimensions dimensions;
      for (int d = 0; d < wanted().rank; ++d) {
        dimensions[static_cast<std::size_t>(d)] = static_cast<typename Type::Index>(wanted().extent(d));
      }
      y_ = Type(dimensions);
    } else if constexpr (IsOwningMatrix<Type>::value) {
      if constexpr (Type::SizeAtCompileTime == Eigen::Dynamic) y_ = Type(wanted().extent(0), wanted().extent(1));
    }
  }

  [[noreturn]] __attribute__((cold, noinline)) void refuse_extents(const Shape& shape) const {
    if constexpr (IsOwningTensor<Type>::value) {
      fail(name_, " has extents ", shape, " instead of ", wanted(), " and an index type that counts to ", most(),
           ": use a tensor whose index type is Eigen::Index");
    } else if constexpr (IsOwningMatrix<Type>::value) {
      fail(name_, " has extents ", shape, " instead of ", wanted(),
           " and a type that does not allow these: use one of dynamic or larger extents");
    } else {
      fail(name_, " has extents ", shape, " instead of ", wanted(),
           " and cannot be resized: give one of these extents, or one that owns memory of a dynamic size");
    }
  }

  [[noreturn]] __attribute__((cold, noinline)) void refuse_gaps() const {
    fail(name_, " has gaps between its elements: inner stride ", y_.innerStride(), " and outer stride ",
         y_.outerStride(), ", not 1 and ", y_.innerSize(),
         ": write to a matrix without gaps and copy that to where it belongs");
  }

  Type& y_;
};

}  // namespace core
}  // namespace tensornorm
