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

// Sums are kept for cells: the statistics, or finer where `refined` and `widened` say so. Coefficients are laid out for
// fine cells, which know their parameter too; where parameters vary along nearly every element of a statistic
// (LayerNorm) that would be a copy of x, and the map takes statistics and parameters apart: it goes `across`.
//
// Statistics are numbered in the order of x here, so that those of neighbouring cells are neighbours.
struct Traversal {
  static constexpr Index kShortRun = 96;             // inner runs worth refining: some tails of vectors are spared
  static constexpr Index kFewRows = 16;              // rows that float sums may take: fewer do not pay for columns
  static constexpr Index kShortFineRun = 8;          // fine rows shorter than a vector go across instead
  static constexpr Index kNarrow = 63, kWide = 256;  // columns worth widening, and what they become at most

  Axes plan;
  AxisSet cell_set;
  bool across;
  AxisSet fine_set;
  Axes statistics;         // as a tensor: x is the number in the order of x, stat the plan's, which layers save under
  Axes cells, fine_cells;  // as tensors: x is the cell's number, stat the statistic's in the order of x
  Axes saved_cells, fine_saved;  // the same with the plan's stat
  Axes shares;                   // what one statistic gives one parameter, with the plan's stat
  Axes share_of;                 // the fine cells with their share as stat
  Axes line_params;              // the reduced axes, for their param
  Walk walk, fine;
  Index granule, granule_stats;  // cells that stay together, and how many statistics they make
  Index fineness;                // fine cells in a cell
  Index stat_size, params;       // elements of a statistic; how many parameters, where there are any
  Places places;                 // along a cell's line, where its mean is estimated
  Cut cut;                       // of the forward pass

  Traversal(const Axes& full_plan, const Uses& uses)
      : Traversal(Choice(uses.affine ? coalesce(full_plan) : without_param(full_plan)), uses) {}

  Index cell_number(Index group, Index k) const { return group * walk.cells() + k; }
  Index fine_number(Index group, Index c) const { return group * fine.cells() + c; }
  // The number, in the order of x, of the first statistic of a granule's first cell.
  Index first_stat(Index cell) const { return cell / granule * granule_stats; }

  // Calls visit(c0, c1, p0, p1) for the fine cells of the cells [k0, k1), at most Cut::kBlockCells at a time, and the
  // positions of their lines: part `part` of `parts` of either.
  void visit_fine(Index k0, Index k1, Index part, Index parts,
                  FunctionRef<void(Index c0, Index c1, Index p0, Index p1)> visit) const {
    const bool by_cell = fineness > 1;
    const Index n = (k1 - k0) * fineness, line = fine.line();
    const Index begin = k0 * fineness + (by_cell ? part_begin(n, part, parts) : 0);
    const Index end = k0 * fineness + (by_cell ? part_begin(n, part + 1, parts) : n);
    const Index p0 = by_cell ? 0 : part_begin(line, part, parts);
    const Index p1 = by_cell ? line : part_begin(line, part + 1, parts);
    // Equal chunks, of whole lines: a small one at the end would not fill any.
    const Index chunks = (end - begin + Cut::kBlockCells - 1) / Cut::kBlockCells,
                lines = (end - begin) / Cut::kLineCells;
    for (Index c = begin, chunk = 1; chunk <= chunks; ++chunk) {
      const Index next = chunk == chunks ? end : begin + part_begin(lines, chunk, chunks) * Cut::kLineCells;
      visit(c, next, p0, p1);
      c = next;
    }
  }

