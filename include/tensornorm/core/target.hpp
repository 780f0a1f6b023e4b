// Target: a tensor to write to, whatever its type.
#pragma once

#include <functional>

#include "tensornorm/core/check.hpp"

namespace tensornorm {
namespace core {

template <class Scalar>
bool overlap(const Scalar* a, Index a_count, const Scalar* b, Index b_count) {
  const std::less<const Scalar*> less;
  return a_count > 0 && b_count > 0 && less(a, b + b_count) && less(b, a + a_count);
}

// An owning tensor takes the extents it needs, a map must have them. `prepare` is the one call that changes anything,
// after every check has passed.
template <class Scalar>
class Target {
 public:
  Target(const Target&) = delete;
  Target& operator=(const Target&) = delete;

  // @throws std::invalid_argument when the tensor cannot have the extents of `wanted`, which outlives this
  void take_shape(const Shape& wanted) {
    wanted_ = &wanted;
    check_extents();
  }

  // Refuses memory shared with an input of the extents wanted unless it is the same tensor.
  // @pre take_shape was called
  void check_overlap(const Scalar* input, const char* input_name) const {
    if (fits_ && data_ == input) return;
    const Index wanted = wanted_->count(), count = fits_ ? wanted : count_;
    if (overlap<Scalar>(data_, count, input, wanted)) {
      fail(name_, " and ", input_name, " overlap: they start ", data_ - input, " elements apart but have ", count,
           " and ", wanted);
    }
  }

  // Its memory, once it has the extents wanted. Throws std::bad_alloc with the tensor as it was.
  // @pre take_shape was called
  Scalar* prepare() { return fits_ ? data_ : resized(); }

 protected:
  explicit Target(const char* name) : name_(name) {}
  ~Target() = default;

  const Shape& wanted() const { return *wanted_; }

  const char* name_;
  Scalar* data_ = nullptr;
  Index count_ = 0;
  bool fits_ = false;

 private:
  // Sets data_, count_ and fits_.
  virtual void check_extents() = 0;
  virtual Scalar* resized() = 0;

  const Shape* wanted_ = nullptr;
};

}  // namespace core
}  // namespace tensornorm
