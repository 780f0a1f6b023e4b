// From a layer's statement about axes to the axes the kernels walk.
#pragma once

#include <array>
#include <cstring>

#include "tensornorm/core/axis.hpp"

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
inline Axes make_plan(const Shape& shape, AxisSet kept, AxisSet affine) {
  Axes plan;
  Index stat = 1, param = 1;
  for (int d = shape.rank - 1; d >= 0; --d) {
    const bool is_kept = contains(kept, d), is_affine = contains(affine, d);
    plan.push_back({shape.extent(d), shape.stride(d), is_kept ? stat : 0, is_affine ? param : 0});
    if (is_kept) stat *= shape.extent(d);
    if (is_affine) param *= shape.extent(d);
  }
  std::reverse(plan.begin(), plan.end());
  return plan;
}

// The plan of dgamma and dbeta: parameters are what the gradient's statistics are kept along.
inline Axes dual(Axes plan) {
  for (Axis& a : plan) std::swap(a.stat, a.param);
  return plan;
}

// What a pass that does not touch an operand sees: a pass merges as far as its own operands allow.
inline Axes without_param(Axes plan) {
  for (Axis& a : plan) a.param = 0;
  return coalesce(plan);
}

// Number of statistics (or, of the dual, parameters).
inline Index kept_count(const Axes& plan) {
  Index n = 1;
  for (const Axis& a : plan) n *= is_kept(a) ? a.extent : 1;
  return n;
}

// The axes marked in `set` (one bit per position in `plan`) are numbered in the order of x by their stat strides, the
// others get 0.
// @pre plan is sorted by decreasing x
inline Axes numbered(Axes plan, AxisSet set) {
  Index number = 1;
  for (int i = plan.size() - 1; i >= 0; --i) {
    plan[i].stat = contains(set, i) ? number : 0;
    if (plan[i].stat != 0) number *= plan[i].extent;
  }
  return plan;
}

// Cells: what sums are kept for and coefficients laid out along. The plan with the cell's number for a statistic and
// without params.
inline Axes number_cells(Axes plan, AxisSet cell) {
  for (Axis& a : plan) a.param = 0;
  return numbered(plan, cell);
}

// The cells themselves as a tensor: x is the cell's number, stat and param what the plan has there.
inline Axes cells_of(const Axes& plan, AxisSet cell) {
  const Axes number = numbered(plan, cell);
  Axes result;
  for (int i = 0; i < plan.size(); ++i) {
    if (number[i].stat != 0) result.push_back({plan[i].extent, number[i].stat, plan[i].stat, plan[i].param});
  }
  return coalesce(result);
}

// The plan's axes that satisfy a predicate, as a set of positions.
template <class Predicate>
AxisSet select(const Axes& plan, Predicate predicate) {
  AxisSet set = 0;
  for (int i = 0; i < plan.size(); ++i) {
    if (predicate(plan[i])) set |= axis(i);
  }
  return set;
}

// How many neighbouring cells must stay together so that no statistic is divided: all from the outermost axis that is
// cell but not kept inwards; 1 if there is none.
inline Index granule(const Axes& plan, AxisSet cells) {
  Index n = 1, result = 1;
  for (int i = plan.size() - 1; i >= 0; --i) {
    if (!contains(cells, i)) continue;
    n *= plan[i].extent;
    if (!is_kept(plan[i])) result = n;
  }
  return result;
}

// How many statistics so many neighbouring cells make, whole ones.
inline Index stats_together(const Axes& plan, AxisSet cells, Index together) {
  Index n = 1, result = 1;
  for (int i = plan.size() - 1; i >= 0 && n < together; --i) {
    if (!contains(cells, i)) continue;
    n *= plan[i].extent;
    if (is_kept(plan[i])) result *= plan[i].extent;
  }
  return result;
}

// Cells finer than statistics: inner runs shorter than `short_run` become columns of their own, to be summed up
// afterwards, where at least `few_rows` lie outside to be summed along, and longer runs where every element has a
// parameter of its own. Groups of channels last, small images and channels first in column-major order so take wide
// columns and not short rows. At most so many cells may have to stay together, and make so many statistics.
// @post contains every kept axis; is the kept axes where refining does not pay
inline AxisSet refined(const Axes& plan, Index short_run, Index few_rows, Index most_cells, Index most_stats) {
  const AxisSet kept = select(plan, is_kept);
  int first = 0;  // the first kept axis inside a reduced one
  Index rows = 1;
  while (first < plan.size() && is_kept(plan[first])) ++first;
  for (; first < plan.size() && !is_kept(plan[first]); ++first) rows *= plan[first].extent;
  if (first == plan.size()) return kept;
  Index run = 1;
  for (int i = plan.size() - 1; i >= first && is_kept(plan[i]) == is_kept(plan.back()); --i) run *= plan[i].extent;
  const AxisSet cells = kept | (axes_below(plan.size()) & ~axes_below(first));
  const bool pays = run < short_run ? rows >= few_rows : !is_kept(plan.back()) && is_affine(plan.back());
  const Index together = granule(plan, cells);
  return pays && together <= most_cells && stats_together(plan, cells, together) <= most_stats ? cells : kept;
}

// The plan with its narrow columns made wide: where the innermost axis is kept and at most `narrow` long, as many
// neighbouring rows of the reduced axis outside as give `wide` elements at most become an axis of their own, marked in
// `cells`, so that vectors are full and a row is worth its overhead. At least `few_rows` stay.
inline Axes widened(const Axes& plan, AxisSet& cells, Index narrow, Index wide, Index few_rows) {
  const int inner = plan.size() - 1, outer = inner - 1;
  if (outer < 0 || !is_kept(plan[inner]) || plan[inner].extent > narrow) return plan;
  if (contains(cells, outer) || is_affine(plan[outer])) return plan;
  Index together = (std::min)(wide / plan[inner].extent, plan[outer].extent / few_rows);
  while (together > 1 && plan[outer].extent % together != 0) --together;
  if (together <= 1) return plan;
  Axes result = plan;
  result[outer].extent = together;
  result[inner] = result[outer];
  result[outer].extent = plan[outer].extent / together;
  result[outer].x = together * plan[outer].x;
  result.push_back(plan[inner]);
  cells = (cells & axes_below(inner)) | axis(inner) | axis(inner + 1);
  return result;
}

}  // namespace core
}  // namespace tensornorm
