// Gradients of any scalar and shape, some at a time, as one sequence of elements that units of work are cut from.
#pragma once

#include "tensornorm/core/clip/norm.hpp"
#include "tensornorm/core/kernel/map.hpp"
#include "tensornorm/core/thread/runner.hpp"

namespace tensornorm {
namespace core {

// x *= factor over a tile. A factor below the least normal T has lost digits: the products are then taken one by one.
template <class Scalar>
void scale_tile(Scalar* x, const Tile& tile, Wide factor) {
  using T = ParamOf<Scalar>;
  if (!(factor > 0) || factor >= static_cast<Wide>((std::numeric_limits<T>::min)())) {
    const T f = static_cast<T>(factor);
    return map(Scaled<Scalar, PerRowOrAll<T>>{{{x + tile.offset, tile.stride}, {&f, kNone}}}, tile, x);
  }
  for (Index r = 0; r < tile.rows; ++r) {
    for (Index c = 0; c < tile.cols; ++c) {
      Scalar& v = x[tile.offset + r * tile.stride + c];
      v = static_cast<Scalar>(static_cast<T>(static_cast<Wide>(static_cast<T>(v)) * factor));
    }
  }
}

// x = min(max(x, -limit), limit) over a tile, where a limit beyond the largest finite Scalar is that.
template <class Scalar>
void clamp_tile(Scalar* x, const Tile& tile, double limit) {
  using T = ParamOf<Scalar>;
  const T most =
      static_cast<T>((std::min)(limit, static_cast<double>(static_cast<T>(Eigen::NumTraits<Scalar>::highest()))));
  map(Clamped<Scalar, PerRowOrAll<T>>{{{x + tile.offset, tile.stride}, {&most, kNone}}}, tile, x);
}

// What is done with a gradient's elements, whatever their type.
struct GradientOperations {
  void (*measure)(const void* x, const Tile& tile, NormPart& part);
  void (*scale)(void* x, const Tile& tile, Wide factor);
  void (*clamp)(void* x, const Tile& tile, double limit);
};

template <class Scalar>
inline constexpr GradientOperations kGradientOperations{
    [](const void* x, const Tile& tile, NormPart& part) { part.add(static_cast<const Scalar*>(x), tile); },
    [](void* x, const Tile& tile, Wide factor) { scale_tile(static_cast<Scalar*>(x), tile, factor); },
    [](void* x, const Tile& tile, double limit) { clamp_tile(static_cast<Scalar*>(x), tile, limit); }};

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
  void visit(Index begin, Index end, FunctionRef<void(const Tile&)> visit) const {
    for (Index i = begin; i < end;) {
      const Index at = i % inner, left = (std::min)(inner - at, end - i);
      Tile tile{i / inner * outer_stride + at * inner_stride, 1, 1, 0, 0, 0, 0, 0};
      if (inner_stride != 1) {
        tile.rows = (std::min)(left, kNormRows);
        tile.stride = inner_stride;
      } else if (left < inner || inner > kTileElements) {
        tile.cols = (std::min)(left, kTileElements);
        tile.next = kAhead;
      } else {
        tile.rows = (std::min)({(end - i) / inner, kTileElements / inner, kNormRows});
        tile.cols = inner;
        tile.stride = outer_stride;
      }
      visit(tile);
      i += tile.rows * tile.cols;
    }
  }
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
  void visit(Index unit, FunctionRef<void(const Gradient&, const Tile&)> visit) const {
    const Index begin = part_begin(elements_, unit, units()), end = part_begin(elements_, unit + 1, units());
    for (Index i = 0, first = 0; i < count_ && first < end; ++i) {
      const Gradient& gradient = gradients_[i];
      const Index from = (std::max<Index>)(begin - first, 0), to = (std::min)(end - first, gradient.size());
      if (from < to) gradient.visit(from, to, [&](const Tile& tile) { visit(gradient, tile); });
      first += gradient.size();
    }
  }

  // Adds the batch to a norm, unit by unit in their order.
  void measure(const Runner& runner, NormType type, NormPart& total) const {
    Wide parts[kUnits];
    runner(units(), elements_, [&](Index unit, Index) {
      NormPart part(type);
      visit(unit, [&](const Gradient& g, const Tile& tile) { g.operations->measure(g.data, tile, part); });
      parts[unit] = part.value();
    });
    for (Index unit = 0; unit < units(); ++unit) total.add(parts[unit]);
  }

  void scale(const Runner& runner, Wide factor) const {
    runner(units(), elements_, [&](Index unit, Index) {
      visit(unit, [&](const Gradient& g, const Tile& tile) { g.operations->scale(g.data, tile, factor); });
    });
  }

  void clamp(const Runner& runner, double limit) const {
    runner(units(), elements_, [&](Index unit, Index) {
      visit(unit, [&](const Gradient& g, const Tile& tile) { g.operations->clamp(g.data, tile, limit); });
    });
  }

 private:
  static constexpr Index kMost = 64;

  Gradient gradients_[kMost];
  Index count_ = 0, elements_ = 0;
};

}  // namespace core
}  // namespace tensornorm
