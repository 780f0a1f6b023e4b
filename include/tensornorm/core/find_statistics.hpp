// FindStatistics: the statistics of a block of cells, from the sums of deviations about an estimate or from what is
// given.
#pragma once

#include "tensornorm/core/arithmetic.hpp"
#include "tensornorm/core/column.hpp"
#include "tensornorm/core/row.hpp"
#include "tensornorm/core/statistics.hpp"
#include "tensornorm/core/traversal.hpp"

namespace tensornorm {
namespace core {

// Arrays of one value per statistic, in the plan's stat order; a null one is not wanted.
template <class T>
struct SavedStatistics {
  T *hi = nullptr, *lo = nullptr, *rstd = nullptr;
  double* m2 = nullptr;  // sums of squared deviations
};

template <class Scalar>
struct ForwardArguments {
  using T = ParamOf<Scalar>;
  const Scalar* x;
  Scalar* y;  // x itself, or disjoint from it
  const T *gamma = nullptr, *beta = nullptr;
  double eps = 0;
  bool centred = true;                                    // false: the mean is taken to be 0
  const T *frozen_mean = nullptr, *frozen_var = nullptr;  // statistics given, not taken from x
  SavedStatistics<T> saved;

  bool is_frozen() const { return frozen_mean != nullptr; }
};

// A block of cells, whole statistics, and what is known of them; statistics are numbered from the block's first.
template <class T>
struct StatisticsBlock : CellRange {
  StatisticsBlock(const CellRange& range, const Traversal& t)
      : CellRange(range), cell(t.cell_number(range.group, range.k0)), stat(t.first_stat(cell)),
        stats(range.size() / t.granule * t.granule_stats) {}

  Index cell, stat, stats;                  // number of the first cell and of the first statistic; how many statistics
  alignas(kLine) PerCell<T> estimate;       // of the mean, by statistic
  alignas(kLine) PerCell<T> cell_estimate;  // the same by cell
  alignas(kLine) PerCell<double> sum_d, sum_d2;  // by cell, then by statistic
  alignas(kLine) PerCell<T> hi, lo, rstd;        // by statistic
  alignas(kLine) PerCell<T> scale, shift;        // xhat = (hi - x) * scale + shift, by statistic

  StatisticArrays arrays(Index from) { return {hi + from, lo + from, rstd + from, scale + from, shift + from}; }
  void set(Index s, const Statistic<T>& statistic) {
    hi[s] = statistic.hi;
    lo[s] = statistic.lo;
    rstd[s] = statistic.rstd;
    scale[s] = -statistic.rstd;
    shift[s] = statistic.lo * scale[s];
  }
};

template <class Scalar>
class FindStatistics {
 public:
  using T = ParamOf<Scalar>;
  using Block = StatisticsBlock<T>;

  // Both outlive this.
  FindStatistics(const ForwardArguments<Scalar>& arguments, const Traversal& traversal)
      : a_(arguments), t_(traversal) {}

  // Finds what is known of a block; reduce_all adds the sums of the block's deviations to it.
  void run(Block& block, FunctionRef<void()> reduce_all) const {
    if (a_.is_frozen()) {
      thaw(block);
    } else {
      estimate(block);
      constexpr int kAttempts = 3;
      bool again = true;
      for (int attempt = 1; again; ++attempt) {
        std::fill_n(block.sum_d, block.size(), 0.0);
        std::fill_n(block.sum_d2, block.size(), 0.0);
        reduce_all();
        fold(block, block.sum_d);
        fold(block, block.sum_d2);
        again = !take_sums(block, attempt == kAttempts);
      }
    }
    if (a_.saved.hi != nullptr) save(block);
  }

