// Eigen tensors, maps, matrices, arrays and expressions as a pointer and a Shape.
#pragma once

#include <limits>
#include <type_traits>

#include "tensornorm/core/target.hpp"
#include "tensornorm/tensor_type.hpp"

namespace tensornorm {
namespace core {

// ---- shapes

// Without strides.
template <class X>
Shape extents_of(const X& x) {
  Shape shape;
  shape.rank = Traits<X>::rank;
  if constexpr (kIsView<X>) {
    shape = x.shape();
  } else if constexpr (kIsTensor<X>) {
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

// Extents and strides. Of extents beyond any memory, the strides mean nothing.
template <class X>
Shape unchecked_shape(const X& x) {
  if constexpr (kIsView<X>) return x.shape();
  Shape shape = extents_of(x);
  if constexpr (kIsDirectMatrix<X>) {
    constexpr int outer = Traits<X>::row_major ? 0 : 1;
    shape.strides[outer] = shape.extents[outer] == 1 ? 0 : x.outerStride();
    shape.strides[1 - outer] = shape.extents[1 - outer] == 1 ? 0 : x.innerStride();
    return shape;
  } else {
    return dense_shape(shape, Traits<X>::row_major);
  }
}

// @throws std::invalid_argument on extents that no tensor in memory has
template <class X>
Shape shape_of(const X& x) {
  if constexpr (!kIsView<X>) check_extents(extents_of(x), sizeof(typename Traits<X>::Scalar));
  return unchecked_shape(x);
}

// Whether unchecked_shape(x) would be this: a few comparisons where the compiler knows the rank.
template <class X>
bool has_shape(const X& x, const Shape& shape) {
  if constexpr (kIsView<X>) {
    return x.shape() == shape;
  } else if constexpr (kIsDirectMatrix<X>) {
    constexpr std::size_t outer = Traits<X>::row_major ? 0 : 1, inner = 1 - outer;
    return shape.rank == 2 && shape.extents[0] == x.rows() && shape.extents[1] == x.cols() &&
           (shape.extents[outer] == 1 || shape.strides[outer] == x.outerStride()) &&
           (shape.extents[inner] == 1 || shape.strides[inner] == x.innerStride());
  } else {
    constexpr int rank = Traits<X>::rank;
    bool same = shape.rank == rank;
    std::size_t stride = 1;
    for (int i = 0; same && i < rank; ++i) {
      const int d = Traits<X>::row_major ? rank - 1 - i : i;
      const Index extent = x.dimension(static_cast<unsigned char>(d));
      same = extent == shape.extent(d) && (extent == 1 || shape.stride(d) == static_cast<Index>(stride));
      stride *= static_cast<std::size_t>(extent);
    }
    return same;
  }
}

// Whether a matrix lies in memory without gaps.
template <class Expression>
bool is_dense_matrix(const Expression& x) {
  return x.rows() == 0 || x.cols() == 0 ||
         ((x.innerStride() == 1 || x.innerSize() == 1) && (x.outerStride() == x.innerSize() || x.outerSize() == 1));
}

// ---- inputs

// What has memory is read where it is; anything else is evaluated once.
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
class EigenInput<Expression, std::enable_if_t<kHasMemory<Expression>>> {
 public:
  explicit EigenInput(const Expression& x) : data_(x.data()), shape_(shape_of(x)) {}
  const auto* data() const { return data_; }
  const Shape& shape() const { return shape_; }

 private:
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
class Output : public Target<typename Traits<Y>::Scalar> {
 public:
  using Type = EigenType<Y>;
  using Scalar = typename Traits<Y>::Scalar;

  Output(std::remove_reference_t<Y>& y, const char* name) : Target<Scalar>(name), y_(core::as_eigen(y)) {}

 protected:
  void check_extents() override {
    this->data_ = y_.data();
    this->shape_ = shape_of(y_);
    this->fits_ = same_extents(this->shape_, this->wanted());
    if (this->fits_) return refuse_places_of_two();
    this->span_ = span_of(this->shape_);
    if (!can_resize()) refuse_extents(this->shape_);
    this->shape_ = dense_shape(this->wanted(), Traits<Y>::row_major);
  }

 private:
  using Target<Scalar>::wanted, Target<Scalar>::name_;

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
    if (wanted().rank != Traits<Y>::rank) return false;
    if constexpr (IsOwningTensor<Type>::value) {
      bool fits = wanted().count() <= most();
      for (int d = 0; d < wanted().rank; ++d) fits = fits && wanted().extent(d) <= most();
      return fits;
    } else if constexpr (IsOwningMatrix<Type>::value) {
      return fixed_or(Type::RowsAtCompileTime, Type::MaxRowsAtCompileTime, wanted().extent(0)) &&
             fixed_or(Type::ColsAtCompileTime, Type::MaxColsAtCompileTime, wanted().extent(1));
    } else if constexpr (IsOwningTranspose<Type>::value) {
      using Nested = Bare<decltype(y_.nestedExpression())>;
      return fixed_or(Nested::RowsAtCompileTime, Nested::MaxRowsAtCompileTime, wanted().extent(1)) &&
             fixed_or(Nested::ColsAtCompileTime, Nested::MaxColsAtCompileTime, wanted().extent(0));
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
    } else if constexpr (IsOwningTranspose<Type>::value) {
      auto& nested = y_.nestedExpression();
      using Nested = Bare<decltype(nested)>;
      if constexpr (Nested::SizeAtCompileTime == Eigen::Dynamic)
        nested = Nested(wanted().extent(1), wanted().extent(0));
    }
  }

  // Only strides of a caller's can do that.
  void refuse_places_of_two() const {
    if constexpr (kIsView<Type> || (kIsDirectMatrix<Type> && !IsOwningMatrix<Type>::value)) {
      if (overlaps_itself(this->shape_)) {
        fail(name_, " of extents ", this->shape_, " has two elements at one place: its strides are ",
             MessagePart(this->shape_.strides.data(), this->shape_.rank));
      }
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

  std::conditional_t<kIsView<Type>, const Type, Type>& y_;
};

}  // namespace core
}  // namespace tensornorm
