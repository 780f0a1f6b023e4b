// Backward: dx, dgamma and dbeta from x, dy and the statistics of the forward pass.
//
// With g = dy * gamma and n elements to a statistic, dx = rstd * (g - mean(g) - xhat * mean(g * xhat)); a mean that is
// not taken from x (RMSNorm) drops the first mean, frozen statistics drop both (Ioffe and Szegedy 2015, section 3).
#pragma once

#include "tensornorm/core/kernel/backward_columns.hpp"
#include "tensornorm/core/kernel/column_reduce.hpp"
#include "tensornorm/core/kernel/map_arithmetic.hpp"
#include "tensornorm/core/kernel/row_reduce.hpp"
#include "tensornorm/core/kernel/sum_arithmetic.hpp"
#include "tensornorm/core/pass/backward_arguments.hpp"
#include "tensornorm/core/pass/for_each_block.hpp"

namespace tensornorm {
namespace core {

// Where some axis is neither kept nor affine: both kinds of sums come from one reduction to map bins. A share is what
// one statistic gives one parameter.
template <class Scalar>
class Backward {
 public:
  // All outlive this.
  Backward(const BackwardArguments<Scalar>& arguments, const Plan& plan, const BackwardPlan& backward_plan)
      : a_(arguments), plan_(plan), backward_plan_(backward_plan), multiple_(backward_plan_.multiple),
        partition_(backward_plan_.partition), shares_(backward_plan_.shares.count()), stats_(plan_.statistics.count()),
        params_(a_.gamma == nullptr ? 0 : plan_.params), of_one_(is_of_one(a_, plan_)),
        streams_(goes_past_cache(a_, plan_)) {}

  // Bytes for the coefficients of some bins and, while these are summed, for the sums.
  static Index worker_bytes(const Partition& partition) {
    const Index n = (std::min)(kBins, (std::max)(partition.block_bins, Index{1}));
    const Index sums = 3 * Arena::bytes<T>(n) + 2 * Arena::bytes<double>(n);
    return (std::max)(sums, 5 * Arena::bytes<T>(n));
  }

  // Doubles it needs: sums by share, by statistic and by parameter, a block's sums in parts, and a worker's arrays.
  Index workspace_size(Index threads) const {
    return 2 * (shares_ + stats_ + params_) + part_sums() + threads * backward_plan_.worker_size;
  }

  void run(const Runner& runner, double* workspace) {
    if (run_columns()) return;
    share_out(workspace);
    partition_.share_among(plan_.map_walk, multiple_, runner.threads());
    if (multiple_ > plan_.map_walk.bins() || a_.ranks != nullptr) {  // statistics reach across groups, or ranks
      run_sums_first(runner);
    } else if (partition_.shares_parts()) {
      for (Index b = 0; b < partition_.blocks; ++b) run_in_parts(runner, place(b));
    } else {
      over_blocks(runner, [&](const Block& block, Arena memory) {
        reduce_block(block, memory);
        finish(block);
        if (a_.dx != nullptr) map_block(block, 0, 1, memory);
      });
    }
    sum_parameters();
  }

 private:
  using T = ParamOf<Scalar>;
  static constexpr Index kBins = Partition::kBlockBins;

  struct Block : BinRange {
    Index index, bin, share, shares;  // its own number, those of its first bin and share, and how many shares
  };

  Block place(Index b) const {
    const BinRange range = partition_.block(b);
    const Index bin = plan_.map_bin_number(range.group, range.k0);
    return {range, b, bin, Odometer(backward_plan_.share_of, bin).stat(),
            range.size() * shares_ / plan_.map_bins.count()};
  }

