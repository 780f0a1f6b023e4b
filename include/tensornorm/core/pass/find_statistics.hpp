// FindStatistics: the sums of a block of bins, of deviations about an estimate, and from them its statistics.
#pragma once

#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/kernel/column_reduce.hpp"
#include "tensornorm/core/kernel/row_reduce.hpp"
#include "tensornorm/core/kernel/sample.hpp"
#include "tensornorm/core/kernel/sum_arithmetic.hpp"
#include "tensornorm/core/pass/deviation_sums.hpp"
#include "tensornorm/core/pass/finish_statistics.hpp"
#include "tensornorm/core/pass/forward_arguments.hpp"
#include "tensornorm/core/pass/statistics_block.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

template <class Scalar>
class FindStatistics {
 public:
  using T = ParamOf<Scalar>;
  using Block = StatisticsBlock<T>;

  // Adds the sums of the deviations of a range of bins.
  using Reduce = FunctionRef<void(const BinRange& range, double* sum_d, double* sum_d2)>;

  // Both outlive this.
  FindStatistics(const ForwardArguments<Scalar>& arguments, const Plan& plan)
      : a_(arguments), plan_(plan), finish_(rule_of(arguments, plan), plan, arguments.saved.moments) {}

  static FinishRule rule_of(const ForwardArguments<Scalar>& a, const Plan& plan) {
    const double n = static_cast<double>(plan.stat_size);
    if (!a.is_unit) return {n, a.eps, least_trusted_var<T>(a.eps), 0, a.centred};
    const double least = least_trusted_var<T>(0);
    return {1, 0, a.eps > least ? 0 : least, a.eps, a.centred};
  }

  // Finds the statistics of a block, `chunk` bins at a time; `ahead` as reduce has it. Where the sums are taken in
  // parts, `in_parts` takes them, by way of reduce.
  void run(Block& block, Index chunk, Index ahead, const Reduce* in_parts = nullptr) {
    if (a_.found.hi != nullptr) return load(block);
    begin(block);
    if (plan_.multiple == 1) {
      sample(block);
      copy_run(block.bin_estimate, block.stats, block.estimate);
    } else {
      for_each_chunk_of(block, chunk, [&](const BinRange&) { sample(block); });
    }
    for (;;) {
      sum(block, chunk, ahead, in_parts);
      if (finish_.finish(block)) break;
    }
    end(block, chunk, ahead, in_parts);
  }

  // The same of a small plan, all at once.
  void run_small(Block& block) {
    if (a_.found.hi != nullptr) return load(block);
    begin(block);
    sample(block);
    copy_run(block.bin_estimate, block.stats, block.estimate);
    if (finish_.scale() == Scale::kOne) {
      for (double* const sums : {block.sum_d, block.sum_d2}) fill_run(sums, block.stats, 0.0);
      reduce_tile(block.bin_estimate, plan_.only_tile, 0, block.sum_d, block.sum_d2);
    } else {
      sum(block, block.size(), 0, nullptr);
    }
    while (!finish_.finish(block)) sum(block, block.size(), 0, nullptr);
    end(block, block.size(), 0, nullptr);
  }

  // Adds the sums of the deviations of positions [p0, p1) of the lines of a range of the chunk's bins; where rows are
  // dense, the reads of x that come `ahead` elements later are prepared.
  __attribute__((noinline)) void reduce(const Block& block, const BinRange& range, Index p0, Index p1, Index ahead,
                                        double* sum_d, double* sum_d2) const {
    if (range.size() == 0) return;
    const T* const estimate = block.bin_estimate + (range.k0 - block.chunk.k0);
    if (is_double && digits_ != Digits::kAll) {
      const T* const grid_rounding = block.bin_grid_rounding + (range.k0 - block.chunk.k0);
      return reduce_for_ranks(a_.add_for_ranks, range, p0, p1, estimate, grid_rounding, sum_d, sum_d2);
    }
    if (finish_.scale() != Scale::kOne) return reduce_scaled(range, p0, p1, estimate, sum_d, sum_d2);
    plan_.walk.visit(range.group, range.k0, range.k1, p0, p1,
                     [&](const Tile& tile) { reduce_tile(estimate, tile, ahead, sum_d, sum_d2); });
  }

