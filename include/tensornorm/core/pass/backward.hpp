// Backward: dx, dgamma and dbeta from x, dy and the statistics of the forward pass.
//
// With g = dy * gamma and n elements to a statistic, dx = rstd * (g - mean(g) - xhat * mean(g * xhat)); a mean that is
// not taken from x (RMSNorm) drops the first mean, frozen statistics drop both (Ioffe and Szegedy 2015, section 3).
#pragma once

#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/kernel/backward_columns.hpp"
#include "tensornorm/core/kernel/column_reduce.hpp"
#include "tensornorm/core/kernel/map_arithmetic.hpp"
#include "tensornorm/core/kernel/row_reduce.hpp"
#include "tensornorm/core/kernel/sum_arithmetic.hpp"
#include "tensornorm/core/pass/backward_arguments.hpp"
#include "tensornorm/core/pass/backward_map.hpp"
#include "tensornorm/core/pass/backward_sums.hpp"
#include "tensornorm/core/pass/for_each_block.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

// Where some axis is neither kept nor affine: both kinds of sums come from one reduction to map bins.
template <class Scalar>
class Backward {
 public:
  // All outlive this.
  Backward(const BackwardArguments<Scalar>& arguments, const Plan& plan, const BackwardPlan& backward_plan)
      : a_(arguments), plan_(plan), backward_plan_(backward_plan), multiple_(backward_plan_.multiple),
        partition_(backward_plan_.partition), sums_(a_, plan_, backward_plan_), map_(a_, plan_, backward_plan_) {}

  // Bytes for the coefficients of some bins and, while these are summed, for the sums.
  static Index worker_bytes(const Partition& partition) {
    const Index n = (std::min)(kBins, (std::max)(partition.block_bins, Index{1}));
    const Index sums = 3 * Arena::bytes<T>(n) + 2 * Arena::bytes<double>(n);
    return (std::max)(sums, BackwardMap<Scalar>::bytes(n));
  }

  // Doubles it needs: sums by share, by statistic and by parameter, a block's sums in parts, and a worker's arrays.
  Index workspace_size(Index threads) const {
    return sums_.size() + part_sums() + threads * backward_plan_.worker_size;
  }

  void run(const Runner& runner, double* workspace) {
    if (a_.run_columns != nullptr && a_.run_columns(a_, plan_)) return;
    share_out(workspace);
    partition_.share_among(plan_.map_walk, multiple_, runner.threads());
    if (multiple_ > plan_.map_walk.bins() || a_.ranks != nullptr) {  // statistics reach across groups, or ranks
      run_sums_first(runner);
    } else if (partition_.shares_parts()) {
      for (Index b = 0; b < partition_.blocks; ++b) run_in_parts(runner, place(b));
    } else {
      over_blocks(runner, [&](const Block& block, Arena memory) {
        reduce_block(block, memory);
        sums_.finish(block.bin, block.size());
        if (a_.dx != nullptr) map_block(block, 0, 1, memory);
      });
    }
    sums_.store(a_);
  }

  // A small plan of columns whose statistics and parameters lie side by side, by one kernel: false where it must go
  // another way.
  static bool run_columns(const BackwardArguments<Scalar>& a, const Plan& plan) {
    const Tile& tile = plan.only_tile;
    const bool fits = plan.can_run_columns(is_in_place(a)) && a.dx != nullptr && a.ranks == nullptr && !a.is_frozen() &&
                      !a.is_unit && !is_of_one(a, plan);
    if (!fits) return false;
    const bool has_gamma = a.gamma != nullptr;
    core::dispatch(BackwardColumns<Scalar>{{a.x + tile.offset, tile.stride},
                                           {a.dy + tile.y_offset, tile.y_stride},
                                           tile.rows,
                                           tile.cols,
                                           a.hi,
                                           a.lo,
                                           a.rstd,
                                           a.gamma,
                                           a.centred,
                                           has_gamma ? a.dgamma : nullptr,
                                           has_gamma ? a.dbeta : nullptr,
                                           a.dx + tile.z_offset,
                                           tile.z_stride,
                                           a.add != nullptr});
    return true;
  }

 private:
  using T = ParamOf<Scalar>;
  static constexpr Index kBins = Partition::kBlockBins;

  struct Block : BinRange {
    Index index, bin;  // its own number, and that of its first bin
  };

  Block place(Index b) const {
    const BinRange range = partition_.block(b);
    return {range, b, plan_.map_bin_number(range.group, range.k0)};
  }

  __attribute__((cold, noinline)) void run_sums_first(const Runner& runner) const {
    const bool in_parts = partition_.shares_parts() && multiple_ <= plan_.map_walk.bins();
    if (in_parts) {
      for (Index b = 0; b < partition_.blocks; ++b) reduce_in_parts(runner, place(b));
    } else {
      over_blocks(runner, [&](const Block& block, Arena memory) { reduce_block(block, memory); });
    }
    for (Index b = 0; b < partition_.blocks; ++b) {
      const Block block = place(b);
      sums_.finish(block.bin, block.size());
    }
    if (a_.ranks != nullptr) a_.ranks->add(sums_.g(), sums_.gx());
    if (a_.dx == nullptr) return;
    if (in_parts) {
      for (Index b = 0; b < partition_.blocks; ++b) map_in_parts(runner, place(b));
    } else {
      over_blocks(runner, [&](const Block& block, Arena memory) { map_block(block, 0, 1, memory); });
    }
  }

