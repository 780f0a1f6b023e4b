// Plan: which bins a tensor is reduced to, which loop shape that gives, and how coefficients are laid out.
#pragma once

#include "tensornorm/core/plan/bin_runs.hpp"
#include "tensornorm/core/plan/partition.hpp"
#include "tensornorm/core/plan/sample_points.hpp"

namespace tensornorm {
namespace core {

// What a plan is for, besides its axes.
struct Uses {
  Index element_bytes = 0;
  bool affine = false, frozen = false;  // whether there are parameters; whether statistics are given
};

inline bool operator==(const Uses& a, const Uses& b) {
  return a.element_bytes == b.element_bytes && a.affine == b.affine && a.frozen == b.frozen;
}

// The bins of a layer's axes. Sums are kept for bins: the statistics, or finer where `rows_to_columns` and
// `join_columns` say so. Coefficients are laid out for map bins, which know their parameter too. Where parameters
// vary along nearly every element of a statistic (LayerNorm) that would be a copy of x: the map then reads statistics
// and parameters apart.
struct Binning {
  static constexpr Index kShortRun = 96;             // shorter inner runs become columns: spares vectors' tails
  static constexpr Index kFewRows = 16;              // rows that float sums may take: fewer do not pay for columns
  static constexpr Index kShortMapRun = 8;           // rows of map bins shorter than a vector: parameters apart instead
  static constexpr Index kNarrow = 63, kWide = 256;  // columns worth joining, and what they become at most
  static constexpr Index kApartRows = 64;            // rows that are not worth joining, at most
  static constexpr Index kSmall = 16 << 10;          // elements of a tensor that goes straight to the kernels, at most

  Axes axes;
  AxisSet bins, map_bins;
  bool params_apart;

  Binning(const Axes& full_axes, const Uses& uses) : axes(full_axes) { choose(uses); }
  // With axes that are made where they stay.
  Binning(FunctionRef<Axes()> full_axes, const Uses& uses) : axes(full_axes()) { choose(uses); }

  // The axes with their statistics numbered in the order of x.
  Axes in_order() const { return numbered(axes, select(axes, is_kept)); }

 private:
  __attribute__((cold, noinline)) void choose(const Uses& uses) {
    if (!uses.affine) drop_param(axes);
    merge(axes);
    bins = rows_to_columns(axes, kShortRun, kFewRows, Partition::kBlockBins, Partition::kStatsTogether);
    choose_map();
    // Bins that stay together must lie in one group of the walk. Otherwise each statistic is a bin.
    if (bins_of_group(axes, bins, params_apart) % multiple(axes, bins) != 0) {
      bins = select(axes, is_kept);
      choose_map();
    }
    // A parameter of each column that the walk keeps would part those that are joined.
    if (axes.empty() || (map_bins != bins && is_affine(axes.back()))) return;
    // Few rows of whole vectors take less time apart, as a small plan, than folding what joined ones make (measured
    // with AVX-512, forward: 32 rows of 16 and of 64 take 0.6 and 0.5 of the time; 2000 rows of 7 would take twice as
    // long).
    const Index inner = axes.back().extent, rows = axes.count() / inner;
    if (inner >= Partition::kCacheLineBins && rows <= kApartRows) return;
    join_columns(axes, bins, kNarrow, kWide, kFewRows);
    choose_map();
  }

  // The map takes the bins of one group at a time: where its own walk has other groups, it reads parameters apart.
  void choose_map() {
    map_bins = bins | select(axes, is_affine);
    params_apart = has_params_apart() || groups(bins) != groups(map_bins);
  }
  Index groups(AxisSet set) const {
    Index all = 1;
    for (int i = 0; i < axes.size(); ++i) all *= contains(set, i) ? axes[i].extent : 1;
    return all / bins_of_group(axes, set, false);
  }
  // Whether bins that know their parameter would be many, short or scattered. They are not if there are, from inside:
  // a run of one parameter that fills vectors, reduced axes with parameters, then bins alone.
  bool has_params_apart() const {
    if (map_bins == bins) return false;
    int i = axes.size() - 1;
    if (contains(map_bins, i) || axes[i].extent < kShortMapRun) return true;
    while (i >= 0 && !contains(map_bins, i)) --i;
    while (i >= 0 && contains(map_bins, i) && !contains(bins, i)) --i;
    return (i >= 0 && !contains(bins, i)) || (map_bins & axes_below(i + 1)) != (bins & axes_below(i + 1));
  }
};

// How x is walked, and what is kept for which of its elements. Statistics are numbered in the order of x here, so that
// those of neighbouring bins are neighbours.
struct Plan {
  bool params_apart;
  Axes statistics;      // as a tensor: x is the number in the order of x, stat the layer's, which it saves under
  Axes bins, map_bins;  // as tensors: x is the bin's number, stat the statistic's in the order of x; of map bins the
                        // layer's stat where statistics are given
  Axes line_params;     // the reduced axes, for their param
  Walk walk, map_walk;  // by bin, by map bin
  Index multiple, multiple_stats;  // bins that stay together, and how many statistics they make
  Index map_bins_per_bin;
  Index elements, stat_size;  // of x, and of a statistic
  Index span;                 // elements from the first of x to its last, gaps included
  Index params;               // how many parameters, where there are any
  // Doubles of forward's workspace. A thread's: 0 where the stack holds blocks whole. A thread's that shares parts of a
  // block. For copies of parameters. Completed by ForwardMemory.
  Index worker_size = 0, shared_worker_size = 0, copies_size = 0;
  SamplePoints samples;  // along a bin's line, where its mean is estimated
  Partition partition;   // of the forward pass
  bool is_small;         // whether x is `only_tile`: one block, and each of its bins a statistic
  Tile only_tile{};
  // Of a small plan: x is columns, as many as a vector has lanes at least, whose statistics are neighbours in the
  // layer's order, and their parameters too, where there are any.
  bool has_plain_columns = false;

