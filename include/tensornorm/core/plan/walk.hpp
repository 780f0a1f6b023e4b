// Walk: bins and the line each is reduced along, cut into rank-2 tiles for the kernels.
#pragma once

#include "tensornorm/core/function_ref.hpp"
#include "tensornorm/core/plan/bins.hpp"
#include "tensornorm/core/plan/tile.hpp"

namespace tensornorm {
namespace core {

// Counts through axes from outer to inner, from any position.
class Odometer {
 public:
  explicit Odometer(Axes&&, Index = 0) = delete;  // keeps a reference
  explicit Odometer(const Axes& axes, Index first = 0) : Odometer(axes.begin(), axes.size(), first) {}
  // Through `count` axes from `axes` on.
  Odometer(const Axis* axes, int count, Index first) : axes_(axes), count_(count) {
    for (int i = count_ - 1; i >= 0; --i) {
      Index at = 0;
      if (first != 0) {  // spares the divisions
        at = first % axes_[i].extent;
        first /= axes_[i].extent;
        step(i, at);
      }
      at_[static_cast<std::size_t>(i)] = at;
    }
  }

  Index x() const { return x_; }
  Index y() const { return y_; }
  Index z() const { return z_; }
  Index stat() const { return stat_; }
  Index param() const { return param_; }

  void next() {
    for (int i = count_ - 1; i >= 0; --i) {
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
    y_ += n * axes_[i].y;
    z_ += n * axes_[i].z;
    stat_ += n * axes_[i].stat;
    param_ += n * axes_[i].param;
  }

  const Axis* axes_;
  int count_;
  std::array<Index, Axes::kCapacity> at_;  // as many as there are axes
  Index x_ = 0, y_ = 0, z_ = 0, stat_ = 0, param_ = 0;
};

// A dense tile of so many elements is longer than what the processor reads ahead by itself; it reads so many ahead.
constexpr Index kLongTile = 64 << 10, kTileAhead = 4 << 10;

// A tensor as groups of bins. The innermost axis is reduced (row shape: a bin is a row) or kept (column shape: a bin
// is a column); the next one gives the tile its other side; what lies outside repeats: kept axes as groups, reduced
// ones as sweeps. All sweeps laid end to end are a bin's line.
class Walk {
 public:
  // @pre axes are coalesced and number the bins in their stat strides
  __attribute__((cold)) explicit Walk(const Axes& axes) : columns_(!axes.empty() && is_kept(axes.back())) {
    Axis inner{1, 1, 0, 0, 1, 1}, outer{1, 0, 0, 0};
    int rest = axes.size();  // axes outside of those two
    if (rest > 0) inner = axes[--rest];
    if (rest > 0 && is_kept(axes[rest - 1]) != columns_) outer = axes[--rest];
    bins_ = columns_ ? inner : outer;
    run_ = columns_ ? outer : inner;
    for (const bool kept : {true, false}) {
      for (int i = 0; i < rest; ++i) {
        if (is_kept(axes[i]) == kept) outer_.push_back(axes[i]);
      }
      if (kept) groups_ = outer_.size();
    }
    for (int i = 0; i < outer_.size(); ++i) (i < groups_ ? group_count_ : sweep_count_) *= outer_[i].extent;
    const auto alike = [](const Axis& a) { return a.y == a.x && a.z == a.x; };
    one_layout_ = alike(bins_) && alike(run_) && std::all_of(outer_.begin(), outer_.end(), alike);
  }

  bool columns() const { return columns_; }
  Index groups() const { return group_count_; }
  Index bins() const { return bins_.extent; }  // in a group
  Index run() const { return run_.extent; }    // of a bin in one sweep
  Index line() const { return run_.extent * sweep_count_; }
  Index bin_param() const { return bins_.param; }
  Index bin_stride() const { return bins_.x; }
  Index run_stride() const { return run_.x; }

  // Offsets from a bin's first element along its line, and of a bin.
  Index line_offset(Index position) const { return sweep_at(position / run()).x() + position % run() * run_.x; }
  Index bin_offset(Index group, Index k) const { return group_at(group).x() + k * bins_.x; }
  // Whether all of x is one tile.
  bool is_one_tile() const { return outer_.empty(); }
  // Whether a bin is one run of memory.
  bool is_dense() const { return !columns_ && groups_ == outer_.size(); }

  // Calls visit(Tile) for the bins [k0, k1) of a group over the positions [p0, p1) of their lines, in order.
  __attribute__((noinline)) void visit(Index group, Index k0, Index k1, Index p0, Index p1,
                                       FunctionRef<void(const Tile&)> visit) const {
    const Odometer base = group_at(group);
    Odometer sweep = sweep_at(p0 == 0 ? 0 : p0 / run());
    const Index n = k1 - k0;
    for (Index p = p0, first = p0 == 0 ? 0 : p0 % run(); p < p1; first = 0) {
      const Index count = (std::min)(run() - first, p1 - p);
      const Index here = sweep.x() + first * run_.x;
      Tile tile{base.x() + k0 * bins_.x + here, n, count, bins_.x, p, count, base.param(), 0};
      tile.span = n * bins_.x;
      if (columns_) {
        tile.rows = count;
        tile.cols = n;
        tile.stride = run_.x;
        tile.span = run() * run_.x;
      }
      if (one_layout_) {
        tile.y_offset = tile.z_offset = tile.offset;
        tile.y_stride = tile.z_stride = tile.stride;
      } else {
        tile.y_offset = base.y() + k0 * bins_.y + sweep.y() + first * run_.y;
        tile.z_offset = base.z() + k0 * bins_.z + sweep.z() + first * run_.z;
        tile.y_stride = columns_ ? run_.y : bins_.y;
        tile.z_stride = columns_ ? run_.z : bins_.z;
      }
      sweep.next();
      if (p + count < p1) {
        tile.next = sweep.x() - here;
      } else if (is_dense() && n * count >= kLongTile) {
        tile.next = kTileAhead;
      }
      visit(tile);
      p += count;
    }
  }

 private:
  Odometer group_at(Index group) const { return {outer_.begin(), groups_, group}; }
  Odometer sweep_at(Index sweep) const { return {outer_.begin() + groups_, outer_.size() - groups_, sweep}; }

  bool columns_;
  Axis bins_{}, run_{};
  Axes outer_;      // the groups' axes, then the sweeps'
  int groups_ = 0;  // how many of them are the groups'
  Index group_count_ = 1, sweep_count_ = 1;
  bool one_layout_ = true;  // whether all tensors lie alike
};

// The axes of a Walk with bins along `bins`. Parameters along bins stay if `with_bin_params`; all others are dropped.
inline Axes walk_axes(const Axes& full, AxisSet bins, bool with_bin_params) {
  Axes axes = numbered(full, bins);
  for (int i = 0; i < axes.size(); ++i) {
    if (!with_bin_params || !contains(bins, i)) axes[i].param = 0;
  }
  merge(axes);
  return axes;
}

// The bins() of that walk.
inline Index bins_of_group(const Axes& full, AxisSet bins, bool with_bin_params) {
  const Axes axes = walk_axes(full, bins, with_bin_params);
  const int inner = axes.size() - 1;
  if (inner < 0) return 1;
  if (is_kept(axes[inner])) return axes[inner].extent;
  return inner > 0 && is_kept(axes[inner - 1]) ? axes[inner - 1].extent : 1;
}

// Neighbouring bins of a group.
struct BinRange {
  Index group, k0, k1;

  Index size() const { return k1 - k0; }
};

}  // namespace core
}  // namespace tensornorm