  __attribute__((noinline)) void run_sums_first(const Runner& runner) const {
    const bool in_parts = partition_.shares_parts() && multiple_ <= plan_.map_walk.bins();
    if (in_parts) {
      for (Index b = 0; b < partition_.blocks; ++b) reduce_in_parts(runner, place(b));
    } else {
      over_blocks(runner, [&](const Block& block, Arena memory) { reduce_block(block, memory); });
    }
    for (Index b = 0; b < partition_.blocks; ++b) finish(place(b));
    if (a_.ranks != nullptr) a_.ranks->add(stat_g_, stat_gx_);
    if (a_.dx == nullptr) return;
    if (in_parts) {
      for (Index b = 0; b < partition_.blocks; ++b) map_in_parts(runner, place(b));
    } else {
      over_blocks(runner, [&](const Block& block, Arena memory) { map_block(block, 0, 1, memory); });
    }
  }

  // A small plan of columns whose statistics and parameters lie side by side: false where it must go another way.
  bool run_columns() const {
    if constexpr (!std::is_same<T, double>::value) {
      const Tile& tile = plan_.only_tile;
      const bool fits = a_.run_columns != nullptr && plan_.can_run_columns(is_in_place(a_)) && a_.dx != nullptr &&
                        a_.add == nullptr && a_.ranks == nullptr && !a_.is_frozen() && !a_.is_unit && !of_one_ &&
                        (a_.gamma == nullptr || plan_.map_bins.back().param == 1);
      if (!fits) return false;
      const bool has_gamma = a_.gamma != nullptr;
      a_.run_columns({{a_.x + tile.offset, tile.stride},
                      {a_.dy + tile.y_offset, tile.y_stride},
                      tile.rows,
                      tile.cols,
                      a_.hi,
                      a_.lo,
                      a_.rstd,
                      a_.gamma,
                      a_.centred,
                      has_gamma ? a_.dgamma : nullptr,
                      has_gamma ? a_.dbeta : nullptr,
                      a_.dx + tile.z_offset,
                      tile.z_stride});
      return true;
    }
    return false;
  }

  void over_blocks(const Runner& runner, FunctionRef<void(const Block&, Arena memory)> work) const {
    const Index units = (std::min)(partition_.blocks, Partition::kUnits);
    for_each_block(runner, partition_, units, plan_.elements, streams_, [&](Index b, Index, Index worker) {
      const Block block = place(b);
      if (block.size() > 0) work(block, memory_of(worker));
    });
  }

  void share_out(double* workspace) {
    share_g_ = workspace;
    share_gx_ = share_g_ + shares_;
    stat_g_ = share_gx_ + shares_;
    stat_gx_ = stat_g_ + stats_;
    param_g_ = stat_gx_ + stats_;
    param_gx_ = param_g_ + params_;
    parts_ = param_gx_ + params_;
    workers_ = parts_ + part_sums();
    std::fill_n(workspace, 2 * (shares_ + stats_ + params_), 0.0);
  }

  Index part_sums() const {
    return has_sums() && partition_.shares_parts() ? PartSums::doubles(partition_.parts, partition_.block_bins) : 0;
  }
  Arena memory_of(Index worker) const { return Arena(workers_ + worker * backward_plan_.worker_size); }

  // ---- sums

  // Whether anybody reads them.
  bool has_sums() const { return (!a_.is_frozen() && a_.wants_dx) || a_.wants_parameters() || a_.ranks != nullptr; }

  void run_in_parts(const Runner& runner, const Block& block) const {
    reduce_in_parts(runner, block);
    finish(block);
    if (a_.dx != nullptr) map_in_parts(runner, block);
  }

  void reduce_in_parts(const Runner& runner, const Block& block) const {
    if (!has_sums()) return;
    const Index n = block.size(), line = plan_.map_walk.line();
    PartSums sums(parts_, partition_.parts, n);
    runner(partition_.parts * partition_.pieces, n * line, [&](Index unit, Index worker) {
      const Index part = unit / partition_.pieces;
      const BinRange piece = partition_.piece(block, unit % partition_.pieces);
      const Index p0 = part_begin(line, part, partition_.parts), p1 = part_begin(line, part + 1, partition_.parts);
      for (Index i = piece.k0 - block.k0, stop = piece.k1 - block.k0; i < stop; i += kBins) {
        const Index end = (std::min)(i + kBins, stop);
        reduce(block, i, end, p0, p1, sums.clear_p(part, i, end - i), sums.clear_pq(part, i, end - i),
               memory_of(worker));
      }
    });
    for (Index part = 0; part < partition_.parts; ++part) add_shares(block.bin, n, sums.p(part), sums.pq(part));
  }

