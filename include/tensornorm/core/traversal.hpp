// Traversal: which cells a plan is reduced to, which shape that gives, and how its coefficients are laid out.
#pragma once

#include "tensornorm/core/estimate.hpp"
#include "tensornorm/core/runs.hpp"

namespace tensornorm {
namespace core {

// What a traversal is for, besides its axes.
struct Uses {
  Index element_bytes;
  bool affine, frozen;  // whether there are parameters; whether statistics are given
};

// A plan and its cells. Sums are kept for cells: the statistics, or finer where `refined` and `widened` say so.
// Coefficients are laid out for fine cells, which know their parameter too; where parameters vary along nearly every
// element of a statistic (LayerNorm) that would be a copy of x, and the map takes statistics and parameters apart: it
// goes `across`.
struct CellPlan {
  static constexpr Index kShortRun = 96;             // inner runs worth refining: some tails of vectors are spared
  static constexpr Index kFewRows = 16;              // rows that float sums may take: fewer do not pay for columns
  static constexpr Index kShortFineRun = 8;          // fine rows shorter than a vector go across instead
  static constexpr Index kNarrow = 63, kWide = 256;  // columns worth widening, and what they become at most

  AxisSet cells;
  Axes plan;
  AxisSet fine;
  bool across;

  CellPlan(const Axes& full_plan, const Uses& uses)
      : CellPlan(uses.affine ? coalesce(full_plan) : without_param(full_plan)) {}

  // The plan with its statistics numbered in the order of x.
  Axes in_order() const { return numbered(plan, select(plan, is_kept)); }

 private:
  explicit CellPlan(const Axes& coalesced)
      : cells(refined(coalesced, kShortRun, kFewRows, Cut::kBlockCells, Cut::kStatsTogether)),
        plan(widened(coalesced, cells, kNarrow, kWide, kFewRows)), fine(cells | select(plan, is_affine)),
        across(goes_across()) {}

  // Whether cells that know their parameter would be many, short or scattered. They are not if there are, from inside:
  // a run of one parameter that fills vectors, reduced axes with parameters, then cells alone.
  bool goes_across() const {
    if (fine == cells) return false;
    int i = plan.size() - 1;
    if (contains(fine, i) || plan[i].extent < kShortFineRun) return true;
    while (i >= 0 && !contains(fine, i)) --i;
    while (i >= 0 && contains(fine, i) && !contains(cells, i)) --i;
    return (i >= 0 && !contains(cells, i)) || (fine & axes_below(i + 1)) != (cells & axes_below(i + 1));
  }
};

// Statistics are numbered in the order of x here, so that those of neighbouring cells are neighbours.
struct Traversal {
  bool across;
  Axes statistics;         // as a tensor: x is the number in the order of x, stat the plan's, which layers save under
  Axes cells, fine_cells;  // as tensors: x is the cell's number, stat the statistic's in the order of x; of fine cells
                           // the plan's stat where statistics are given
  Axes line_params;        // the reduced axes, for their param
  Walk walk, fine;
  Index granule, granule_stats;  // cells that stay together, and how many statistics they make
  Index fineness;                // fine cells in a cell
  Index elements, stat_size;     // of x, and of a statistic
  Index params;                  // how many parameters, where there are any
  // Doubles of forward's workspace. A thread's: 0 where the stack holds blocks whole. A thread's that shares parts of a
  // block. For copies of parameters. Completed by Forward.
  Index worker_size = 0, shared_worker_size = 0, copies_size = 0;
  Places places;  // along a cell's line, where its mean is estimated
  Cut cut;        // of the forward pass

  // Members in their order: each needs those above it.
  Traversal(const CellPlan& p, const Uses& uses)
      : across(p.across), statistics(cells_of(p.plan, select(p.plan, is_kept))), cells(cells_of(p.in_order(), p.cells)),
        fine_cells(cells_of(uses.frozen ? p.plan : p.in_order(), p.fine)), line_params(reduced_params(p)),
        walk(walked(p, p.cells, across)), fine(walked(p, p.fine, false)), granule(core::granule(p.plan, p.cells)),
        granule_stats(stats_together(p.plan, p.cells, granule)), fineness(fine.cells() / walk.cells()),
        elements(p.plan.count()), stat_size(elements / statistics.count()), params(kept_count(dual(p.plan))),
        places(choose_places()), cut(walk, granule, uses.element_bytes, uses.frozen) {}

  Index cell_number(Index group, Index k) const { return group * walk.cells() + k; }
  Index fine_number(Index group, Index c) const { return group * fine.cells() + c; }
  // The number, in the order of x, of the first statistic of a granule's first cell.
  Index first_stat(Index cell) const { return cell / granule * granule_stats; }

  // Calls visit(c0, c1, p0, p1) for the fine cells of the cells [k0, k1), `most` at a time, and the positions of their
  // lines: part `part` of `parts` of either.
  void visit_fine(Index k0, Index k1, Index part, Index parts, Index most,
                  FunctionRef<void(Index c0, Index c1, Index p0, Index p1)> visit) const {
    const bool by_cell = fineness > 1;
    const Index n = (k1 - k0) * fineness, line = fine.line();
    const Index begin = k0 * fineness + (by_cell ? part_begin(n, part, parts) : 0);
    const Index end = k0 * fineness + (by_cell ? part_begin(n, part + 1, parts) : n);
    const Index p0 = by_cell ? 0 : part_begin(line, part, parts);
    const Index p1 = by_cell ? line : part_begin(line, part + 1, parts);
    for_each_chunk(begin, end, most, [&](Index c0, Index c1) { visit(c0, c1, p0, p1); });
  }

