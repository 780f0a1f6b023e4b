// Frozen: the forward pass with given statistics, which finds none of x.
#pragma once

#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/kernel/finish_sums.hpp"
#include "tensornorm/core/kernel/frozen_columns.hpp"
#include "tensornorm/core/memory.hpp"
#include "tensornorm/core/pass/for_each_block.hpp"
#include "tensornorm/core/pass/normalize.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

template <class Scalar>
class Frozen {
  using T = ParamOf<Scalar>;
  using Coefficients = typename Normalizer<Scalar>::Coefficients;

 public:
  // Both outlive this.
  Frozen(const ForwardArguments<Scalar>& arguments, const Plan& plan)
      : a_(arguments), plan_(plan), partition_(plan.partition), normalizer_(arguments, plan) {}

  // Doubles with which so many threads take as many bins as there are. With fewer they take fewer at a time.
  Index workspace_size(Index threads) const {
    const Index bins = (std::min)(partition_.block_bins, kMostBins);
    const bool reads_in_place = a_.frozen_scale != nullptr && is_plain() && !copies_coefficients();
    return reads_in_place ? 0 : threads * Arena::doubles(coefficient_bytes(bins));
  }

  // One thread makes the coefficients of a block once, several each for its parts of the lines.
  void run(const Runner& runner, const Workspace& workspace) {
    if (run_prepared()) return;
    workspace_ = {workspace.memory, workspace.doubles / runner.threads()};
    const Index parts = partition_.map_parts;
    const bool shares_parts = partition_.shares_parts() && runner.threads() > 1;
    if (!shares_parts) {
      const Index units = (std::min)(partition_.blocks, Partition::kUnits);
      const auto run = [&](Index b, Index, Index worker) {
        normalize(partition_.block(b), 0, parts, normalizer_.ahead(partition_, b), worker);
      };
      return for_each_block(runner, partition_, units, plan_.elements, normalizer_.streams(), run);
    }
    for (Index b = 0; b < partition_.blocks; ++b) {
      runner(parts, plan_.elements / partition_.blocks, [&](Index part, Index worker) {
        normalize(partition_.block(b), part, part + 1, normalizer_.ahead(partition_, b), worker);
        if (normalizer_.streams()) finish_streaming();
      });
    }
  }

  // A small plan whose scale is known, all at once, whatever the threads: false, and nothing is done, where the pass
  // must go another way.
  bool run_prepared() const {
    if (!plan_.is_small || a_.frozen_scale == nullptr || !is_plain()) return false;
    const Coefficients c{a_.frozen_mean, a_.frozen_scale, a_.beta};
    a_.add_residual(plan_.map_walk, {0, 0, plan_.walk.bins()}, 0, plan_.map_walk.line());
    normalizer_.put_map_tile(c, plan_.only_tile, 0);
    return true;
  }

  // A small plan of columns whose statistics and parameters lie side by side, by one kernel: false, and nothing is
  // done, where the scale must be made again or the call go another way.
  static bool run_columns(const FrozenArrays<T>& arrays, const Scalar* x, Scalar* y, const Plan& plan) {
    const Tile& tile = plan.only_tile;
    if (!plan.can_run_columns(x == y)) return false;
    bool is_same = false;
    core::dispatch(FrozenColumns<Scalar>{
        {x + tile.offset, tile.stride}, tile.rows, tile.cols, arrays, y + tile.y_offset, tile.y_stride, is_same});
    return is_same;
  }

 private:
  using CoefficientArrays = typename Normalizer<Scalar>::CoefficientArrays;
  static constexpr Index kMostBins = Partition::kBlockBins;

  static constexpr Index coefficient_bytes(Index bins) { return 3 * Arena::bytes<T>(bins); }

  // The most bins of so many, in whole cache lines, whose coefficients fit so many bytes.
  static Index fitting(Index bytes, Index all) {
    constexpr Index kStep = Partition::kCacheLineBins;
    Index bins = (std::min)(kMostBins, (std::max)(all / kStep + 1, Index{2}) * kStep);
    while (bins > Partition::kCacheLineBins && coefficient_bytes(bins) > bytes) bins -= Partition::kCacheLineBins;
    return bins;
  }

