// Traversal: which cells a plan is reduced to, which shape that gives, and how its coefficients are laid out.
#pragma once

#include "tensornorm/core/arithmetic.hpp"
#include "tensornorm/core/walk.hpp"

namespace tensornorm {
namespace core {

// The parameters along the line of a tile, the same for all of its cells.
class LineParams {
 public:
  LineParams(const Axes& line, Index base, Index position, Index count)
      : line_(line), base_(base), position_(position), count_(count) {}

  // How many lie side by side in the order of the line before the next must be looked up; 0 where none do.
  static Index contiguous_run(const Axes& line) {
    if (line.empty()) return 1;
    return line.back().param == 1 ? line.back().extent : 0;
  }
  // @pre the tile lies within one such run
  bool are_contiguous() const { return contiguous_run(line_) > 0; }

  // Calls visit(i, p): the tile's parameter i is number p.
  template <class Visit>
  void each(const Visit& visit) const {
    Odometer at(line_, position_);
    for (Index i = 0; i < count_; ++i, at.next()) visit(i, base_ + at.param());
  }

  // Where they are in `params`, or a copy of them in the order of the line; null params read as 0.
  template <class T>
  PerRow<T> of(const T* params, T* buffer) const {
    static constexpr T kZero = 0;
    if (params == nullptr) return {&kZero, 0};
    if (are_contiguous()) return {first_of(params)};
    each([&](Index i, Index p) { buffer[i] = params[p]; });
    return {buffer};
  }

  // @pre are_contiguous()
  template <class T>
  T* first_of(T* params) const {
    return params + base_ + Odometer(line_, position_).param();
  }

 private:
  const Axes& line_;
  Index base_, position_, count_;
};

// Sums are kept for cells: the statistics, or finer where `refined` says so. Coefficients are laid out for fine cells,
// which know their parameter too; where parameters vary along nearly every element of a statistic (LayerNorm) that
// would be a copy of x, and the map takes statistics and parameters apart: it goes `across`.
struct Traversal {
  static constexpr Index kShortRun = 32;     // inner runs worth refining: less than four vectors
  static constexpr Index kShortFineRun = 8;  // fine rows shorter than a vector go across instead

  Axes plan;
  AxisSet cell_set, fine_set;
  bool across;
  Axes cells, fine_cells;  // as tensors, for their stat and param
  Axes line_params;        // the reduced axes, for their param
  Walk walk, fine;
  Index granule, fineness;  // cells that stay together; fine cells in a cell

  // Members in their order: each needs those above it.
  Traversal(const Axes& full_plan, bool affine)
      : plan(affine ? coalesce(full_plan) : without_param(full_plan)),
        cell_set(refined(plan, kShortRun, Cut::kBlockCells)), fine_set(cell_set | select(plan, is_affine)),
        across(fine_set != cell_set && !fine_rows_are_long()), cells(cells_of(plan, cell_set)),
        fine_cells(cells_of(plan, fine_set)), line_params(reduced_params()), walk(walked(cell_set, across)),
        fine(walked(fine_set, false)), granule(core::granule(plan, cell_set)), fineness(fine.cells() / walk.cells()) {}

  Index cell_number(Index group, Index k) const { return group * walk.cells() + k; }
  Index fine_number(Index group, Index c) const { return group * fine.cells() + c; }

  // Merges the values of the cells of each statistic; every cell gets the result.
  // @pre n is a multiple of granule, and granule at most Cut::kBlockCells
  template <class T, class Merge>
  void fold(T* values, Index n, const Merge& merge) const {
    Axes inner;  // cells of a granule, with their number among its statistics
    Index number = 1, stats = 1;
    for (int i = plan.size() - 1; i >= 0 && number < granule; --i) {
      if (!contains(cell_set, i)) continue;
      inner.push_back({plan[i].extent, number, is_kept(plan[i]) ? stats : 0, 0});
      number *= plan[i].extent;
      if (is_kept(plan[i])) stats *= plan[i].extent;
    }
    inner = coalesce(inner);
    T totals[Cut::kBlockCells];
    for (T* first = values; first < values + n; first += granule) {
      std::fill_n(totals, stats, T{});
      Odometer add(inner), spread(inner);
      for (Index i = 0; i < granule; ++i, add.next()) totals[add.stat()] = merge(totals[add.stat()], first[i]);
      for (Index i = 0; i < granule; ++i, spread.next()) first[i] = totals[spread.stat()];
    }
  }

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
    for (Index c = begin; c < end; c += Cut::kBlockCells) visit(c, (std::min)(c + Cut::kBlockCells, end), p0, p1);
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
  // Finer than statistics only where that gives every parameter's elements cells of their own.
  AxisSet chosen_cells() const {
    const AxisSet finer = refined(plan, kShortRun, Cut::kBlockCells);
    return (select(plan, is_affine) & ~finer) == 0 ? finer : select(plan, is_kept);
  }

  // From inside: a run of one parameter that fills vectors, reduced axes with parameters, then cells alone have any.
  // So the fine cells of a cell are neighbours.
  bool fine_rows_are_long() const {
    int i = plan.size() - 1;
    if (contains(fine_set, i) || plan[i].extent < kShortFineRun) return false;
    while (i >= 0 && !contains(fine_set, i)) --i;
    while (i >= 0 && contains(fine_set, i) && !contains(cell_set, i)) --i;
    if (i >= 0 && !contains(cell_set, i)) return false;
    return (fine_set & axes_below(i + 1)) == (cell_set & axes_below(i + 1));
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
};

}  // namespace core
}  // namespace tensornorm