  void map_in_parts(const Runner& runner, const Block& block) const {
    runner.backwards(partition_.map_parts, block.size() * plan_.map_walk.line(), [&](Index part, Index worker) {
      map_block(block, part, partition_.map_parts, memory_of(worker));
      if (streams_) finish_streaming();
    });
  }

  void reduce_block(const Block& block, Arena memory) const {
    if (!has_sums()) return;
    double *const g = memory.take<double>((std::min)(kBins, block.size())), *const gx = memory.take<double>(
                                                                                (std::min)(kBins, block.size()));
    const Index line = plan_.map_walk.line();
    for (Index part = 0; part < partition_.parts; ++part) {
      const Index p0 = part_begin(line, part, partition_.parts), p1 = part_begin(line, part + 1, partition_.parts);
      for (Index i = 0; i < block.size(); i += kBins) {
        const Index end = (std::min)(i + kBins, block.size());
        std::fill_n(g, end - i, 0.0);
        std::fill_n(gx, end - i, 0.0);
        reduce(block, i, end, p0, p1, g, gx, memory);
        add_shares(block.bin + i, end - i, g, gx);
      }
    }
  }

  // Adds the sums of dy and dy * xhat over positions [p0, p1) of the lines of a block's bins [i, end).
  void reduce(const Block& block, Index i, Index end, Index p0, Index p1, double* sum_g, double* sum_gx,
              Arena memory) const {
    T *const hi = memory.take<T>(end - i), *const scale = memory.take<T>(end - i),
             *const shift = memory.take<T>(end - i);
    for_each_bin_run(backward_plan_.map_bins, block.bin + i, end - i,
                     [&](const BinRun& run) { get_xhat(a_, run, hi, scale, shift); });
    plan_.map_walk.visit(block.group, block.k0 + i, block.k0 + end, p0, p1, [&](const Tile& tile) {
      const Rows<Scalar> x{a_.x + tile.offset, tile.stride}, dy{a_.dy + tile.y_offset, tile.y_stride};
      if (plan_.map_walk.columns()) {
        const Gradients<Scalar, Unshifted<Scalar, PerColumn<T>>, PerRowOrAll<T>> functor{
            {x, {hi}, {scale}}, dy, every_row(kOne<T>)};
        column_reduce(functor, tile, sum_g, sum_gx);
      } else {
        const Gradients<Scalar, Unshifted<Scalar, PerRow<T>>, PerColumnOrAll<T>> functor{
            {x, {hi}, {scale}}, dy, every_column(kOne<T>)};
        row_reduce(functor, tile, sum_g, sum_gx);
      }
    });
    add_shifts(shift, sum_g, end - i, sum_gx);
  }

  // Sums by bin to sums by share.
  void add_shares(Index bin, Index n, const double* sum_g, const double* sum_gx) const {
    for_each_bin_run(backward_plan_.share_of, bin, n, [&](const BinRun& run) {
      add_run(sum_g + run.first, run.n, share_g_ + run.stat, run.stat_stride);
      add_run(sum_gx + run.first, run.n, share_gx_ + run.stat, run.stat_stride);
    });
  }