  // Adds the sums of the deviations of positions [p0, p1) of the lines of a block, or of a range of its cells with sums
  // of its own; where rows are dense, the reads of x that come `ahead` elements later are prepared.
  void reduce(const Block& block, Index p0, Index p1, Index ahead, double* sum_d, double* sum_d2) const {
    reduce(block, block, p0, p1, ahead, sum_d, sum_d2);
  }
  void reduce(const Block& block, const CellRange& range, Index p0, Index p1, Index ahead, double* sum_d,
              double* sum_d2) const {
    if (range.size() == 0) return;
    const T* const estimate = block.cell_estimate + (range.k0 - block.k0);
    t_.walk.visit(range.group, range.k0, range.k1, p0, p1, [&](const Tile& tile) {
      const Rows<Scalar> x{a_.x + tile.offset, tile.stride};
      if (t_.walk.columns()) {
        column_reduce(Deviations<Scalar, PerColumn<T>>{x, {estimate}}, tile, sum_d, sum_d2);
      } else {
        row_reduce(Deviations<Scalar, PerRow<T>>{x, {estimate}}, tile, sum_d, sum_d2, ahead);
      }
    });
  }

 private:
  static_assert(Cut::kBlockCells % TakeSums::kMostTogether == 0, "tensornorm: arrays by cell hold whole vectors");

  // The cells of a statistic share an estimate, so that their sums simply add up.
  void estimate(Block& block) const {
    if (!a_.centred) {
      std::fill_n(block.estimate, block.stats, T(0));
      return std::fill_n(block.cell_estimate, block.size(), T(0)), void();
    }
    const Scalar* const x = a_.x + t_.walk.cell_offset(block.group, block.k0);
    T* const by_cell = block.cell_estimate;
    if (t_.walk.columns()) {
      core::run(SampleColumns<Scalar>{x, block.size(), t_.places, by_cell});
    } else {
      core::run(SampleRows<Scalar>{x, t_.walk.cell_stride(), block.size(), t_.walk.run(), t_.places, by_cell});
    }
    if (t_.granule == 1) return copy_run(by_cell, block.size(), block.estimate);
    std::fill_n(block.estimate, block.stats, T(0));
    for_each_run(t_.cells, block.cell, block.size(), [&](const Run& run) { add_samples(run, by_cell, block); });
    spread_estimates(block);
  }

  // What a run adds to the means of its statistics: of a long run in one statistic, a few cells spread over it.
  void add_samples(const Run& run, const T* by_cell, Block& block) const {
    constexpr Index kEnough = 16;
    const double share = static_cast<double>(t_.granule_stats) / static_cast<double>(t_.granule);
    const Index n = run.stat_stride == 0 ? (std::min)(run.n, kEnough) : run.n;
    const T weight = static_cast<T>(share * static_cast<double>(run.n) / static_cast<double>(n));
    T* const to = block.estimate + (run.stat - block.stat);
    for (Index k = 0; k < n; ++k) to[k * run.stat_stride] += by_cell[run.first + k * run.n / n] * weight;
  }

  void spread_estimates(Block& block) const {
    for_each_run(t_.cells, block.cell, block.size(), [&](const Run& run) {
      const T* const from = block.estimate + (run.stat - block.stat);
      T* const to = block.cell_estimate + run.first;
      if (run.stat_stride == 0) return fill_run(to, run.n, *from);
      for (Index k = 0; k < run.n; ++k) to[k] = from[k * run.stat_stride];
    });
  }

  // Values by cell become their sums by statistic.
  void fold(const Block& block, double* values) const {
    if (t_.granule == 1) return;
    alignas(kLine) PerCell<double> totals;
    std::fill_n(totals, block.stats, 0.0);
    for_each_run(t_.cells, block.cell, block.size(), [&](const Run& run) {
      add_run(values + run.first, run.n, totals + (run.stat - block.stat), run.stat_stride);
    });
    std::copy_n(totals, block.stats, values);
  }

