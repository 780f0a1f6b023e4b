// Backward: dx, dgamma and dbeta from x, dy and the statistics of the forward pass.
//
// With g = dy * gamma and n elements to a statistic, dx = rstd * (g - mean(g) - xhat * mean(g * xhat)); a mean that is
// not taken from x (RMSNorm) drops the first mean, frozen statistics drop both (Ioffe and Szegedy 2015, section 3).
#pragma once

#include "tensornorm/core/column.hpp"
#include "tensornorm/core/map.hpp"
#include "tensornorm/core/parallel.hpp"
#include "tensornorm/core/row.hpp"
#include "tensornorm/core/traversal.hpp"

namespace tensornorm {
namespace core {

template <class Scalar>
struct BackwardArguments {
  using T = ParamOf<Scalar>;
  Axes plan;
  const Scalar *x, *dy;
  Scalar* dx;  // x or dy themselves, or disjoint from both
  const T* gamma = nullptr;
  const T *hi, *lo, *rstd;  // of the forward pass, in the plan's stat order
  bool centred = true, frozen = false;
  T *dgamma = nullptr, *dbeta = nullptr;  // null: not wanted
};

// What dx needs of a cell, from its statistic and the sums of g and g * xhat over that statistic's n elements.
template <class T>
struct InputCoefficients {
  T slope, shift;

  InputCoefficients(T lo, T rstd, double sum_g, double sum_gx, double n) {
    const double r = static_cast<double>(rstd), s = -r * (sum_gx / n);
    slope = static_cast<T>(s);
    shift = static_cast<T>(-r * (sum_g / n) - s * r * static_cast<double>(lo));
  }
};

// Where some axis is neither kept nor affine: both kinds of sums come from one reduction to fine cells.
template <class Scalar>
class Backward {
 public:
  Backward(const BackwardArguments<Scalar>& arguments, const Traversal& traversal)
      : a_(arguments), t_(traversal), granule_(granule(t_.plan, t_.fine_set)),
        cut_(t_.fine, (std::min)(granule_, t_.fine.cells()), 2 * sizeof(Scalar)),
        params_(a_.gamma == nullptr ? 0 : kept_count(dual(t_.plan))) {}

  // Doubles it needs: sums by cell, totals by statistic, totals by parameter, and a block's sums in parts.
  Index workspace_size() const {
    const Index parts = cut_.parts > 1 ? cut_.parts * cut_.block_cells : 0;
    return 2 * (t_.fine_cells.count() + kept_count(t_.plan) + params_ + parts);
  }

  void run(const Runner& runner, double* workspace) {
    share_out(workspace);
    const Index units = (std::min)(cut_.blocks, Cut::kUnits), elements = a_.plan.count();
    if (granule_ > t_.fine.cells()) {  // statistics reach across groups: all sums first
      run_blocks(runner, cut_.blocks, units, elements, [&](Index b, Index) { reduce_all(place(b)); });
      for (Index b = 0; b < cut_.blocks; ++b) finish(place(b));
      run_blocks(runner, cut_.blocks, units, elements, [&](Index b, Index) { map_block(place(b), 0, 1); });
    } else if (cut_.parts > 1) {
      for (Index b = 0; b < cut_.blocks; ++b) run_in_parts(runner, place(b));
    } else {
      run_blocks(runner, cut_.blocks, units, elements, [&](Index b, Index) {
        const Block block = place(b);
        reduce_all(block);
        finish(block);
        map_block(block, 0, 1);
      });
    }
    sum_parameters();
  }

 private:
  using T = ParamOf<Scalar>;
  static constexpr Index kCells = Cut::kBlockCells;

  struct Block : CellRange {
    Index first;  // number of cell k0
  };

  Block place(Index b) const {
    const CellRange range = cut_.block(b);
    return {range, t_.fine_number(range.group, range.k0)};
  }

  void share_out(double* workspace) {
    const Index cells = t_.fine_cells.count(), stats = kept_count(t_.plan);
    sum_g_ = workspace;
    sum_gx_ = sum_g_ + cells;
    total_g_ = sum_gx_ + cells;
    total_gx_ = total_g_ + stats;
    param_g_ = total_gx_ + stats;
    param_gx_ = param_g_ + params_;
    parts_ = param_gx_ + params_;
    std::fill_n(total_g_, 2 * stats, 0.0);
  }

  void run_in_parts(const Runner& runner, const Block& block) {
    const Index n = block.size(), elements = n * t_.fine.line();
    runner(cut_.parts, elements, [&](Index part) {
      double* sums = parts_ + 2 * n * part;
      std::fill_n(sums, 2 * n, 0.0);
      reduce(block, part_begin(t_.fine.line(), part, cut_.parts), part_begin(t_.fine.line(), part + 1, cut_.parts),
             sums, sums + n);
    });
    for (Index i = 0; i < n; ++i) {
      double g = 0, gx = 0;
      for (Index part = 0; part < cut_.parts; ++part) {
        g += parts_[2 * n * part + i];
        gx += parts_[2 * n * part + n + i];
      }
      sum_g_[block.first + i] = g;
      sum_gx_[block.first + i] = gx;
    }
    finish(block);
    runner(cut_.parts, elements, [&](Index part) { map_block(block, cut_.parts - 1 - part, cut_.parts); });
  }

  void reduce_all(const Block& block) const {
    std::fill_n(sum_g_ + block.first, block.size(), 0.0);
    std::fill_n(sum_gx_ + block.first, block.size(), 0.0);
    reduce(block, 0, t_.fine.line(), sum_g_ + block.first, sum_gx_ + block.first);
  }