  // The totals of a block's statistics.
  void finish(const Block& block) const {
    for_each_bin_run(backward_plan_.shares, block.share, block.shares, [&](const BinRun& run) {
      Index k = 0;
      for (; a_.gamma != nullptr && run.stat_stride == 1 && run.param_stride == 1 && k + 2 <= run.n; k += 2) {
        Pair gamma;
        load_pair(a_.gamma + run.param + k, gamma);
        add_pair(gamma, share_g_ + block.share + run.first + k, stat_g_ + run.stat + k);
        add_pair(gamma, share_gx_ + block.share + run.first + k, stat_gx_ + run.stat + k);
      }
      for (; k < run.n; ++k) {
        const Index share = block.share + run.first + k, stat = run.stat + k * run.stat_stride;
        const double gamma = static_cast<double>(gamma_at(run.param + k * run.param_stride));
        stat_g_[stat] += product(gamma, share_g_[share]);
        stat_gx_[stat] += product(gamma, share_gx_[share]);
      }
    });
  }

  static void add_pair(const Pair& gamma, const double* from, double* to) {
    Pair sum, values;
    load_pair(to, sum);
    load_pair(from, values);
    multiply(gamma, values, values);
    store_pair(sum + values, to);
  }

  // dbeta and dgamma: the shares, over every axis along which parameters do not vary.
  void sum_parameters() const {
    if (params_ == 0 || !a_.wants_parameters()) return;
    for_each_bin_run(backward_plan_.shares, 0, shares_, [&](const BinRun& run) {
      for (Index k = 0, param = run.param; k < run.n; ++k, param += run.param_stride) {
        param_g_[param] += share_g_[run.first + k];
        param_gx_[param] += share_gx_[run.first + k];
      }
    });
    if (a_.dbeta != nullptr) core::dispatch(RoundSums<T>{param_g_, 1, 0, params_, a_.dbeta});
    if (a_.dgamma != nullptr) core::dispatch(RoundSums<T>{param_gx_, 1, 0, params_, a_.dgamma});
  }

  // Whether the divisor of a unit was the root of eps, which is constant, but for what rounding may do to rstd.
  bool is_of_eps(double rstd) const {
    return rstd * rstd * a_.eps >= 1 - 4 * static_cast<double>(std::numeric_limits<T>::epsilon());
  }

  T gamma_at(Index param) const { return a_.gamma == nullptr ? T(1) : a_.gamma[param]; }

  // ---- dx

  // Coefficients of dx by bin.
  struct Coefficients {
    T *hi, *minus_rstd, *scale, *slope, *shift;
  };

  void map_block(const Block& block, Index part, Index parts, Arena memory) const {
    const Index line = plan_.map_walk.line(), stretches = partition_.stretches(block.size() * line / parts),
                all = parts * stretches;
    const Index ahead = outgrows_cache<Scalar>(plan_) ? partition_.ahead(plan_.map_walk, block.index) : 0;
    for (Index i = stretches - 1; i >= 0; --i) {
      const Index p0 = part_begin(line, part * stretches + i, all),
                  p1 = part_begin(line, part * stretches + i + 1, all);
      for (Index k = block.k0; k < block.k1; k += kBins) {
        put_bins(block, k, (std::min)(k + kBins, block.k1), p0, p1, ahead, memory);
      }
    }
  }

  void put_bins(const Block& block, Index k0, Index k1, Index p0, Index p1, Index ahead, Arena memory) const {
    Coefficients c;
    for (T** const array : {&c.hi, &c.minus_rstd, &c.scale, &c.slope, &c.shift}) *array = memory.take<T>(k1 - k0);
    for_each_bin_run(backward_plan_.map_bins, block.bin + k0 - block.k0, k1 - k0,
                     [&](const BinRun& run) { set(c, run); });
    // Frozen statistics are constants: dx = dy * scale whatever x holds, which is y of dy.
    const T* const slope = a_.is_frozen() ? nullptr : c.slope;
    plan_.map_walk.visit(block.group, k0, k1, p0, p1, [&](const Tile& tile) {
      a_.put({plan_.map_walk.columns(),
              a_.x,
              a_.dy,
              a_.dx,
              c.hi,
              c.minus_rstd,
              c.scale,
              slope,
              c.shift,
              nullptr,
              tile,
              {streams_, is_in_place(a_), ahead}});
    });
  }

