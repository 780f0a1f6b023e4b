// Target: a tensor to write to, whatever its type.
#pragma once

#include <algorithm>
#include <cstdint>

#include "tensornorm/core/check.hpp"
#include "tensornorm/core/post_op.hpp"

namespace tensornorm {
namespace core {

// Whether a distance is a sum of steps along the axes from number i on, fewer along each than it has elements, forwards
// or backwards.
__attribute__((noinline)) inline bool is_sum_of_steps(Index distance, const Shape& shape, const StridedAxes& order,
                                                      int i) {
  if (i == order.count) return distance == 0;
  Index inside = 0;  // how far the axes inside reach
  for (int k = i + 1; k < order.count; ++k) {
    inside += (shape.extent(order.axis(k)) - 1) * shape.stride(order.axis(k));
  }
  const Index extent = shape.extent(order.axis(i)), stride = (std::max)(shape.stride(order.axis(i)), Index{1});
  distance = distance < 0 ? -distance : distance;
  for (Index steps = (distance + inside) / stride; steps >= 0 && distance - steps * stride <= inside; --steps) {
    if (steps < extent && is_sum_of_steps(distance - steps * stride, shape, order, i + 1)) return true;
  }
  return false;
}

// Whether an element of one tensor lies where one of another of the same shape lies, so many bytes away, with elements
// of so many bytes.
inline bool overlap(Index bytes, const Shape& shape, Index size) {
  return bytes % size != 0 || is_sum_of_steps(bytes / size, shape, StridedAxes(shape), 0);
}

// Whether two tensors of one shape, with so many elements from the first to the last, are the same or share no memory.
template <class Scalar>
bool are_same_or_apart(const Scalar* a, const Scalar* b, Index span) {
  const auto distance = reinterpret_cast<std::uintptr_t>(a) - reinterpret_cast<std::uintptr_t>(b);
  const auto bytes = static_cast<std::uintptr_t>(span) * sizeof(Scalar);
  return distance == 0 || (distance >= bytes && -distance >= bytes);
}

template <class Scalar>
struct GradientTile;

// An owning tensor takes the extents it needs, a map must have them. `prepare` is the one call that changes anything,
// after every check has passed.
template <class Scalar>
class Target {
 public:
  using AddGradient = void (*)(const GradientTile<Scalar>& tile);

  Target(const Target&) = delete;
  Target& operator=(const Target&) = delete;

  // The function that adds a tile to a dx given as add_to(dx); null: dx is stored.
  void set_add_gradient(AddGradient add) { add_gradient_ = add; }
  AddGradient add_gradient() const { return add_gradient_; }

  // @throws std::invalid_argument when the tensor cannot have the extents of `wanted`, which outlives this
  void take_shape(const Shape& wanted) {
    wanted_ = &wanted;
    check_extents();
    if (add_gradient_ != nullptr) check_fits();
  }

  // How it lies in memory once it has the extents wanted.
  // @pre take_shape was called
  const Shape& shape() const { return shape_; }

  // Refuses memory shared with an input unless it is the same tensor.
  // @pre take_shape was called
  void check_overlap(const Scalar* input, const Shape& input_shape, const char* input_name) const {
    if (fits_ && data_ == input && shape_ == input_shape) return;
    check_other(input, input_shape, input_name);
  }

  // Refuses memory shared with another output.
  // @pre take_shape was called for both
  void check_apart(const Target& other) const {
    check_that(span() == 0 || data_ == nullptr || data_ != other.data_, name_, " and ", other.name_,
               " are the same memory: give each memory of its own");
    check_memory(span(), other.data_, other.span(), fits_ && other.fits_ && shape_ == other.shape_, other.name_);
  }

  // Refuses memory shared with an input, also where it is the same tensor.
  // @pre take_shape was called
  void check_away(const Scalar* input, const Shape& input_shape, const char* input_name) const {
    check_memory(span(), input, span_of(input_shape), false, input_name);
  }

  const char* name() const { return name_; }
  // What is done to a result before it is stored here; null: nothing.
  // @pre take_shape was called
  const PostOp<Scalar>* post_op() const { return post_op_; }
  // @throws std::invalid_argument where it has other extents than wanted
  void check_fits() const {
    check_that(fits_, name_, " is changed where it is and has not the extents ", *wanted_, ": give one that has them");
  }

  // Its memory as it is, or null where it is to have another size: what prepare will give, or memory of its own.
  // @pre take_shape was called
  Scalar* data_before() const { return fits_ ? data_ : nullptr; }

  // Its memory, once it has the extents wanted. Throws std::bad_alloc with the tensor as it was.
  // @pre take_shape was called
  Scalar* prepare() { return fits_ ? data_ : resized(); }

 protected:
  explicit Target(const char* name) : name_(name) {}
  ~Target() = default;

  const Shape& wanted() const { return *wanted_; }

  const char* name_;
  Scalar* data_ = nullptr;
  Shape shape_;     // once it has the extents wanted
  Index span_ = 0;  // where it has other extents: elements from its first to its last, as it is
  bool fits_ = false;
  const PostOp<Scalar>* post_op_ = nullptr;

 private:
  // Sets the above.
  virtual void check_extents() = 0;
  virtual Scalar* resized() = 0;

  // Where strides differ, memory that overlaps is refused whether or not an element is shared.
  __attribute__((noinline)) void check_other(const Scalar* input, const Shape& input_shape,
                                             const char* input_name) const {
    const bool alike = fits_ && shape_ == input_shape;
    const Index own = span();
    check_memory(own, input, alike ? own : span_of(input_shape), alike, input_name);
  }
  // Elements from its first to its last, as it is before it takes other extents.
  Index span() const { return fits_ ? span_of(shape_) : span_; }
  void check_memory(Index own, const Scalar* input, Index other, bool alike, const char* input_name) const {
    constexpr Index size = sizeof(Scalar);
    const auto a = reinterpret_cast<std::uintptr_t>(data_), b = reinterpret_cast<std::uintptr_t>(input);
    if (own == 0 || other == 0 || a >= b + static_cast<std::uintptr_t>(other * size) ||
        b >= a + static_cast<std::uintptr_t>(own * size))
      return;
    const Index distance = static_cast<Index>(a) - static_cast<Index>(b);
    if (alike && !overlap(distance, shape_, size)) return;
    fail(name_, " and ", input_name, " overlap: they start ", distance / size, " elements apart but have ", own,
         " and ", other);
  }

  const Shape* wanted_ = nullptr;
  AddGradient add_gradient_ = nullptr;
};

}  // namespace core
}  // namespace tensornorm