  // Members in their order: each needs those above it.
  __attribute__((cold)) Plan(const Binning& b, const Uses& uses)
      : params_apart(b.params_apart), statistics(bins_of(b.axes, select(b.axes, is_kept))),
        bins(bins_of(b.in_order(), b.bins)), map_bins(bins_of(uses.frozen ? b.axes : b.in_order(), b.map_bins)),
        line_params(reduced_params(b)), walk(walked(b, b.bins, params_apart)), map_walk(walked(b, b.map_bins, false)),
        multiple(core::multiple(b.axes, b.bins)), multiple_stats(stats_together(b.axes, b.bins, multiple)),
        map_bins_per_bin(map_walk.bins() / walk.bins()), elements(b.axes.count()),
        stat_size(elements / statistics.count()), span(span_of(b.axes)), params(param_count(b.axes)),
        samples(choose_samples()), partition(walk, multiple, uses.element_bytes, uses.frozen),
        is_small(is_one_block()) {
    if (!is_small) return;
    walk.visit(0, 0, walk.bins(), 0, walk.line(), [&](const Tile& tile) { only_tile = tile; });
    constexpr Index kLeast = 4;  // lanes of the narrowest vector
    const bool is_plain = walk.columns() && !params_apart && statistics.size() == 1 && statistics[0].stat == 1;
    has_plain_columns = is_plain && only_tile.cols >= kLeast && map_bins.back().param == (uses.affine ? 1 : 0);
  }

  // Whether the kernels of columns may run. In place no vector may overlap another: it would read what that one stored.
  bool can_run_columns(bool in_place) const {
    constexpr Index kMost = 16;  // lanes of the widest vector
    return has_plain_columns && (!in_place || only_tile.cols % kMost == 0);
  }

  Index bin_number(Index group, Index k) const { return group * walk.bins() + k; }
  Index map_bin_number(Index group, Index c) const { return group * map_walk.bins() + c; }
  // The number, in the order of x, of the first statistic of a multiple's first bin.
  Index first_stat(Index bin) const { return bin / multiple * multiple_stats; }

  // Calls visit(c0, c1, p0, p1) for the map bins of the bins [k0, k1), `most` at a time, and the positions of their
  // lines: part `part` of `parts` of either.
  void visit_map_bins(Index k0, Index k1, Index part, Index parts, Index most,
                      FunctionRef<void(Index c0, Index c1, Index p0, Index p1)> visit) const {
    const bool by_bin = map_bins_per_bin > 1;
    const Index n = (k1 - k0) * map_bins_per_bin, line = map_walk.line();
    const Index begin = k0 * map_bins_per_bin + (by_bin ? part_begin(n, part, parts) : 0);
    const Index end = k0 * map_bins_per_bin + (by_bin ? part_begin(n, part + 1, parts) : n);
    const Index p0 = by_bin ? 0 : part_begin(line, part, parts);
    const Index p1 = by_bin ? line : part_begin(line, part + 1, parts);
    for_each_chunk(begin, end, most, [&](Index c0, Index c1) { visit(c0, c1, p0, p1); });
  }