  void over_blocks(const Runner& runner, FunctionRef<void(const Block&, Arena memory)> work) const {
    const Index units = (std::min)(partition_.blocks, Partition::kUnits);
    for_each_block(runner, partition_, units, plan_.elements, map_.streams(), [&](Index b, Index, Index worker) {
      const Block block = place(b);
      if (block.size() > 0) work(block, memory_of(worker));
    });
  }

  void share_out(double* workspace) {
    sums_.begin(workspace);
    parts_ = workspace + sums_.size();
    workers_ = parts_ + part_sums();
  }

  Index part_sums() const {
    return has_sums() && partition_.shares_parts() ? PartSums::doubles(partition_.parts, partition_.block_bins) : 0;
  }
  Arena memory_of(Index worker) const { return Arena(workers_ + worker * backward_plan_.worker_size, map_.in_line()); }

  // ---- sums

  // Whether anybody reads them.
  bool has_sums() const { return (!a_.is_frozen() && a_.wants_dx) || a_.wants_parameters() || a_.ranks != nullptr; }

  __attribute__((cold, noinline)) void run_in_parts(const Runner& runner, const Block& block) const {
    reduce_in_parts(runner, block);
    sums_.finish(block.bin, block.size());
    if (a_.dx != nullptr) map_in_parts(runner, block);
  }

  __attribute__((cold, noinline)) void reduce_in_parts(const Runner& runner, const Block& block) const {
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
    for (Index part = 0; part < partition_.parts; ++part) sums_.add(block.bin, n, sums.p(part), sums.pq(part));
  }

  __attribute__((cold, noinline)) void map_in_parts(const Runner& runner, const Block& block) const {
    runner.backwards(partition_.map_parts, block.size() * plan_.map_walk.line(), [&](Index part, Index worker) {
      map_block(block, part, partition_.map_parts, memory_of(worker));
      if (map_.streams()) finish_streaming();
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
        sums_.add(block.bin + i, end - i, g, gx);
      }
    }
  }

  // Adds the sums of dy and dy * xhat over positions [p0, p1) of the lines of a block's bins [i, end).
  __attribute__((noinline)) void reduce(const Block& block, Index i, Index end, Index p0, Index p1, double* sum_g,
                                        double* sum_gx, Arena memory) const {
    const Index n = end - i, step = a_.write_range == nullptr ? p1 - p0 : written_together(n, p1 - p0);
    Arena rest = memory;
    T *const hi = rest.take<T>(n), *const scale = rest.take<T>(n), *const shift = rest.take<T>(n);
    Index p = p0;
    do {  // also where there are no positions: add_shifts reads shift
      const Index stop = (std::min)(p + step, p1);
      if (a_.write_range != nullptr) write_range(block, i, end, p, stop, memory);
      // After it, which works in the same memory.
      for_each_bin_run(backward_plan_.map_bins, block.bin + i, n,
                       [&](const BinRun& run) { get_xhat(a_, run, hi, scale, shift); });
      plan_.map_walk.visit(block.group, block.k0 + i, block.k0 + end, p, stop,
                           [&](const Tile& tile) { reduce_tile(tile, hi, scale, sum_g, sum_gx); });
      p = stop;
    } while (p < p1);
    add_shifts(shift, sum_g, n, sum_gx);
  }
  __attribute__((cold, noinline)) void write_range(const Block& block, Index i, Index end, Index p0, Index p1,
                                                   Arena memory) const {
    ResultGradientRange<Scalar> range{plan_, {block.group, block.k0 + i, block.k0 + end}, memory};
    range.p0 = p0;
    range.p1 = p1;
    range.map_bins = &backward_plan_.map_bins;
    range.first = block.bin + i;
    (*a_.write_range)(range);
  }
  // How many positions are written before they are summed. Of long columns: a multiple of kFloatAdds, which changes no
  // sum, of which a cache holds the elements (measured on Sapphire Rapids: ReLU behind BatchNorm, backward of
  // 16384x768, takes 0.70 of the separate calls, and 0.82 where all are written at once). Else all.
  Index written_together(Index bins, Index positions) const {
    constexpr Index kElements = 32 << 10;
    const bool is_long = plan_.map_walk.columns() && plan_.map_walk.run() == plan_.map_walk.line();
    return is_long ? (std::max)(kElements / bins / kFloatAdds, Index{1}) * kFloatAdds : positions;
  }
  void reduce_tile(const Tile& tile, const T* hi, const T* scale, double* sum_g, double* sum_gx) const {
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
  }

  // ---- dx

  void map_block(const Block& block, Index part, Index parts, Arena memory) const {
    const Index line = plan_.map_walk.line(), stretches = partition_.stretches(block.size() * line / parts),
                all = parts * stretches;
    const Index ahead = outgrows_cache<Scalar>(plan_) ? partition_.ahead(plan_.map_walk, block.index) : 0;
    for (Index i = stretches - 1; i >= 0; --i) {
      const Index p0 = part_begin(line, part * stretches + i, all),
                  p1 = part_begin(line, part * stretches + i + 1, all);
      for (Index k = block.k0; k < block.k1; k += kBins) {
        map_.put({block.group, k, (std::min)(k + kBins, block.k1)}, block.bin + k - block.k0, sums_, p0, p1, ahead,
                 memory);
      }
    }
  }

  const BackwardArguments<Scalar>& a_;
  const Plan& plan_;
  const BackwardPlan& backward_plan_;
  Index multiple_;  // map bins that make whole statistics
  Partition partition_;
  BackwardSums<T> sums_;
  BackwardMap<Scalar> map_;
  double *parts_ = nullptr, *workers_ = nullptr;
};

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
