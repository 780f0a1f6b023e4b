// Bins: the sets of elements that sums are kept for, as a choice among a layer's axes.
#pragma once

#include "tensornorm/core/plan/shape.hpp"

namespace tensornorm {
namespace core {

// What a pass without parameters sees.
inline void drop_param(Axes& axes) {
  for (Axis& a : axes) a.param = 0;
}

// Number of parameters.
inline Index param_count(const Axes& axes) {
  Index n = 1;
  for (const Axis& a : axes) n *= is_affine(a) ? a.extent : 1;
  return n;
}

// The axes marked in `set` (one bit per position in `axes`) are numbered in the order of x by their stat strides, the
// others get 0.
// @pre axes are sorted by decreasing x
inline void number(Axes& axes, AxisSet set) {
  Index next = 1;
  for (int i = axes.size() - 1; i >= 0; --i) {
    axes[i].stat = contains(set, i) ? next : 0;
    if (axes[i].stat != 0) next *= axes[i].extent;
  }
}
__attribute__((cold)) inline Axes numbered(const Axes& axes, AxisSet set) {
  Axes result = axes;
  number(result, set);
  return result;
}

// The bins themselves as a tensor: x is the bin's number, stat and param what the axes have there.
__attribute__((cold)) inline Axes bins_of(const Axes& axes, AxisSet bin) {
  Index number = 1;
  for (int i = 0; i < axes.size(); ++i) number *= contains(bin, i) ? axes[i].extent : 1;
  Axes result;
  for (int i = 0; i < axes.size(); ++i) {
    if (!contains(bin, i)) continue;
    number /= axes[i].extent;
    result.push_back({axes[i].extent, number, axes[i].stat, axes[i].param});
  }
  merge(result);
  return result;
}

// The axes that satisfy a predicate, as a set of positions.
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

// Whether the axes from number `first` on are one run of memory in every tensor of the pass.
inline bool is_one_run(const Axes& axes, int first) {
  for (int i = first; i + 1 < axes.size(); ++i) {
    for (Index Axis::*const stride : {&Axis::x, &Axis::y, &Axis::z}) {
      if (axes[i].*stride != axes[i + 1].extent * (axes[i + 1].*stride)) return false;
    }
  }
  return true;
}

// Bins finer than statistics: inner runs shorter than `short_run` become columns of their own, to be summed up
// afterwards, where they lie side by side and at least `few_rows` lie outside to be summed along, and longer runs where
// every element has a parameter of its own. Groups of channels last, small images and channels first in column-major
// order so take wide columns and not short rows. At most so many bins may have to stay together, and make so many
// statistics.
// @post contains every kept axis; is the kept axes where finer bins do not pay
__attribute__((cold)) inline AxisSet rows_to_columns(const Axes& axes, Index short_run, Index few_rows, Index most_bins,
                                                     Index most_stats) {
  const AxisSet kept = select(axes, is_kept);
  int first = 0;  // the first kept axis inside a reduced one
  Index rows = 1;
  while (first < axes.size() && is_kept(axes[first])) ++first;
  for (; first < axes.size() && !is_kept(axes[first]); ++first) rows *= axes[first].extent;
  if (first == axes.size() || !is_one_run(axes, first)) return kept;
  Index run = 1;
  for (int i = axes.size() - 1; i >= first && is_kept(axes[i]) == is_kept(axes.back()); --i) run *= axes[i].extent;
  const AxisSet bins = kept | (axes_below(axes.size()) & ~axes_below(first));
  const bool pays = run < short_run ? rows >= few_rows : !is_kept(axes.back()) && is_affine(axes.back());
  const Index together = multiple(axes, bins);
  return pays && together <= most_bins && stats_together(axes, bins, together) <= most_stats ? bins : kept;
}

// Makes narrow columns wide: where the innermost axis is kept and at most `narrow` long, as many
// neighbouring rows of the reduced axis outside as give `wide` elements at most become an axis of their own, marked in
// `bins`, so that vectors are full and a row is worth its overhead. At least `few_rows` stay.
__attribute__((cold)) inline void join_columns(Axes& axes, AxisSet& bins, Index narrow, Index wide, Index few_rows) {
  const int inner = axes.size() - 1, outer = inner - 1;
  if (outer < 0 || axes.size() == Axes::kCapacity) return;
  if (!is_kept(axes[inner]) || axes[inner].extent > narrow) return;
  if (contains(bins, outer) || is_affine(axes[outer]) || !is_one_run(axes, outer)) return;
  Index together = (std::min)(wide / axes[inner].extent, axes[outer].extent / few_rows);
  while (together > 1 && axes[outer].extent % together != 0) --together;
  if (together <= 1) return;
  axes.push_back(axes[inner]);
  axes[inner] = axes[outer];
  axes[inner].extent = together;
  axes[outer].extent /= together;
  for (Index Axis::*const stride : {&Axis::x, &Axis::y, &Axis::z}) axes[outer].*stride *= together;
  bins = (bins & axes_below(inner)) | axis(inner) | axis(inner + 1);
}

}  // namespace core
}  // namespace tensornorm