  // Calls visit(tile, i, params) for part `part` of `parts` of the lines of the bins [k0, k1): tiles whose rows or
  // columns, from the block's bin i on, share their line parameters, `most` of them at a time where they must be
  // copied.
  void visit_params_apart(Index group, Index k0, Index k1, Index part, Index parts, Index most,
                          FunctionRef<void(const Tile&, Index i, const LineParams&)> visit) const {
    if (is_small && parts == 1 && k1 - k0 == walk.bins()) {
      return visit(only_tile, 0, LineParams(line_params, only_tile.param, 0, only_tile.count));
    }
    const Index p0 = part_begin(walk.line(), part, parts), p1 = part_begin(walk.line(), part + 1, parts);
    const Index run = LineParams::contiguous_run(line_params);
    const Index alike = walk.bin_param() == 0 ? k1 - k0 : 1;
    for (Index k = k0; k < k1; k += alike) {
      Chunks chunks(p0, p0, most);
      Index chunk = 0;
      for (Index p = p0, end = p0; p < p1; p = end) {
        if (run > 0) {
          end = p1 <= run ? p1 : (std::min)((p / run + 1) * run, p1);
        } else {
          if (chunk == chunks.count() || p == p0) {
            chunks = Chunks(p, (std::min)(p + Partition::kBlockBins, p1), most);
            chunk = 0;
          }
          end = chunks.begin_of(++chunk);
        }
        walk.visit(group, k, k + alike, p, end, [&](const Tile& tile) {
          const Index base = tile.param + k * walk.bin_param();
          visit(tile, k - k0, LineParams(line_params, base, tile.position, tile.count));
        });
      }
    }
  }

 private:
  static Index span_of(const Axes& axes) {
    Index span = 1;
    for (const Axis& a : axes) span += (a.extent - 1) * a.x;
    return span;
  }

  static Axes reduced_params(const Binning& b) {
    Axes result;
    Index position = 1;
    for (int i = b.axes.size() - 1; i >= 0; --i) {
      if (contains(b.bins, i)) continue;
      result.push_back({b.axes[i].extent, position, 0, b.axes[i].param});
      position *= b.axes[i].extent;
    }
    merge(result);
    return result;
  }

  static Walk walked(const Binning& b, AxisSet set, bool with_bin_params) {
    return Walk(walk_axes(b.axes, set, with_bin_params));
  }

  // Whether the map takes the tile too, and parameters lie as it reads them.
  bool is_one_block() const {
    if (!walk.is_one_tile() || multiple > 1 || partition.blocks != 1 || partition.parts != 1) return false;
    if (elements > Binning::kSmall || elements == 0) return false;
    if (params_apart) return walk.bin_param() == 0 && LineParams::contiguous_run(line_params) >= walk.line();
    return map_walk.is_one_tile() && map_walk.columns() == walk.columns() && map_bins_per_bin == 1;
  }

  // Spread evenly, each point in the middle of its share of the line, with its neighbours in one run.
  SamplePoints choose_samples() const {
    constexpr Index kNeighbours = 16;    // of a row, at a point
    constexpr Index kRowPerPoint = 128;  // elements of a row for each point: costs little beside summing them
    SamplePoints result;
    const Index line = walk.line(), run = walk.run(), per_stat = multiple / multiple_stats;
    const Index wanted = walk.columns() ? SamplePoints::kMost / per_stat : (std::min)(line / kRowPerPoint, Index{8});
    const Index most = walk.columns() ? line : (std::max)(line / kNeighbours, Index{1});
    result.count = static_cast<int>((std::min)({(std::max)(wanted, Index{2}), most, Index{SamplePoints::kMost}}));
    for (int i = 0; i < result.count; ++i) {
      const Index middle = line / result.count * i + line / result.count / 2;
      const Index begin = walk.columns() ? middle : middle / run * run;
      result.offsets[i] = walk.line_offset((std::max)(begin, (std::min)(middle, begin + run - kNeighbours)));
    }
    return result;
  }
};

// What backward needs besides, as tensors: x is the number in the order of x, stat the layer's.
struct BackwardPlan {
  Axes bins, map_bins;
  Axes shares;     // what one statistic gives one parameter
  Axes share_of;   // the map bins with their share as stat
  Index multiple;  // map bins that make whole statistics
  bool crosses;    // whether the sums of dx and those of the parameters cross; see BackwardApart
  Partition partition;
  Index worker_size = 0;  // doubles of the workspace that a thread needs; completed by PassEngine

  __attribute__((cold)) BackwardPlan(const Binning& b, const Plan& plan, const Uses& uses)
      : bins(bins_of(b.axes, b.bins)), map_bins(bins_of(b.axes, b.map_bins)), shares(bins_of(b.axes, share_set(b))),
        share_of(bins_of(numbered(b.axes, share_set(b)), b.map_bins)), multiple(core::multiple(b.axes, b.map_bins)),
        crosses(plan.params_apart && plan.multiple == 1 && share_set(b) == axes_below(b.axes.size())),
        partition(crosses ? Partition(plan.walk, 1, 2 * uses.element_bytes, /*once=*/false,
                                      Partition::kBackwardDenseBytes, Partition::kFloatAdds)
                          : Partition(plan.map_walk, (std::min)(multiple, plan.map_walk.bins()), 2 * uses.element_bytes,
                                      /*once=*/uses.frozen && !uses.affine, Partition::kBackwardDenseBytes)) {}

 private:
  static AxisSet share_set(const Binning& b) {
    return select(b.axes, [](const Axis& a) { return is_kept(a) || is_affine(a); });
  }
};

}  // namespace core
}  // namespace tensornorm
