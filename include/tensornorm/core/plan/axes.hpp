// From a layer's statement about axes to the axes the kernels walk.
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
  Index count() const {
    Index n = 1;
    for (int d = 0; d < rank; ++d) n *= extent(d);
    return n;
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

// The axes of dgamma and dbeta: parameters are what the gradient's statistics are kept along.
inline Axes dual(Axes axes) {
  for (Axis& a : axes) std::swap(a.stat, a.param);
  return axes;
}

// What a pass that does not touch an operand sees: a pass merges as far as its own operands allow.
inline Axes without_param(Axes axes) {
  for (Axis& a : axes) a.param = 0;
  return coalesce(axes);
}

// Number of statistics (or, of the dual, parameters).
inline Index kept_count(const Axes& axes) {
  Index n = 1;
  for (const Axis& a : axes) n *= is_kept(a) ? a.extent : 1;
  return n;
}

// The axes marked in `set` (one bit per position in `axes`) are numbered in the order of x by their stat strides, the
// others get 0.
// @pre axes is sorted by decreasing x
inline Axes numbered(Axes axes, AxisSet set) {
  Index number = 1;
  for (int i = axes.size() - 1; i >= 0; --i) {
    axes[i].stat = contains(set, i) ? number : 0;
    if (axes[i].stat != 0) number *= axes[i].extent;
  }
  return axes;
}

// Bins: what sums are kept for and coefficients laid out along. The axes with the bin's number for a statistic and
// without params.
inline Axes number_bins(Axes axes, AxisSet bin) {
  for (Axis& a : axes) a.param = 0;
  return numbered(axes, bin);
}

// The bins themselves as a tensor: x is the bin's number, stat and param what the axes has there.
inline Axes bins_of(const Axes& axes, AxisSet bin) {
  const Axes number = numbered(axes, bin);
  Axes result;
  for (int i = 0; i < axes.size(); ++i) {
    if (number[i].stat != 0) result.push_back({axes[i].extent, number[i].stat, axes[i].stat, axes[i].param});
  }
  return coalesce(result);
}

// The axes's axes that satisfy a predicate, as a set of positions.
template <class Predicate>
AxisSet select(const Axes& axes, Predicate predicate) {
  AxisSet set = 0;
  for (int i = 0; i < axes.size(); ++i) {
    if (predicate(axes[i])) set |= axis(i);
  }
  return set;
}

// How many neighbouring bins must stay together so that no statistic is divided: all from the outermost axis that is
// bin but not kept inwards; 1 if there is none.
inline Index multiple(const Axes& axes, AxisSet bins) {
  Index n = 1, result = 1;
  for (int i = axes.size() - 1; i >= 0; --i) {
    if (!contains(bins, i)) continue;
    n *= axes[i].extent;
    if (!is_kept(axes[i])) result = n;
  }
  return result;
}

// How many statistics so many neighbouring bins make, whole ones.
inline Index stats_together(const Axes& axes, AxisSet bins, Index together) {
  Index n = 1, result = 1;
  for (int i = axes.size() - 1; i >= 0 && n < together; --i) {
    if (!contains(bins, i)) continue;
    n *= axes[i].extent;
    if (is_kept(axes[i])) result *= axes[i].extent;
  }
  return result;
}

// Bins finer than statistics: inner runs shorter than `short_run` become columns of their own, to be summed up
// afterwards, where at least `few_rows` lie outside to be summed along, and longer runs where every element has a
// parameter of its own. Groups of channels last, small images and channels first in column-major order so take wide
// columns and not short rows. At most so many bins may have to stay together, and make so many statistics.
// @post contains every kept axis; is the kept axes where refining does not pay
inline AxisSet rows_to_columns(const Axes& axes, Index short_run, Index few_rows, Index most_bins, Index most_stats) {
  const AxisSet kept = select(axes, is_kept);
  int first = 0;  // the first kept axis inside a reduced one
  Index rows = 1;
  while (first < axes.size() && is_kept(axes[first])) ++first;
  for (; first < axes.size() && !is_kept(axes[first]); ++first) rows *= axes[first].extent;
  if (first == axes.size()) return kept;
  Index run = 1;
  for (int i = axes.size() - 1; i >= first && is_kept(axes[i]) == is_kept(axes.back()); --i) run *= axes[i].extent;
  const AxisSet bins = kept | (axes_below(axes.size()) & ~axes_below(first));
  const bool pays = run < short_run ? rows >= few_rows : !is_kept(axes.back()) && is_affine(axes.back());
  const Index together = multiple(axes, bins);
  return pays && together <= most_bins && stats_together(axes, bins, together) <= most_stats ? bins : kept;
}

// The axes with its narrow columns made wide: where the innermost axis is kept and at most `narrow` long, as many
// neighbouring rows of the reduced axis outside as give `wide` elements at most become an axis of their own, marked in
// `bins`, so that vectors are full and a row is worth its overhead. At least `few_rows` stay.
inline Axes joined_columns(const Axes& axes, AxisSet& bins, Index narrow, Index wide, Index few_rows) {
  const int inner = axes.size() - 1, outer = inner - 1;
  if (outer < 0 || !is_kept(axes[inner]) || axes[inner].extent > narrow) return axes;
  if (contains(bins, outer) || is_affine(axes[outer])) return axes;
  Index together = (std::min)(wide / axes[inner].extent, axes[outer].extent / few_rows);
  while (together > 1 && axes[outer].extent % together != 0) --together;
  if (together <= 1) return axes;
  Axes result = axes;
  result[outer].extent = together;
  result[inner] = result[outer];
  result[outer].extent = axes[outer].extent / together;
  result[outer].x = together * axes[outer].x;
  result.push_back(axes[inner]);
  bins = (bins & axes_below(inner)) | axis(inner) | axis(inner + 1);
  return result;
}

}  // namespace core
}  // namespace tensornorm