  // Calls visit(tile, i, params) for part `part` of `parts` of the lines of the cells [k0, k1): tiles whose rows or
  // columns, from the block's cell i on, share their line parameters.
  void visit_across(Index group, Index k0, Index k1, Index part, Index parts,
                    FunctionRef<void(const Tile&, Index i, const LineParams&)> visit) const {
    const Index p0 = part_begin(walk.line(), part, parts), p1 = part_begin(walk.line(), part + 1, parts);
    const Index run = LineParams::contiguous_run(line_params);
    const Index alike = walk.cell_param() == 0 ? k1 - k0 : 1;
    for (Index k = k0; k < k1; k += alike) {
      for (Index p = p0, end = p0; p < p1; p = end) {
        end = (std::min)(run > 0 ? (p / run + 1) * run : p + Cut::kBlockCells, p1);
        walk.visit(group, k, k + alike, p, end, [&](const Tile& tile) {
          const Index base = tile.param + k * walk.cell_param();
          visit(tile, k - k0, LineParams(line_params, base, tile.position, tile.count));
        });
      }
    }
  }

 private:
  struct Choice {
    explicit Choice(const Axes& coalesced)
        : cells(refined(coalesced, kShortRun, kFewRows, Cut::kBlockCells)),
          plan(widened(coalesced, cells, kNarrow, kWide, kFewRows)) {}

    AxisSet cells;
    Axes plan;
  };

  // Members in their order: each needs those above it.
  Traversal(const Choice& choice, const Uses& uses)
      : plan(choice.plan), cell_set(choice.cells), across(goes_across()), fine_set(cell_or_affine()),
        statistics(cells_of(plan, select(plan, is_kept))), cells(cells_of(in_order(), cell_set)),
        fine_cells(cells_of(in_order(), fine_set)), saved_cells(cells_of(plan, cell_set)),
        fine_saved(cells_of(plan, fine_set)), shares(cells_of(plan, share_set())),
        share_of(cells_of(numbered(plan, share_set()), fine_set)), line_params(reduced_params()),
        walk(walked(cell_set, across)), fine(walked(fine_set, false)), granule(core::granule(plan, cell_set)),
        granule_stats(granule / finer_than_kept(granule)), fineness(fine.cells() / walk.cells()),
        stat_size(plan.count() / statistics.count()), params(kept_count(dual(plan))), places(choose_places()),
        cut(walk, granule, uses.element_bytes, uses.frozen) {}

  AxisSet share_set() const {
    return select(plan, [](const Axis& a) { return is_kept(a) || is_affine(a); });
  }

  // The plan with its statistics numbered in the order of x.
  Axes in_order() const { return numbered(plan, select(plan, is_kept)); }

  // How many of `together` neighbouring cells, whole statistics, share a statistic.
  Index finer_than_kept(Index together) const {
    Index result = 1, n = 1;
    for (int i = plan.size() - 1; i >= 0 && n < together; --i) {
      if (!contains(cell_set, i)) continue;
      n *= plan[i].extent;
      if (!is_kept(plan[i])) result *= plan[i].extent;
    }
    return result;
  }

  AxisSet cell_or_affine() const { return cell_set | select(plan, is_affine); }

  // Whether cells that know their parameter would be many, short or scattered. They are not if there are, from inside:
  // a run of one parameter that fills vectors, reduced axes with parameters, then cells alone.
  bool goes_across() const {
    const AxisSet set = cell_or_affine();
    if (set == cell_set) return false;
    int i = plan.size() - 1;
    if (contains(set, i) || plan[i].extent < kShortFineRun) return true;
    while (i >= 0 && !contains(set, i)) --i;
    while (i >= 0 && contains(set, i) && !contains(cell_set, i)) --i;
    return (i >= 0 && !contains(cell_set, i)) || (set & axes_below(i + 1)) != (cell_set & axes_below(i + 1));
  }

  Axes reduced_params() const {
    Axes result;
    Index position = 1;
    for (int i = plan.size() - 1; i >= 0; --i) {
      if (contains(cell_set, i)) continue;
      result.push_back({plan[i].extent, position, 0, plan[i].param});
      position *= plan[i].extent;
    }
    return coalesce(result);
  }

  Walk walked(AxisSet set, bool with_cell_params) const {
    Axes axes = number_cells(plan, set);
    for (int i = 0; with_cell_params && i < axes.size(); ++i) {
      if (contains(set, i)) axes[i].param = plan[i].param;
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

}  // namespace core
}  // namespace tensornorm
