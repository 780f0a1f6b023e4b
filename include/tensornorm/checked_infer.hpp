// CheckedInfer: what check() of a layer returns.
#pragma once

#include "tensornorm/tensor_type.hpp"

namespace tensornorm {

/// infer of a layer, for a shape that check() found right: no call throws. It refers to the layer.
template <class Norm>
class CheckedInfer {
 public:
  /// Made by check(), which has checked the shape. `norm` must outlive it.
  explicit CheckedInfer(const Norm& norm) : norm_(norm) {}

  /// infer of the layer on the calling thread.
  ///
  /// x and y are tensors, matrices, maps or views, not expressions, and have the extents that were checked. What would
  /// be an error of infer all the same ends the program (std::terminate): other extents that the layer does not take,
  /// x and y that overlap, no memory for a copy.
  template <class X, class Y>
  void infer(const X& x, Y&& y) const noexcept {
    static_assert(core::kHasMemory<X> || !core::kIsEigen<X>,
                  "tensornorm: an expression is evaluated, which may throw: give what it makes");
    norm_.infer(x, y);
  }

 private:
  const Norm& norm_;
};

}  // namespace tensornorm
