// Shape: the extents and strides of a tensor, and a layer's statement about its axes.
#pragma once

#include <array>
#include <cstring>

#include "tensornorm/core/plan/axis.hpp"

namespace tensornorm {
namespace core {

// The extents of a dense tensor and its strides in elements, by logical axis.
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
  bool same = same_extents(a, b);
  for (int d = 0; same && d < a.rank; ++d) same = a.stride(d) == b.stride(d);
  return same;
}
inline bool operator!=(const Shape& a, const Shape& b) { return !(a == b); }

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

// Statistics along the kept axes and parameters along the affine ones, both row-major in logical order.
// @post every axis of `shape` appears once, in logical order, uncoalesced
inline Axes make_axes(const Shape& shape, AxisSet kept, AxisSet affine) {
  Axes axes;
  Index stat = 1, param = 1;
  for (int d = shape.rank - 1; d >= 0; --d) {
    const bool is_kept = contains(kept, d), is_affine = contains(affine, d);
    axes.push_back({shape.extent(d), shape.stride(d), is_kept ? stat : 0, is_affine ? param : 0});
    if (is_kept) stat *= shape.extent(d);
    if (is_affine) param *= shape.extent(d);
  }
  std::reverse(axes.begin(), axes.end());
  return axes;
}

}  // namespace core
}  // namespace tensornorm
