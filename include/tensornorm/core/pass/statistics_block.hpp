// StatisticsBlock: a block of bins and what is known of its statistics.
#pragma once

#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/kernel/finish_sums.hpp"
#include "tensornorm/core/kernel/run_values.hpp"
#include "tensornorm/core/memory.hpp"
#include "tensornorm/core/pass/sum_scale.hpp"
#include "tensornorm/core/plan/plan.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

// How much of a block a worker takes at a time.
struct BlockExtents {
  Index bins, stats;  // of the block: whole statistics
  Index chunk;        // bins whose sums are taken together
};

// A block of bins, whole statistics, and what is known of them, in memory of the caller's. Statistics are numbered
// from the block's first, bins from the first of the chunk at hand: where every bin is a statistic, the chunk is all
// of the block.
template <class T>
struct StatisticsBlock : BinRange {
  StatisticsBlock(const BinRange& range, const Plan& plan, Index chunk_bins, Arena memory)
      : BinRange(range), bin(plan.bin_number(range.group, range.k0)), stat(plan.first_stat(bin)),
        stats(plan.multiple == 1 ? range.size() : range.size() / plan.multiple * plan.multiple_stats), chunk(range) {
    const Index size = Arena::bytes<T>(stats), doubles = Arena::bytes<double>(stats),
                sums = Arena::bytes<double>(chunk_bins);
    estimate = memory.take_bytes<T>(size);
    hi = memory.take_bytes<T>(size);
    lo = memory.take_bytes<T>(size);
    rstd = memory.take_bytes<T>(size);
    scale = memory.take_bytes<T>(size);
    shift = memory.take_bytes<T>(size);
    m2 = memory.take_bytes<double>(doubles);
    rest = memory;
    bin_estimate = memory.take<T>(chunk_bins);
    if (kHasGrid) bin_grid_rounding = memory.take<T>(chunk_bins);
    total_d = sum_d = memory.take_bytes<double>(sums);
    total_d2 = sum_d2 = memory.take_bytes<double>(sums);
    if (plan.multiple > 1) {
      total_d = memory.take_bytes<double>(doubles);
      total_d2 = memory.take_bytes<double>(doubles);
    }
    pending = memory.take<Pending>(stats);
    beside_sums = memory;
  }

  static constexpr bool kHasGrid = std::is_same<T, double>::value;

  // Bytes of the arrays that last, and of those that only the sums need.
  static Index lasting_bytes(Index stats) { return 6 * Arena::bytes<T>(stats) + Arena::bytes<double>(stats); }
  static Index sum_bytes(const BlockExtents& n, Index multiple) {
    const Index totals = multiple == 1 ? 0 : 2 * Arena::bytes<double>(n.stats);
    return (kHasGrid ? 2 : 1) * Arena::bytes<T>(n.chunk) + 2 * Arena::bytes<double>(n.chunk) + totals +
           Arena::bytes<Pending>(n.stats);
  }

  Index bin, stat, stats;  // number of the first bin and of the first statistic; how many statistics
  T* estimate;             // of the mean, by statistic
  T *hi, *lo, *rstd;       // by statistic
  T *scale, *shift;        // xhat = (hi - x) * scale + shift, by statistic
  double* m2;              // sums of squared deviations, by statistic
  double *total_d, *total_d2;
  Pending* pending;  // by statistic: once one was doubtful, or where sums begin in double
  Arena rest;        // free once the statistics are known

  BinRange chunk;
  T* bin_estimate;                 // by bin of the chunk, as are the sums
  T* bin_grid_rounding = nullptr;  // likewise; for ranks alone, but all doubles have room for it
  double *sum_d, *sum_d2;
  Arena beside_sums;  // free while they are summed

  StatisticArrays arrays() { return {hi, lo, rstd, scale, shift}; }
  void set(Index s, const Statistic<T>& statistic) {
    hi[s] = statistic.hi;
    lo[s] = statistic.lo;
    rstd[s] = statistic.rstd;
    scale[s] = -statistic.rstd;
    shift[s] = statistic.lo * scale[s];
  }
};

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
