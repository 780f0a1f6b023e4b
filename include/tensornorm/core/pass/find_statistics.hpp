// FindStatistics: the statistics of a block of bins, from the sums of deviations about an estimate.
#pragma once

#include "tensornorm/core/kernel/column_reduce.hpp"
#include "tensornorm/core/kernel/row_reduce.hpp"
#include "tensornorm/core/kernel/sample.hpp"
#include "tensornorm/core/kernel/sum_arithmetic.hpp"
#include "tensornorm/core/pass/forward_arguments.hpp"
#include "tensornorm/core/pass/statistics_block.hpp"

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
      : a_(arguments), plan_(plan), rule_(rule_of(arguments, plan)) {}

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
    scale_ = Scale::kOne;
    is_first_ = true;
    if (plan_.multiple == 1) {
      sample(block);
      copy_run(block.bin_estimate, block.stats, block.estimate);
    } else {
      for_each_chunk_of(block, chunk, [&](const BinRange&) { sample(block); });
    }
    for (;;) {
      sum(block, chunk, ahead, in_parts);
      if (take_sums(block)) break;
    }
    if (a_.saved.hi != nullptr) save(block);
  }

  // The same of a small plan, all at once.
  void run_small(Block& block) {
    if (a_.found.hi != nullptr) return load(block);
    scale_ = Scale::kOne;
    is_first_ = true;
    sample(block);
    copy_run(block.bin_estimate, block.stats, block.estimate);
    for (double* const sums : {block.sum_d, block.sum_d2}) fill_run(sums, block.stats, 0.0);
    reduce_tile(block.bin_estimate, plan_.only_tile, 0, block.sum_d, block.sum_d2);
    while (!take_sums(block)) sum(block, block.size(), 0, nullptr);
    if (a_.saved.hi != nullptr) save(block);
  }

  // Adds the sums of the deviations of positions [p0, p1) of the lines of a range of the chunk's bins; where rows are
  // dense, the reads of x that come `ahead` elements later are prepared.
  void reduce(const Block& block, const BinRange& range, Index p0, Index p1, Index ahead, double* sum_d,
              double* sum_d2) const {
    if (range.size() == 0) return;
    const T* const estimate = block.bin_estimate + (range.k0 - block.chunk.k0);
    if (scale_ != Scale::kOne) return reduce_scaled(range, p0, p1, estimate, sum_d, sum_d2);
    plan_.walk.visit(range.group, range.k0, range.k1, p0, p1,
                     [&](const Tile& tile) { reduce_tile(estimate, tile, ahead, sum_d, sum_d2); });
  }

 private:
  static_assert(Partition::kBlockBins % FinishSums::kMostTogether == 0, "tensornorm: arrays by bin hold whole vectors");

  static constexpr bool is_double = std::is_same<T, double>::value;

  // Calls use(range) for the block's bins, `most` at a time and in order, as the chunk at hand. A run of bins of one
  // statistic is divided where Fold allows it, and no chunk is narrower than a vector.
  template <class Use>
  void for_each_chunk_of(Block& block, Index most, const Use& use) const {
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
    for (Index k = (in * n + of_run - 1) / of_run; k < n; ++k) {
      const Index at = k * of_run / n - in;
      if (at >= run.n) return;
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
      if (!is_first_) spread_estimates(block, block.bin, block.size());
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
    const auto estimate = [&](Index s) {
      const bool is_scaled = scale_ != Scale::kOne && !block.pending[s].is_due(scale_);
      return is_scaled ? std::numeric_limits<T>::quiet_NaN() : block.estimate[s];
    };
    for_each_bin_run(plan_.bins, bin, n, [&](const BinRun& run) {
      const Index first = run.stat - block.stat;
      T* const to = block.bin_estimate + run.first;
      if (run.stat_stride == 0) return fill_run(to, run.n, estimate(first));
      for (Index k = 0; k < run.n; ++k) to[k] = estimate(first + k * run.stat_stride);
    });
  }

  // In double; floats need no scale then. Such sums are rare: they have kernels for the baseline alone.
  __attribute__((cold, noinline)) void reduce_scaled(const BinRange& range, Index p0, Index p1, const T* estimate,
                                                     double* sum_d, double* sum_d2) const {
    const double down = (std::min)(factor(scale_), 1.0), up = (std::max)(factor(scale_), 1.0);
    plan_.walk.visit(range.group, range.k0, range.k1, p0, p1, [&](const Tile& tile) {
      const auto add = [&](const auto& column, const auto& row) {
        using Column = std::decay_t<decltype(column)>;
        using Row = std::decay_t<decltype(row)>;
        if (plan_.walk.columns()) {
          run_baseline<kFlags>(ColumnReduce<Column>{column, tile.rows, tile.cols, sum_d, sum_d2, false});
        } else {
          run_baseline<kFlags>(RowReduce<Row>{row, tile.rows, tile.cols, 0, sum_d, sum_d2});
        }
      };
      if constexpr (is_double) {
        const Rows<double> x{a_.x + tile.offset, tile.stride};
        const PerRowOrAll<double> before{&down, kNone}, after{&up, kNone};
        add(ScaledDeviations<PerColumn<double>>{{x, {estimate}}, before, after},
            ScaledDeviations<PerRow<double>>{{x, {estimate}}, before, after});
      } else {
        const Rows<Widened<Scalar>> x{widened(a_.x + tile.offset), tile.stride};
        add(Deviations<Widened<Scalar>, PerColumn<Widened<T>>>{x, {widened(estimate)}},
            Deviations<Widened<Scalar>, PerRow<Widened<T>>>{x, {widened(estimate)}});
      }
    });
  }

  // ---- statistics from the sums

  // False when some must be summed again, about a better estimate or by another factor.
  bool take_sums(Block& block) {
    if constexpr (!is_double) {
      if (scale_ == Scale::kOne) {
        bool trusted = false;
        core::dispatch(FinishSums{rule_, block.stats, block.estimate, block.total_d, block.total_d2, block.m2,
                                  block.arrays(), &trusted});
        if (trusted && is_first_) {
          if (a_.saved.moments != nullptr) keep_all(block);
          return true;
        }
      }
    }
    const Index trusted = is_double && is_first_ ? take_trusted(block) : 0;
    return trusted == block.stats || take_each(block, trusted);
  }

  // Takes the sums of the first statistics, up to one whose sums cannot be trusted. Returns how many.
  Index take_trusted(Block& block) const {
    const double share = 1 / rule_.n;
    const Trust<T> trust(Scale::kOne, rule_.eps, rule_.least_var);
    for (Index s = 0; s < block.stats; ++s) {
      const Moments m = moments_of(block, s, 1, share);
      const double var = m.m2 * share;
      if (!trust.of(m, var, rule_.n)) return s;
      block.m2[s] = m.m2;
      block.set(s, finished(m, var));
      keep(block, s, m);
    }
    return block.stats;
  }

  Statistic<T> finished(const Moments& m, double var) const {
    return finish<T>(m, (std::max)(var, rule_.floor), rule_.eps);
  }

  // Of the deviations multiplied by f.
  Moments moments_of(const Block& block, Index s, double f, double share) const {
    const double sum = a_.centred ? -block.total_d[s] : 0;
    return moments_about(static_cast<double>(block.estimate[s]) * f, plan_.stat_size, share, sum, block.total_d2[s]);
  }

  // Each statistic from number `first` on goes its own way, whatever the others of its block do: so its bits are the
  // same in any block.
  bool take_each(Block& block, Index first) {
    if (is_first_) std::fill_n(block.pending, block.stats, Pending());
    const double f = factor(scale_), share = 1 / rule_.n;
    const bool in_lanes = !is_double && scale_ == Scale::kOne;
    const Trust<T> trust(scale_, rule_.eps, rule_.least_var);
    bool is_any_pending = false;
    for (Index s = first; s < block.stats; ++s) {
      if (!is_first_ && !block.pending[s].is_due(scale_)) {
        is_any_pending = is_any_pending || block.pending[s].is_pending;
        continue;
      }
      Moments m = moments_of(block, s, f, share);
      if (in_lanes) m.m2 = block.m2[s] < 0 ? 0 : block.m2[s];
      const double var = m.m2 * share;
      const bool trusted = trust.of(m, var, rule_.n);
      if (!trusted && must_sum_again(block, s, m, trust)) {
        is_any_pending = true;
        continue;
      }
      if (!is_first_) block.pending[s] = Pending();
      if (scale_ != Scale::kOne) {
        m = {plan_.stat_size, static_cast<double>(block.estimate[s]), m.correction / f, m.m2 / f / f};
        take_scaled(block, s, m);
      } else if (!(trusted && in_lanes)) {  // else all is known
        block.m2[s] = m.m2;
        block.set(s, finished(m, var));
      }
      keep(block, s, m);
    }
    is_first_ = false;
    return !(is_any_pending && choose_scale(block));
  }

  // Writes out a statistic in double, where that is wanted.
  void keep(const Block& block, Index s, const Moments& m) const {
    if (a_.saved.moments != nullptr) a_.saved.moments[Odometer(plan_.statistics, block.stat + s).stat()] = m;
  }
  __attribute__((cold, noinline)) void keep_all(const Block& block) const {
    for (Index s = 0; s < block.stats; ++s) {
      Moments m = moments_of(block, s, 1, 1 / rule_.n);
      m.m2 = block.m2[s] < 0 ? 0 : block.m2[s];
      keep(block, s, m);
    }
  }

  // Takes the next scale by which some statistic is to be summed again; false where none is. A scale comes before those
  // that it may be left for.
  bool choose_scale(const Block& block) {
    for (const Scale scale : {Scale::kOne, Scale::kWide, Scale::kDown, Scale::kUp}) {
      const auto is_due = [scale](const Pending& pending) { return pending.is_due(scale); };
      if (!std::any_of(block.pending, block.pending + block.stats, is_due)) continue;
      scale_ = scale;
      return true;
    }
    return false;
  }

  __attribute__((cold, noinline)) void take_scaled(Block& block, Index s, const Moments& m) const {
    block.m2[s] = m.m2;
    block.set(s, finished(m, m.m2 / rule_.n));
  }

  // Whether to sum again moments that are not trusted: notes how, and about which estimate. A scale is left for another
  // once: kOne for kWide, kDown or kUp, and kDown for kUp.
  __attribute__((cold, noinline)) bool must_sum_again(Block& block, Index s, const Moments& m,
                                                      const Trust<T>& trust) const {
    constexpr int kTries = 3;
    const int tries = is_first_ ? 1 : block.pending[s].tries + 1;
    const double mean = (m.estimate + m.correction) / factor(scale_), least = trust.least;
    const bool overflowed = !(m.m2 < kInfinity),
               underflowed = m.m2 / rule_.n < least && m.correction * m.correction < least;
    if (is_far(m, trust.variances) && !underflowed && std::isfinite(mean)) {
      if (tries == kTries) return false;
      block.estimate[s] = static_cast<T>(mean);
      block.pending[s] = Pending(scale_, tries);
      return true;
    }
    if (scale_ == Scale::kWide || scale_ == Scale::kUp || (overflowed && scale_ == Scale::kDown)) return false;
    if (!overflowed) block.estimate[s] = static_cast<T>(mean);
    if (!std::isfinite(block.estimate[s])) block.estimate[s] = 0;
    block.pending[s] = Pending(!is_double ? Scale::kWide : overflowed ? Scale::kDown : Scale::kUp, 0);
    return true;
  }

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
  FinishRule rule_;
  Scale scale_ = Scale::kOne;  // of the sums of the block at hand
  bool is_first_ = true;
};

}  // namespace core
}  // namespace tensornorm