 private:
  static_assert(Partition::kBlockBins % FinishSums::kMostTogether == 0, "tensornorm: arrays by bin hold whole vectors");

  static constexpr bool is_double = std::is_same<T, double>::value;

  void begin(Block& block) {
    finish_.begin(block, is_double || a_.add_for_ranks == nullptr ? Scale::kOne : Scale::kWide);
  }

  void end(Block& block, Index chunk, Index ahead, const Reduce* in_parts) {
    if constexpr (is_double) {
      if (a_.add_for_ranks != nullptr) sum_in_double_double(block, chunk, ahead, in_parts);
    }
    if (a_.saved.hi != nullptr) save(block);
  }

  // Calls use(range) for the block's bins, `most` at a time and in order, as the chunk at hand. A run of bins of one
  // statistic is divided where Fold allows it, and no chunk is narrower than a vector.
  void for_each_chunk_of(Block& block, Index most, FunctionRef<void(const BinRange&)> use) const {
    const auto take = [&](Index k0, Index k1) {
      block.chunk = {block.group, k0, k1};
      use(block.chunk);
    };
    if (block.size() <= most) return take(block.k0, block.k1);
    const Index run = plan_.bins.back().extent;
    if (run <= most) {
      const Index runs = block.size() / run, of_chunk = most / run, chunks = (runs + of_chunk - 1) / of_chunk;
      for (Index i = 0; i < chunks; ++i) {
        take(block.k0 + part_begin(runs, i, chunks) * run, block.k0 + part_begin(runs, i + 1, chunks) * run);
      }
    } else {
      for (Index k = block.k0; k < block.k1; k += run) for_each_chunk(k, k + run, most, take);
    }
  }

  void reduce_tile(const T* estimate, const Tile& tile, Index ahead, double* sum_d, double* sum_d2) const {
    const Rows<Scalar> x{a_.x + tile.offset, tile.stride};
    if (plan_.walk.columns()) {
      column_reduce(Deviations<Scalar, PerColumn<T>>{x, {estimate}}, tile, sum_d, sum_d2);
    } else {
      row_reduce(Deviations<Scalar, PerRow<T>>{x, {estimate}}, tile, sum_d, sum_d2, ahead);
    }
  }

  // ---- estimates: the bins of a statistic share one, so that their sums simply add up

  // What the chunk's bins add to them; by bin, where every bin is a statistic.
  void sample(Block& block) const {
    const BinRange& chunk = block.chunk;
    T* const by_bin = block.bin_estimate;
    if (plan_.multiple > 1 && chunk.k0 == block.k0) std::fill_n(block.estimate, block.stats, T(0));
    if (!a_.centred) return std::fill_n(by_bin, chunk.size(), T(0)), void();
    const Scalar* const x = a_.x + plan_.walk.bin_offset(chunk.group, chunk.k0);
    if (plan_.walk.columns()) {
      core::dispatch(SampleColumns<Scalar>{x, chunk.size(), plan_.samples, by_bin});
    } else {
      dispatch_to_avx2(
          SampleRows<Scalar>{x, plan_.walk.bin_stride(), chunk.size(), plan_.walk.run(), plan_.samples, by_bin});
    }
    if (plan_.multiple == 1) return;
    const Index bin = plan_.bin_number(chunk.group, chunk.k0), of_run = plan_.bins.back().extent;
    Index in = bin % of_run;
    for_each_bin_run(plan_.bins, bin, chunk.size(), [&](const BinRun& run) {
      add_samples(run, in, of_run, by_bin, block);
      in = 0;
    });
  }