  // Two at a time, where each bin has a statistic and a gamma of its own, side by side. Returns how many.
  Index set_pairs(const Coefficients& c, const BinRun& run, double n) const {
    const bool fits = run.stat_stride == 1 && run.param_stride == 1 && a_.gamma != nullptr && a_.centred;
    if (!fits || a_.is_frozen() || of_one_) return 0;
    Index k = 0;
    for (; k + 2 <= run.n; k += 2) {
      const Index i = run.first + k, stat = run.stat + k;
      Vec<T, 2> root, gamma;
      Pair r, lo, g, gx, slope, shift;
      std::memcpy(c.hi + i, a_.hi + stat, 2 * sizeof(T));
      std::memcpy(&root, a_.rstd + stat, sizeof root);
      std::memcpy(&gamma, a_.gamma + run.param + k, sizeof gamma);
      load_pair(a_.rstd + stat, r);
      load_pair(a_.lo + stat, lo);
      load_pair(stat_g_ + stat, g);
      load_pair(stat_gx_ + stat, gx);
      find_coefficients(lo, r, g, gx, n, slope, shift);
      gamma *= root;
      root = -root;
      std::memcpy(c.minus_rstd + i, &root, sizeof root);
      std::memcpy(c.scale + i, &gamma, sizeof gamma);
      store_pair(slope, c.slope + i);
      store_pair(shift, c.shift + i);
    }
    return k;
  }

  void set(const Coefficients& c, const BinRun& run) const {
    const double n = a_.is_unit ? 1 : static_cast<double>(a_.values(plan_));
    const bool is_one = run.stat_stride == 0 && run.param_stride == 0;
    double slope = 0, shift = 0;  // of the statistic at hand
    for (Index k = set_pairs(c, run, n); k < (is_one ? 1 : run.n); ++k) {
      const Index i = run.first + k, stat = run.stat + k * run.stat_stride;
      const T scale = of_one_ ? T(0) : a_.rstd[stat] * gamma_at(run.param + k * run.param_stride);
      if (a_.is_frozen()) {
        c.hi[i] = c.minus_rstd[i] = c.slope[i] = 0;
        c.scale[i] = -scale;
        c.shift[i] = T(-0.0);
        continue;
      }
      if (!of_one_ && (k == 0 || run.stat_stride != 0)) {
        find_coefficients(static_cast<double>(a_.lo[stat]), static_cast<double>(a_.rstd[stat]),
                          a_.centred ? stat_g_[stat] : 0, stat_gx_[stat], n, slope, shift);
        if (a_.is_unit && is_of_eps(static_cast<double>(a_.rstd[stat]))) slope = shift = 0;
      }
      c.hi[i] = a_.hi[stat];
      c.minus_rstd[i] = -a_.rstd[stat];
      c.scale[i] = scale;
      c.slope[i] = static_cast<T>(slope);
      c.shift[i] = static_cast<T>(shift);
    }
    if (!is_one) return;
    for (T* const array : {c.hi, c.minus_rstd, c.scale, c.slope, c.shift}) {
      fill_run(array + run.first, run.n, array[run.first]);
    }
  }

  const BackwardArguments<Scalar>& a_;
  const Plan& plan_;
  const BackwardPlan& backward_plan_;
  Index multiple_;  // map bins that make whole statistics
  Partition partition_;
  Index shares_, stats_, params_;
  bool of_one_, streams_;
  double *share_g_ = nullptr, *share_gx_ = nullptr, *stat_g_ = nullptr, *stat_gx_ = nullptr;
  double *param_g_ = nullptr, *param_gx_ = nullptr, *parts_ = nullptr, *workers_ = nullptr;
};

}  // namespace core
}  // namespace tensornorm
