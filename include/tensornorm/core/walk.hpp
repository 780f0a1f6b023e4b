// Walk: cells and the line each is reduced along, cut into rank-2 tiles for the kernels.
#pragma once

#include "tensornorm/core/function_ref.hpp"
#include "tensornorm/core/plan.hpp"

namespace tensornorm {
namespace core {

// Counts through axes from outer to inner, from any position.
class Odometer {
 public:
  explicit Odometer(Axes&&, Index = 0) = delete;  // keeps a reference
  explicit Odometer(const Axes& axes, Index first = 0) : axes_(axes) {
    for (int i = axes_.size() - 1; i >= 0 && first > 0; --i) {
      const Index at = first % axes_[i].extent;
      at_[static_cast<std::size_t>(i)] = at;
      first /= axes_[i].extent;
      step(i, at);
    }
  }

  Index x() const { return x_; }
  Index stat() const { return stat_; }
  Index param() const { return param_; }

  void next() {
    for (int i = axes_.size() - 1; i >= 0; --i) {
      Index& at = at_[static_cast<std::size_t>(i)];
      step(i, 1);
      if (++at < axes_[i].extent) return;
      step(i, -at);
      at = 0;
    }
  }

 private:
  void step(int i, Index n) {
    x_ += n * axes_[i].x;
    stat_ += n * axes_[i].stat;
    param_ += n * axes_[i].param;
  }

  const Axes& axes_;
  std::array<Index, Axes::kCapacity> at_{};
  Index x_ = 0, stat_ = 0, param_ = 0;
};

// `rows` rows of `cols` neighbouring elements, rows `stride` apart, the first at `offset`. Along the line a cell is
// reduced along, the tile covers `count` positions from `position` on.
struct Tile {
  Index offset, rows, cols, stride;
  Index position, count;
  Index param;  // offset of its group among the parameters
};

// A tensor as groups of cells. The innermost axis is reduced (row shape: a cell is a row) or kept (column shape: a cell
// is a column); the next one gives the tile its other side; what lies outside repeats: kept axes as groups, reduced
// ones as sweeps. All sweeps laid end to end are a cell's line.
class Walk {
 public:
  // @pre axes are coalesced and number the cells in their stat strides
  explicit Walk(Axes axes) : columns_(!axes.empty() && is_kept(axes.back())) {
    Axis inner{1, 1, 0, 0}, outer{1, 0, 0, 0};
    if (!axes.empty()) {
      inner = axes.back();
      axes.pop_back();
    }
    if (!axes.empty() && is_kept(axes.back()) != columns_) {
      outer = axes.back();
      axes.pop_back();
    }
    cells_ = columns_ ? inner : outer;
    run_ = columns_ ? outer : inner;
    for (const Axis& a : axes) (is_kept(a) ? groups_ : sweeps_).push_back(a);
  }

  bool columns() const { return columns_; }
  Index groups() const { return groups_.count(); }
  Index cells() const { return cells_.extent; }  // in a group
  Index run() const { return run_.extent; }      // of a cell in one sweep
  Index line() const { return run_.extent * sweeps_.count(); }
  Index cell_param() const { return cells_.param; }

  // Calls visit(Tile) for the cells [k0, k1) of a group over the positions [p0, p1) of their lines, in order.
  void visit(Index group, Index k0, Index k1, Index p0, Index p1, FunctionRef<void(const Tile&)> visit) const {
    const Odometer base(groups_, group);
    Odometer sweep(sweeps_, p0 / run());
    for (Index p = p0; p < p1; sweep.next()) {
      const Index first = p % run(), count = (std::min)(run() - first, p1 - p), n = k1 - k0;
      Tile tile{base.x() + sweep.x() + k0 * cells_.x + first * run_.x, n, count, cells_.x, p, count, base.param()};
      if (columns_) {
        tile.rows = count;
        tile.cols = n;
        tile.stride = run_.x;
      }
      visit(tile);
      p += count;
    }
  }

 private:
  bool columns_;
  Axis cells_{}, run_{};
  Axes groups_, sweeps_;
};

// Neighbouring cells of a group.
struct CellRange {
  Index group, k0, k1;

  Index size() const { return k1 - k0; }
};

// How the cells of a walk are cut into blocks small enough for the stack and, where it can be, the cache, and how a
// block's lines are cut into parts when there are too few blocks to share among threads. Shape alone decides.
struct Cut {
  static constexpr Index kBlockCells = 256;        // arrays of this length live on the stack
  static constexpr Index kBlockBytes = 128 << 10;  // a block read twice stays in half an L2 cache
  static constexpr Index kStrip = 64;              // columns in a strip, at least: whole cache lines, long runs
  static constexpr Index kFewBlocks = 16;          // fewer than this are cut into parts
  static constexpr Index kPartSize = 16 << 10;     // elements a part has, at least
  static constexpr Index kParts = 16;
  static constexpr Index kUnits = 64;

  Index group_cells, block_cells, blocks_per_group, blocks, parts;

  // `granule` neighbouring cells stay together.
  Cut(const Walk& walk, Index granule, Index bytes_per_element) : group_cells(walk.cells()) {
    const Index cell_bytes = (std::max<Index>)(walk.line() * bytes_per_element, 1);
    Index cells = (std::max<Index>)(kBlockBytes / cell_bytes, walk.columns() ? kStrip : 1);
    cells = (std::min)({cells, kBlockCells, group_cells});
    block_cells = (std::max)(cells / granule, Index{1}) * granule;
    blocks_per_group = (group_cells + block_cells - 1) / block_cells;
    blocks = walk.groups() * blocks_per_group;
    const Index elements = block_cells * walk.line();
    const Index most = (std::min)({kParts, elements / kPartSize, walk.line()});
    parts = blocks >= kFewBlocks ? 1 : (std::max<Index>)(most, 1);
  }

  CellRange block(Index b) const {
    const Index k0 = b % blocks_per_group * block_cells;
    return {b / blocks_per_group, k0, (std::min)(k0 + block_cells, group_cells)};
  }
};

}  // namespace core
}  // namespace tensornorm