  // What a piece of a run of bins, `in` from its start, adds to the means of its statistics: of a long run in one
  // statistic, a few bins spread over it.
  void add_samples(const BinRun& run, Index in, Index of_run, const T* by_bin, Block& block) const {
    constexpr Index kEnough = 16;
    const double share = static_cast<double>(plan_.multiple_stats) / static_cast<double>(plan_.multiple);
    const Index n = run.stat_stride == 0 ? (std::min)(of_run, kEnough) : of_run;
    const T weight = static_cast<T>(share * static_cast<double>(of_run) / static_cast<double>(n));
    T* const to = block.estimate + (run.stat - block.stat);
    // Sample k of a run is its bin k * of_run / n. `part` is what the division left, in n-ths of a bin.
    const Index step = of_run / n, rest = of_run % n, k = (in * n + of_run - 1) / of_run;
    for (Index at = k * of_run / n - in, part = k * of_run % n; at < run.n; at += step, part += rest) {
      if (part >= n) {
        part -= n;
        if (++at >= run.n) return;
      }
      to[at * run.stat_stride] += product(by_bin[run.first + at], weight);
    }
  }

  // ---- sums

  void sum(Block& block, Index chunk, Index ahead, const Reduce* in_parts) const {
    const auto add = [&](const BinRange& range) {
      if (in_parts != nullptr) return (*in_parts)(range, block.sum_d, block.sum_d2);
      reduce(block, range, 0, plan_.walk.line(), ahead, block.sum_d, block.sum_d2);
    };
    if (plan_.multiple == 1) {
      if (!finish_.is_first() || digits_ != Digits::kAll) spread_estimates(block, block.bin, block.size());
      for (double* const sums : {block.sum_d, block.sum_d2}) std::fill_n(sums, block.size(), 0.0);
      return add(block);
    }
    Fold fold_d(plan_.bins, block.stat, block.total_d), fold_d2(plan_.bins, block.stat, block.total_d2);
    for (double* const totals : {block.total_d, block.total_d2}) std::fill_n(totals, block.stats, 0.0);
    for_each_chunk_of(block, chunk, [&](const BinRange& range) {
      const Index bin = plan_.bin_number(range.group, range.k0), n = range.size();
      spread_estimates(block, bin, n);
      for (double* const sums : {block.sum_d, block.sum_d2}) std::fill_n(sums, n, 0.0);
      add(range);
      fold_d.add(bin, n, block.sum_d);
      fold_d2.add(bin, n, block.sum_d2);
    });
  }

  // Where the sums of some statistics are scaled, those of the others, which could overflow, are taken about NaN: that
  // raises no exception.
  void spread_estimates(Block& block, Index bin, Index n) const {
    if (is_double && digits_ != Digits::kAll) {
      const auto grid_rounding = [&](Index s) { return block.scale[s]; };
      spread(block, bin, n, grid_rounding, block.bin_grid_rounding);
    }
    const auto estimate = [&](Index s) {
      const bool is_scaled =
          digits_ == Digits::kAll && finish_.scale() != Scale::kOne && !block.pending[s].is_due(finish_.scale());
      return is_scaled ? std::numeric_limits<T>::quiet_NaN() : block.estimate[s];
    };
    spread(block, bin, n, estimate, block.bin_estimate);
  }

  // all[k] = value(statistic of bin k)
  template <class Value>
  void spread(const Block& block, Index bin, Index n, const Value& value, T* all) const {
    for_each_bin_run(plan_.bins, bin, n, [&](const BinRun& run) {
      const Index first = run.stat - block.stat;
      T* const to = all + run.first;
      if (run.stat_stride == 0) return fill_run(to, run.n, value(first));
      for (Index k = 0; k < run.n; ++k) to[k] = value(first + k * run.stat_stride);
    });
  }

