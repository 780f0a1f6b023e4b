// Gradients of any scalar and shape, some at a time, as one sequence of elements that units of work are cut from.
#pragma once

#include "tensornorm/core/clip/norm.hpp"
#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/plan/tile.hpp"
#include "tensornorm/core/thread/runner.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

// What is done with a gradient's elements, whatever their type.
struct GradientOperations {
  void (*measure)(const void* x, const Tile& tile, NormPart& part);
  void (*scale)(void* x, const Tile& tile, const Wide& factor);
  void (*clamp)(void* x, const Tile& tile, double limit);
};

// Those of a scalar.
template <class Scalar>
const GradientOperations& gradient_operations();

// A gradient where it lies: `outer` runs of `inner` elements.
struct Gradient {
  static constexpr Index kTileElements = 16 << 10;  // where sums overflow, a tile alone is read again

  // Elements asked for ahead of the sums, also beyond a tile and a gradient: reading 64 MB of float takes 0.105 ns an
  // element so, 0.15 without.
  static constexpr Index kAhead = 4 << 10;

  void* data;
  Index outer, outer_stride, inner, inner_stride;
  const GradientOperations* operations;

  Index size() const { return outer * inner; }

  // Calls visit(Tile) for the elements [begin, end) in order. Elements with gaps between them are rows of one.
  void visit(Index begin, Index end, FunctionRef<void(const Tile&)> visit) const;
};

// Gradients whose elements, one after another, are cut into units by their number alone.
class GradientBatch {
 public:
  static constexpr Index kUnits = 64;
  static constexpr Index kUnitElements = 32 << 10;  // some microseconds of work

  bool is_full() const { return count_ == kMost; }
  Index elements() const { return elements_; }
  Index units() const { return (std::max<Index>)((std::min)(kUnits, elements_ / kUnitElements), 1); }

  void push_back(const Gradient& gradient) {
    gradients_[count_++] = gradient;
    elements_ += gradient.size();
  }
  void clear() { count_ = elements_ = 0; }

  // Calls visit(gradient, tile) for the elements of a unit.
  void visit(Index unit, FunctionRef<void(const Gradient&, const Tile&)> visit) const;

  // Adds the batch to a norm, unit by unit in their order.
  void measure(const Runner& runner, NormType type, NormPart& total) const;
  void scale(const Runner& runner, const Wide& factor) const;
  void clamp(const Runner& runner, double limit) const;

 private:
  static constexpr Index kMost = 64;

  Gradient gradients_[kMost];
  Index count_ = 0, elements_ = 0;
};

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END

#ifndef TENSORNORM_COMPILED
#include "tensornorm/core/clip/gradient-inl.hpp"
#include "tensornorm/core/clip/gradient_operations-inl.hpp"
#endif