  // Adds the sums of dy and dy * (x - hi) * rstd over positions [p0, p1) of a block's lines.
  void reduce(const Block& block, Index p0, Index p1, double* sum_g, double* sum_gx) const {
    if (a_.frozen && params_ == 0) return;  // nobody reads them
    for (Index k = block.k0; k < block.k1; k += kCells) {
      const Index end = (std::min)(k + kCells, block.k1), at = k - block.k0;
      T hi[kCells], rstd[kCells];
      Odometer cell(t_.fine_cells, block.first + at);
      for (Index i = 0; i < end - k; ++i, cell.next()) {
        hi[i] = a_.hi[cell.stat()];
        rstd[i] = a_.rstd[cell.stat()];
      }
      t_.fine.visit(block.group, k, end, p0, p1, [&](const Tile& tile) {
        const Rows<Scalar> x{a_.x + tile.offset, tile.stride}, dy{a_.dy + tile.offset, tile.stride};
        if (t_.fine.columns()) {
          const Gradients<Scalar, PerColumn<T>> functor{x, dy, {hi}, {rstd}};
          column_reduce(functor, tile.rows, tile.cols, sum_g + at, sum_gx + at);
        } else {
          const Gradients<Scalar, PerRow<T>> functor{x, dy, {hi}, {rstd}};
          row_reduce(functor, tile.rows, tile.cols, sum_g + at, sum_gx + at);
        }
      });
    }
  }

  // From dy * (x - hi) * rstd to dy * xhat, and the totals of the block's statistics.
  void finish(const Block& block) const {
    Odometer cell(t_.fine_cells, block.first);
    for (Index c = block.first; c < block.first + block.size(); ++c, cell.next()) {
      const Index stat = cell.stat();
      const double gamma = static_cast<double>(gamma_of(cell));
      sum_gx_[c] -= static_cast<double>(a_.lo[stat]) * static_cast<double>(a_.rstd[stat]) * sum_g_[c];
      total_g_[stat] += gamma * sum_g_[c];
      total_gx_[stat] += gamma * sum_gx_[c];
    }
  }

  void map_block(const Block& block, Index part, Index parts) const {
    const Index line = t_.fine.line(), p0 = part_begin(line, part, parts), p1 = part_begin(line, part + 1, parts);
    const double n = static_cast<double>(a_.plan.count() / kept_count(t_.plan));
    for (Index k = block.k0; k < block.k1; k += kCells) {
      const Index end = (std::min)(k + kCells, block.k1);
      T hi[kCells], rstd[kCells], scale[kCells], slope[kCells], shift[kCells];
      Odometer cell(t_.fine_cells, block.first + k - block.k0);
      for (Index i = 0; i < end - k; ++i, cell.next()) {
        const Index stat = cell.stat();
        const InputCoefficients<T> c(a_.lo[stat], a_.rstd[stat], a_.centred ? total_g_[stat] : 0, total_gx_[stat], n);
        hi[i] = a_.hi[stat];
        rstd[i] = a_.rstd[stat];
        scale[i] = a_.rstd[stat] * gamma_of(cell);
        slope[i] = c.slope;
        shift[i] = c.shift;
      }
      t_.fine.visit(block.group, k, end, p0, p1, [&](const Tile& tile) {
        if (t_.fine.columns()) {
          map_tile<PerColumn<T>>(tile, {hi}, {rstd}, {scale}, {slope}, {shift});
        } else {
          map_tile<PerRow<T>>(tile, {hi}, {rstd}, {scale}, {slope}, {shift});
        }
      });
    }
  }

  template <class Operand>
  void map_tile(const Tile& tile, const Operand& hi, const Operand& rstd, const Operand& scale, const Operand& slope,
                const Operand& shift) const {
    const Rows<Scalar> x{a_.x + tile.offset, tile.stride}, dy{a_.dy + tile.offset, tile.stride};
    Scalar* dx = a_.dx + tile.offset;
    if (a_.frozen) {
      map(ScaledGradient<Scalar, Operand>{dy, scale}, tile.rows, tile.cols, dx, tile.stride);
    } else {
      const InputGradient<Scalar, Operand> functor{x, dy, hi, rstd, scale, slope, shift};
      map(functor, tile.rows, tile.cols, dx, tile.stride);
    }
  }

  T gamma_of(const Odometer& cell) const { return a_.gamma == nullptr ? T(1) : a_.gamma[cell.param()]; }

  // dbeta and dgamma: the cells' sums, over every axis along which parameters do not vary.
  void sum_parameters() const {
    if (params_ == 0) return;
    std::fill_n(param_g_, 2 * params_, 0.0);
    Odometer cell(t_.fine_cells);
    for (Index c = 0; c < t_.fine_cells.count(); ++c, cell.next()) {
      param_g_[cell.param()] += sum_g_[c];
      param_gx_[cell.param()] += sum_gx_[c];
    }
    for (Index p = 0; p < params_; ++p) {
      if (a_.dgamma != nullptr) a_.dgamma[p] = static_cast<T>(param_gx_[p]);
      if (a_.dbeta != nullptr) a_.dbeta[p] = static_cast<T>(param_g_[p]);
    }
  }

  BackwardArguments<Scalar> a_;
  const Traversal& t_;
  Index granule_;  // cells that make whole statistics
  Cut cut_;
  Index params_;
  double *sum_g_ = nullptr, *sum_gx_ = nullptr, *total_g_ = nullptr, *total_gx_ = nullptr;
  double *param_g_ = nullptr, *param_gx_ = nullptr, *parts_ = nullptr;
};

}  // namespace core
}  // namespace tensornorm