  // Statistics from the sums. False when an estimate was too far off and is now a better one.
  bool take_sums(Block& block, bool last_attempt) const {
    constexpr bool in_lanes = std::is_same<T, float>::value;
    const double n = static_cast<double>(t_.stat_size), share = 1 / n, least = least_trusted_var<T>(a_.eps);
    if constexpr (in_lanes) {
      bool trusted = false;
      core::run(TakeSums{block.stats, n, a_.eps, least, a_.centred, block.estimate, block.sum_d, block.sum_d2,
                         block.arrays(0), &trusted});
      if (trusted) return true;
    }
    bool done = true;
    for (Index s = 0; s < block.stats; ++s) {
      const double estimate = static_cast<double>(block.estimate[s]), sum = a_.centred ? -block.sum_d[s] : 0;
      Moments m{t_.stat_size, estimate, sum * share, block.sum_d2[s]};
      if (!in_lanes) m = moments_about(estimate, t_.stat_size, share, sum, block.sum_d2[s]);
      double var = m.m2 * share;
      const bool is_doubtful = is_far(m) || !(var >= least && var < kInfinity);  // also where anything is NaN
      if (in_lanes && !is_doubtful) continue;
      if (is_doubtful) {
        done = mend(block, s, last_attempt, m) && done;
        var = m.var();
      }
      block.set(s, finish<T>(m, var, a_.eps));
      block.sum_d2[s] = m.m2;
    }
    if (!done) spread_estimates(block);
    return done;
  }

  // Moments that cannot be trusted: a better estimate to try again with (false), or the exact path.
  __attribute__((cold, noinline)) bool mend(Block& block, Index s, bool last_attempt, Moments& m) const {
    if (!last_attempt && is_far(m) && std::isfinite(m.mean())) {
      block.estimate[s] = static_cast<T>(m.mean());
      return false;
    }
    if (needs_exact_path<T>(m, a_.eps)) m = exact_moments(block, s);
    return true;
  }

  Moments exact_moments(const Block& block, Index s) const {
    return ExactMoments<T>::of(
        [&](const auto& take) {
          Odometer cell(t_.cells, block.cell);
          for (Index k = block.k0; k < block.k1; ++k, cell.next()) {
            if (cell.stat() != block.stat + s) continue;
            t_.walk.visit(block.group, k, k + 1, 0, t_.walk.line(), [&](const Tile& tile) {
              for (Index r = 0; r < tile.rows; ++r) {
                for (Index c = 0; c < tile.cols; ++c) take(static_cast<T>(a_.x[tile.offset + r * tile.stride + c]));
              }
            });
          }
        },
        a_.centred);
  }

  void thaw(Block& block) const {
    for_each_run(t_.statistics, block.stat, block.stats, [&](const Run& run) {
      constexpr bool in_lanes = std::is_same<T, float>::value;
      const Index i = run.first;
      const bool are_neighbours = in_lanes && run.stat_stride == 1 && run.n >= Thaw::kFewest;
      if constexpr (in_lanes) {
        bool trusted = false;
        if (are_neighbours) {
          core::run(
              Thaw{run.n, a_.eps, a_.frozen_mean + run.stat, a_.frozen_var + run.stat, block.arrays(i), &trusted});
        }
        if (trusted) return;
      }
      for (Index k = 0, from = run.stat; k < run.n; ++k, from += run.stat_stride) {
        const double var = static_cast<double>(a_.frozen_var[from]);
        if (are_neighbours && Thaw::can_trust(var + a_.eps)) continue;
        block.set(i + k, {a_.frozen_mean[from], 0, reciprocal_std<T>(var, a_.eps)});
      }
    });
  }

  void save(const Block& block) const {
    for_each_run(t_.statistics, block.stat, block.stats, [&](const Run& run) {
      put_run(block.hi, run, a_.saved.hi);
      put_run(block.lo, run, a_.saved.lo);
      put_run(block.rstd, run, a_.saved.rstd);
      if (a_.saved.m2 != nullptr) put_run(block.sum_d2, run, a_.saved.m2);
    });
  }

  const ForwardArguments<Scalar>& a_;
  const Traversal& t_;
};

}  // namespace core
}  // namespace tensornorm