  // Parts [part, last_part) of the lines of some bins: some coefficients at a time, made where they are needed.
  // @pre bins and map bins are the same
  __attribute__((noinline)) void normalize(const BinRange& bins, Index part, Index last_part, Index ahead,
                                           Index worker) const {
    LocalMemory local;
    const bool is_local = workspace_.memory == nullptr;
    Arena memory =
        is_local ? Arena(local.bytes) : Arena(workspace_.memory + worker * workspace_.doubles, normalizer_.in_line());
    const Index most = fitting(is_local ? kLocalBytes : Arena::held_bytes(workspace_.doubles), bins.size());
    const auto put_parts = [&](Index c0, Index c1, const Coefficients& c) {
      const Index positions = plan_.map_walk.line(), parts = partition_.map_parts;
      for (Index i = part; i < last_part; ++i) {
        const Index p0 = part_begin(positions, i, parts), p1 = part_begin(positions, i + 1, parts);
        a_.add_residual(plan_.map_walk, {bins.group, c0, c1}, p0, p1);
        normalizer_.put_map_bins(bins, c0, c1, p0, p1, c, ahead);
      }
    };
    if (is_plain() && (is_local || !copies_coefficients())) {
      const Index all = a_.frozen_scale != nullptr ? bins.size() : most;
      T* const scale = memory.take<T>(most);
      for_each_chunk(bins.k0, bins.k1, all, [&](Index c0, Index c1) {
        put_parts(c0, c1, plain_coefficients(plan_.map_bin_number(bins.group, c0), c1 - c0, scale, part == 0));
      });
      return;
    }
    const CoefficientArrays c{memory.take<T>(most), memory.take<T>(most), memory.take<T>(most)};
    for_each_chunk(bins.k0, bins.k1, most, [&](Index c0, Index c1) {
      for_each_bin_run(plan_.map_bins, plan_.map_bin_number(bins.group, c0), c1 - c0, [&](const BinRun& run) {
        if (a_.frozen_scale != nullptr) return load_prepared(run, c);
        load_frozen(run, c, part == 0);
        BinRun rest{run.first, run.n, run.first, run.stat_stride == 0 ? 0 : 1, run.param, run.param_stride};
        normalizer_.fold(c.hi, nullptr, c.scale, rest, c);
      });
      put_parts(c0, c1, c);
    });
  }

  // Whether each bin has a statistic, a gamma and a beta of its own, side by side: mean and beta can be read where they
  // are.
  bool is_plain() const {
    const Axes& bins = plan_.map_bins;
    return bins.size() == 1 && bins.back().stat == 1 && bins.back().param == 1 && a_.beta != nullptr;
  }

  // Whether it copies mean, scale and beta first: where many long rows read them. (Measured on Zen 5, 43 to 512 rows of
  // 512 to 4096 floats in a cache: they take 0.65 to 1.0 of the time so.)
  bool copies_coefficients() const {
    const Walk& walk = plan_.map_walk;
    const bool is_long = is_long_row<Scalar>(walk.bins()) || normalizer_.streams();
    return walk.columns() && walk.line() >= Partition::kManyRows && is_long;
  }
  Coefficients plain_coefficients(Index first, Index n, T* scale, bool saves) const {
    if (a_.frozen_scale != nullptr) return {a_.frozen_mean + first, a_.frozen_scale + first, a_.beta + first};
    find_roots(a_.frozen_var + first, n, 1, a_.eps, scale);
    if (saves && a_.saved.hi != nullptr) {
      copy_run(a_.frozen_mean + first, n, a_.saved.hi + first);
      fill_run(a_.saved.lo + first, n, T(0));
      copy_run(scale, n, a_.saved.rstd + first);
    }
    scale_roots(a_.gamma + first, n, scale);
    return {a_.frozen_mean + first, scale, a_.beta + first};
  }

  // Where the scale is known: a parameter lies where its statistic does.
  void load_prepared(const BinRun& run, const CoefficientArrays& c) const {
    get_run(a_.frozen_mean, run, c.hi);
    get_run(a_.frozen_scale, run, c.scale);
    a_.beta != nullptr ? get_run(a_.beta, run, c.shift) : fill_run(c.shift + run.first, run.n, T(0));
  }

  // The frozen statistics of a run: the mean to c.hi, rstd to c.scale; one of each where the run has one statistic.
  void load_frozen(const BinRun& run, const CoefficientArrays& c, bool saves) const {
    const Index n = run.stat_stride == 0 ? 1 : run.n;
    T *const hi = c.hi + run.first, *const rstd = c.scale + run.first;
    if (run.stat_stride <= 1) {
      copy_run(a_.frozen_mean + run.stat, n, hi);
    } else {
      for (Index k = 0; k < n; ++k) hi[k] = a_.frozen_mean[run.stat + k * run.stat_stride];
    }
    find_roots(a_.frozen_var + run.stat, n, run.stat_stride, a_.eps, rstd);
    if (!saves || a_.saved.hi == nullptr) return;
    for (Index k = 0, to = run.stat; k < n; ++k, to += run.stat_stride) {
      a_.saved.hi[to] = hi[k];
      a_.saved.lo[to] = 0;
      a_.saved.rstd[to] = rstd[k];
    }
  }

  const ForwardArguments<Scalar>& a_;
  const Plan& plan_;
  const Partition& partition_;
  Normalizer<Scalar> normalizer_;
  Workspace workspace_;  // one worker's size
};

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