  // Of doubles that ranks merge: takes the sums again about the means just found, in double-double. No map follows, so
  // the arrays for it are free.
  __attribute__((cold, noinline)) void sum_in_double_double(Block& block, Index chunk, Index ahead,
                                                            const Reduce* in_parts) {
    T *const rounding = block.scale, *const high_d = block.hi, *const high_d2 = block.lo;
    for (Index s = 0; s < block.stats; ++s) {
      const Moments& m = finish_.moments(block, s);
      const bool has = has_grid(m.m2) && is_finite(m.mean());  // the others' sums are taken about NaN
      block.estimate[s] = has ? m.mean() : std::numeric_limits<double>::quiet_NaN();
      rounding[s] = has ? grid_rounding(m.m2) : 0;
    }
    digits_ = Digits::kHigh;
    sum(block, chunk, ahead, in_parts);
    copy_run(block.total_d, block.stats, high_d);
    copy_run(block.total_d2, block.stats, high_d2);
    digits_ = Digits::kLow;
    sum(block, chunk, ahead, in_parts);
    digits_ = Digits::kAll;
    for (Index s = 0; s < block.stats; ++s) {
      if (!(rounding[s] > 0)) continue;
      finish_.moments(block, s) =
          moments_about(block.estimate[s], plan_.stat_size, two_sum(-high_d[s], -block.total_d[s]),
                        two_sum(high_d2[s], block.total_d2[s]));
    }
  }

  void reduce_for_ranks(void (*add)(const DeviationSums<Scalar>& sums), const BinRange& range, Index p0, Index p1,
                        const T* estimate, const T* grid_rounding, double* sum_d, double* sum_d2) const {
    plan_.walk.visit(range.group, range.k0, range.k1, p0, p1, [&](const Tile& tile) {
      add({a_.x, estimate, grid_rounding, digits_, tile, plan_.walk.columns(), sum_d, sum_d2});
    });
  }

  // Floats in double, where they need no scale. Such sums are rare: their kernels are for the baseline alone. Ranks sum
  // all floats so, by kernels for every instruction set.
  __attribute__((noinline)) void reduce_scaled(const BinRange& range, Index p0, Index p1, const T* estimate,
                                               double* sum_d, double* sum_d2) const {
    if constexpr (is_double) {
      const double down = (std::min)(factor(finish_.scale()), 1.0), up = (std::max)(factor(finish_.scale()), 1.0);
      const PerRowOrAll<double> before{&down, kNone}, after{&up, kNone};
      plan_.walk.visit(range.group, range.k0, range.k1, p0, p1, [&](const Tile& tile) {
        const Rows<double> x{a_.x + tile.offset, tile.stride};
        using ByColumn = ScaledDeviations<PerColumn<double>>;
        using ByRow = ScaledDeviations<PerRow<double>>;
        if (plan_.walk.columns()) {
          add_columns<false>(ByColumn{{x, {estimate}}, before, after}, tile, sum_d, sum_d2);
        } else {
          add_rows<false>(ByRow{{x, {estimate}}, before, after}, tile, sum_d, sum_d2);
        }
      });
    } else {
      const auto add = a_.add_for_ranks == nullptr ? &add_in_double<Scalar, false> : a_.add_for_ranks;
      reduce_for_ranks(add, range, p0, p1, estimate, nullptr, sum_d, sum_d2);
    }
  }

  // ---- statistics that are known

  void load(Block& block) const {
    for_each_bin_run(plan_.statistics, block.stat, block.stats, [&](const BinRun& run) {
      get_run(a_.found.hi, run, block.hi);
      get_run(a_.found.lo, run, block.lo);
      get_run(a_.found.rstd, run, block.rstd);
    });
    for (Index s = 0; s < block.stats; ++s) block.set(s, {block.hi[s], block.lo[s], block.rstd[s]});
  }

  void save(const Block& block) const {
    for_each_bin_run(plan_.statistics, block.stat, block.stats, [&](const BinRun& run) {
      put_run(block.hi, run, a_.saved.hi);
      put_run(block.lo, run, a_.saved.lo);
      put_run(block.rstd, run, a_.saved.rstd);
      if (a_.saved.m2 != nullptr) put_run(block.m2, run, a_.saved.m2);
    });
  }

  const ForwardArguments<Scalar>& a_;
  const Plan& plan_;
  FinishStatistics<T> finish_;
  Digits digits_ = Digits::kAll;
};

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