  // Calls visit(tile, i, params) for part `part` of `parts` of the lines of the cells [k0, k1): tiles whose rows or
  // columns, from the block's cell i on, share their line parameters, `most` of them at a time where they must be
  // copied.
  void visit_across(Index group, Index k0, Index k1, Index part, Index parts, Index most,
                    FunctionRef<void(const Tile&, Index i, const LineParams&)> visit) const {
    const Index p0 = part_begin(walk.line(), part, parts), p1 = part_begin(walk.line(), part + 1, parts);
    const Index run = LineParams::contiguous_run(line_params);
    const Index alike = walk.cell_param() == 0 ? k1 - k0 : 1;
    for (Index k = k0; k < k1; k += alike) {
      Chunks chunks(p0, p0, most);
      Index chunk = 0;
      for (Index p = p0, end = p0; p < p1; p = end) {
        if (run > 0) {
          end = p1 <= run ? p1 : (std::min)((p / run + 1) * run, p1);
        } else {
          if (chunk == chunks.count() || p == p0) {
            chunks = Chunks(p, (std::min)(p + Cut::kBlockCells, p1), most);
            chunk = 0;
          }
          end = chunks.begin_of(++chunk);
        }
        walk.visit(group, k, k + alike, p, end, [&](const Tile& tile) {
          const Index base = tile.param + k * walk.cell_param();
          visit(tile, k - k0, LineParams(line_params, base, tile.position, tile.count));
        });
      }
    }
  }

 private:
  static Axes reduced_params(const CellPlan& p) {
    Axes result;
    Index position = 1;
    for (int i = p.plan.size() - 1; i >= 0; --i) {
      if (contains(p.cells, i)) continue;
      result.push_back({p.plan[i].extent, position, 0, p.plan[i].param});
      position *= p.plan[i].extent;
    }
    return coalesce(result);
  }

  static Walk walked(const CellPlan& p, AxisSet set, bool with_cell_params) {
    Axes axes = number_cells(p.plan, set);
    for (int i = 0; with_cell_params && i < axes.size(); ++i) {
      if (contains(set, i)) axes[i].param = p.plan[i].param;
    }
    return Walk(coalesce(axes));
  }

  // Spread evenly, each place in the middle of its share of the line but whole within its run.
  Places choose_places() const {
    constexpr Index kNeighbours = 16;    // of a row, at a place
    constexpr Index kRowPerPlace = 128;  // elements of a row for each place: costs little beside summing them
    Places result;
    const Index line = walk.line(), run = walk.run(), per_stat = granule / granule_stats;
    const Index wanted = walk.columns() ? Places::kMost / per_stat : (std::min)(line / kRowPerPlace, Index{8});
    const Index most = walk.columns() ? line : (std::max)(line / kNeighbours, Index{1});
    result.count = static_cast<int>((std::min)({(std::max)(wanted, Index{2}), most, Index{Places::kMost}}));
    for (int i = 0; i < result.count; ++i) {
      const Index middle = line / result.count * i + line / result.count / 2;
      const Index begin = walk.columns() ? middle : middle / run * run;
      result.offsets[i] = walk.line_offset((std::max)(begin, (std::min)(middle, begin + run - kNeighbours)));
    }
    return result;
  }
};

// What backward needs besides, as tensors: x is the number in the order of x, stat the plan's.
struct GradientCells {
  Axes cells, fine;  // the cells and the fine cells
  Axes shares;       // what one statistic gives one parameter
  Axes share_of;     // the fine cells with their share as stat
  Index granule;     // fine cells that make whole statistics
  bool crosses;      // whether the sums of dx and those of the parameters cross; see BackwardAcross
  Cut cut;
  Index worker_size = 0;  // doubles of the workspace that a thread needs; completed by BackwardPass

  GradientCells(const CellPlan& p, const Traversal& t, const Uses& uses)
      : cells(cells_of(p.plan, p.cells)), fine(cells_of(p.plan, p.fine)), shares(cells_of(p.plan, share_set(p))),
        share_of(cells_of(numbered(p.plan, share_set(p)), p.fine)), granule(core::granule(p.plan, p.fine)),
        crosses(t.across && t.granule == 1 && share_set(p) == axes_below(p.plan.size())),
        cut(crosses ? Cut(t.walk, 1, 2 * uses.element_bytes, /*once=*/false, Cut::kFloatAdds)
                    : Cut(t.fine, (std::min)(granule, t.fine.cells()), 2 * uses.element_bytes,
                          /*once=*/uses.frozen && !uses.affine)) {}

 private:
  static AxisSet share_set(const CellPlan& p) {
    return select(p.plan, [](const Axis& a) { return is_kept(a) || is_affine(a); });
  }
};

}  // namespace core
}  // namespace tensornorm
