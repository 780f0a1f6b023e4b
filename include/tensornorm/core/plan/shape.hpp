// Shape: the extents and strides of a tensor, and a layer's statement about its axes.
#pragma once

#include <array>
#include <cstring>

#include "tensornorm/core/plan/axis.hpp"

namespace tensornorm {
namespace core {

// The extents of a tensor and its strides in elements, by logical axis.
struct Shape {
  int rank = 0;
  std::array<Index, Axes::kCapacity> extents, strides;  // the first `rank` of each

  Shape() {}  // NOLINT(modernize-use-equals-default): leaves the arrays alone
  Shape(const Shape& other) { *this = other; }
  // Four at a time, since a call of memmove takes longer than most ranks.
  Shape& operator=(const Shape& other) {
    constexpr int kTogether = 4;
    static_assert(Axes::kCapacity % kTogether == 0, "tensornorm: extents are copied four at a time");
    rank = other.rank;
    for (int d = 0; d < rank; d += kTogether) {
      std::memmove(&extents[static_cast<std::size_t>(d)], &other.extents[static_cast<std::size_t>(d)],
                   kTogether * sizeof(Index));
      std::memmove(&strides[static_cast<std::size_t>(d)], &other.strides[static_cast<std::size_t>(d)],
                   kTogether * sizeof(Index));
    }
    return *this;
  }

  Index extent(int d) const { return extents[static_cast<std::size_t>(d)]; }
  Index stride(int d) const { return strides[static_cast<std::size_t>(d)]; }
  // Unsigned on the way: before an extent of 0 comes there may be more than an Index counts.
  Index count() const {
    std::size_t n = 1;
    for (int d = 0; d < rank; ++d) n *= static_cast<std::size_t>(extent(d));
    return static_cast<Index>(n);
  }
};

inline bool same_extents(const Shape& a, const Shape& b) {
  bool same = a.rank == b.rank;
  for (int d = 0; same && d < a.rank; ++d) same = a.extent(d) == b.extent(d);
  return same;
}
inline bool operator==(const Shape& a, const Shape& b) {
  bool same = a.rank == b.rank;
  for (int d = 0; same && d < a.rank; ++d) same = a.extent(d) == b.extent(d) && a.stride(d) == b.stride(d);
  return same;
}
inline bool operator!=(const Shape& a, const Shape& b) { return !(a == b); }

// The same extents without gaps. Unsigned on the way, as count().
inline Shape dense_shape(const Shape& extents, bool row_major) {
  Shape shape;
  shape.rank = extents.rank;
  std::size_t stride = 1;
  for (int i = 0; i < shape.rank; ++i) {
    const auto d = static_cast<std::size_t>(row_major ? shape.rank - 1 - i : i);
    shape.extents[d] = extents.extents[d];
    // No step is made along an extent of 1: layouts may differ here.
    shape.strides[d] = shape.extents[d] == 1 ? 0 : static_cast<Index>(stride);
    stride *= static_cast<std::size_t>(shape.extents[d]);
  }
  return shape;
}

// The axes along which a step is made, from the one of the longest stride to that of the shortest.
struct StridedAxes {
  int count = 0;
  std::array<int, Axes::kCapacity> axes;

  explicit StridedAxes(const Shape& shape) {
    for (int d = 0; d < shape.rank; ++d) {
      if (shape.extent(d) == 1) continue;
      int i = count++;
      for (; i > 0 && shape.stride(axis(i - 1)) < shape.stride(d); --i) axes[static_cast<std::size_t>(i)] = axis(i - 1);
      axes[static_cast<std::size_t>(i)] = d;
    }
  }
  int axis(int i) const { return axes[static_cast<std::size_t>(i)]; }
};

// The same extents and order of axes without gaps.
inline Shape packed_shape(Shape shape) {
  const StridedAxes order(shape);
  Index stride = 1;
  for (int i = order.count - 1; i >= 0; --i) {
    const auto d = static_cast<std::size_t>(order.axis(i));
    shape.strides[d] = stride;
    stride *= shape.extents[d];
  }
  return shape;
}

// Elements from the first to the last, gaps included.
inline Index span_of(const Shape& shape) {
  Index span = 1;
  for (int d = 0; d < shape.rank; ++d) {
    if (shape.extent(d) == 0) return 0;
    span += (shape.extent(d) - 1) * shape.stride(d);
  }
  return span;
}

// Whether two of its elements lie at one place, or might.
inline bool overlaps_itself(const Shape& shape) {
  if (shape.count() == 0) return false;
  const StridedAxes order(shape);
  Index span = 1;
  for (int i = order.count - 1; i >= 0; --i) {
    const int d = order.axis(i);
    if (shape.stride(d) < span) return true;
    span += (shape.extent(d) - 1) * shape.stride(d);
  }
  return false;
}

// Whether tensors of these shapes can be walked side by side: one axis has neighbouring elements in both, and x is read
// in the order of its memory.
__attribute__((noinline)) inline bool walks_beside(const Shape& x, const Shape& other) {
  int inner = -1;
  bool has_strides = true;
  for (int d = 0; d < x.rank; ++d) {
    if (x.extent(d) == 0) return true;  // nothing is walked
    if (x.extent(d) == 1) continue;
    has_strides = has_strides && x.stride(d) > 0 && other.stride(d) > 0;
    if (inner < 0 || x.stride(d) <= x.stride(inner)) inner = d;
  }
  return has_strides && (inner < 0 || (x.stride(inner) == 1 && other.stride(inner) == 1));
}

// Whether tensors of these shapes lie alike, without gaps.
inline bool lies_alike(const Shape& x, const Shape& other) {
  const Index n = x.count();
  return n == 0 || (x == other && x == packed_shape(x));
}

// Axis d becomes two: `outer` groups of extent / outer neighbours.
// @pre outer divides the extent
inline Shape split_axis(const Shape& shape, int d, Index outer) {
  Shape result;
  for (int i = 0; i < shape.rank; ++i) {
    const auto at = static_cast<std::size_t>(result.rank++);
    result.extents[at] = shape.extent(i);
    result.strides[at] = shape.stride(i);
    if (i != d) continue;
    const auto inner = static_cast<std::size_t>(result.rank++);
    result.extents[inner] = shape.extent(i) / outer;
    result.strides[inner] = shape.stride(i);
    result.extents[at] = outer;
    result.strides[at] = result.extents[inner] * shape.stride(i);
  }
  return result;
}

// A set of axes, one bit per position.
using AxisSet = unsigned;
constexpr AxisSet axis(int d) { return AxisSet{1} << d; }
constexpr AxisSet axes_below(int d) { return axis(d) - 1; }
constexpr bool contains(AxisSet set, int d) { return (set & axis(d)) != 0; }

// Statistics along the kept axes and parameters along the affine ones, both row-major in logical order; every tensor of
// the pass lies as this one.
// @post every axis of `shape` appears once, in logical order, uncoalesced
inline Axes make_axes(const Shape& shape, AxisSet kept, AxisSet affine) {
  Axes axes;
  Index stat = 1, param = 1;
  for (int d = shape.rank - 1; d >= 0; --d) {
    const bool is_kept = contains(kept, d), is_affine = contains(affine, d);
    const Index stride = shape.stride(d);
    axes.push_back({shape.extent(d), stride, is_kept ? stat : 0, is_affine ? param : 0, stride, stride});
    if (is_kept) stat *= shape.extent(d);
    if (is_affine) param *= shape.extent(d);
  }
  std::reverse(axes.begin(), axes.end());
  return axes;
}

}  // namespace core
}  // namespace tensornorm
