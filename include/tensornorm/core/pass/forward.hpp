// Forward: the statistics of x, and y from them.
#pragma once

#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/kernel/forward_columns.hpp"
#include "tensornorm/core/pass/find_statistics.hpp"
#include "tensornorm/core/pass/for_each_block.hpp"
#include "tensornorm/core/pass/forward_memory.hpp"
#include "tensornorm/core/pass/normalize.hpp"
#include "tensornorm/core/pass/part_sums.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

template <class Scalar>
class Forward {
 public:
  Forward(const ForwardArguments<Scalar>& arguments, const Plan& plan)
      : a_(arguments), plan_(plan), partition_(plan_.partition), normalizer_(a_, plan_),
        memory_(plan_, normalizer_.in_line()) {}

  Forward(const Forward&) = delete;
  Forward& operator=(const Forward&) = delete;

  // @pre called once; the workspace is of the size for the runner's threads, or there is one thread
  void run(const Runner& runner, const Workspace& workspace);

  // A small plan, whatever the threads: what leads to the kernels would take longer than they.
  // @pre the workspace has plan.worker_size
  static void run_small(const ForwardArguments<Scalar>& a, const Plan& plan, const Workspace& workspace) {
    a.add_residual(plan.walk, {0, 0, plan.walk.bins()}, 0, plan.walk.line());
    if (a.run_columns != nullptr && a.run_columns(a, plan)) return;
    const auto run = [&](const Arena& memory) { run_small_in(a, plan, memory); };
    plan.worker_size == 0 ? ForwardMemory<T>::with_frame(run) : run(Arena(workspace.memory));
  }

  // A small plan of columns whose statistics and parameters lie side by side, by one kernel: false where it must go
  // another way.
  static bool run_columns(const ForwardArguments<Scalar>& a, const Plan& plan) {
    const Tile& tile = plan.only_tile;
    const SavedStatistics<T>& to = a.saved;
    const bool finds = a.found.hi == nullptr && to.hi != nullptr && to.moments == nullptr;
    const bool clips = a.post_op != nullptr && a.post_op->z == nullptr;
    const bool puts = a.y != nullptr && (a.post_op == nullptr || clips) && plan.can_run_columns(a.is_in_place());
    if (!finds || !puts) return false;
    bool trusted = false;
    const FinishRule rule = FindStatistics<Scalar>::rule_of(a, plan);
    core::dispatch(ForwardColumns<Scalar>{{a.x + tile.offset, tile.stride},
                                          tile.rows,
                                          tile.cols,
                                          plan.samples,
                                          rule,
                                          to.hi,
                                          to.lo,
                                          to.rstd,
                                          to.m2,
                                          a.gamma,
                                          a.beta,
                                          clips ? &a.post_op->low : nullptr,
                                          clips ? &a.post_op->high : nullptr,
                                          a.y + tile.y_offset,
                                          tile.y_stride,
                                          &trusted});
    return trusted;
  }

 private:
  using T = ParamOf<Scalar>;
  using Block = StatisticsBlock<T>;
  using CoefficientArrays = typename Normalizer<Scalar>::CoefficientArrays;

  // Many rows read these copies.
  void copy_parameters(Arena memory) {
    for (const T** const array : {&a_.gamma, &a_.beta}) {
      if (*array == nullptr) continue;
      T* const copy = memory.take<T>(plan_.params);
      copy_run(*array, plan_.params, copy);
      *array = copy;
    }
  }

  // Portions of a block, for what the stack does not hold whole.
  template <class Use>
  void each_portion(const BinRange& block, const Use& use) const {
    const Index n = Partition::portions(block.size(), plan_.multiple, memory_.extents().bins);
    if (n == 1) return use(block);
    for (Index i = 0; i < n; ++i) use(Partition::portion(block, plan_.multiple, i, n));
  }

  __attribute__((noinline)) void run_blocks(const Runner& runner) const {
    const Index units = (std::min)(partition_.blocks, Partition::kUnits);
    const auto run = [&](Index b, Index, Index worker) {
      memory_.with(worker, [&](const Arena& memory) { run_block(b, memory); });
    };
    for_each_block(runner, partition_, units, plan_.elements, normalizer_.streams(), run, /*is_last=*/true);
  }

  __attribute__((noinline)) void run_block(Index b, const Arena& memory) const {
    const Index ahead = normalizer_.ahead(partition_, b);
    each_portion(partition_.block(b), [&](const BinRange& range) {
      if (range.size() == 0) return;
      a_.add_residual(plan_.walk, range, 0, plan_.walk.line(), ahead);
      Block block(range, plan_, memory_.extents().chunk, memory);
      FindStatistics<Scalar> statistics(a_, plan_);
      const auto in_parts = [&](const BinRange& chunk, double* sum_d, double* sum_d2) {
        add_parts(statistics, block, chunk, ahead, sum_d, sum_d2);
      };
      const typename FindStatistics<Scalar>::Reduce reduce(in_parts);
      statistics.run(block, memory_.extents().chunk, ahead, partition_.parts > 1 ? &reduce : nullptr);
      if (a_.y != nullptr) normalize(block, 0, 1, normalizer_.map_ahead(partition_, b), block.rest);
    });
  }

  static void run_small_in(const ForwardArguments<Scalar>& a, const Plan& plan, const Arena& memory) {
    const Index n = plan.walk.bins();
    Block block({0, 0, n}, plan, n, memory);
    FindStatistics<Scalar>(a, plan).run_small(block);
    if (a.y == nullptr) return;
    const Normalizer<Scalar> normalizer(a, plan);
    if (plan.params_apart) {
      const T *const gamma = a.gamma + plan.only_tile.param, *const beta = a.beta == nullptr
                                                                               ? nullptr
                                                                               : a.beta + plan.only_tile.param;
      return normalizer.put_tile_apart({block.hi, block.scale, block.shift}, gamma, beta, plan.only_tile, 0);
    }
    Arena rest = block.rest;
    const CoefficientArrays c{rest.take<T>(n), rest.take<T>(n), rest.take<T>(n)};
    for_each_bin_run(plan.map_bins, 0, n,
                     [&](const BinRun& run) { normalizer.fold(block.hi, block.lo, block.rstd, run, c); });
    normalizer.put_map_tile(c, plan.only_tile, 0);
  }

  __attribute__((cold, noinline)) void run_in_large_frame(const Runner& runner) {
    double memory[static_cast<std::size_t>(ForwardMemory<T>::kMostLocalDoubles)];
    memory_.take_large_frame(memory);
    run_all(runner);
  }

  void run_all(const Runner& runner) {
    partition_.share_among(plan_.walk, plan_.multiple, runner.threads());
    if (partition_.shares_parts()) {
      for (Index b = 0; b < partition_.blocks; ++b) {
        memory_.with(0, [&](const Arena& memory) { run_in_parts(runner, b, memory); });
      }
    } else {
      run_blocks(runner);
    }
  }

  // Too few blocks to share: threads share their parts, whose sums are added in order.
  __attribute__((cold, noinline)) void run_in_parts(const Runner& runner, Index b, const Arena& memory) const {
    if (a_.residual != nullptr) add_residual_in_parts(runner, partition_.block(b));
    each_portion(partition_.block(b), [&](const BinRange& range) {
      Block block(range, plan_, memory_.extents().chunk, memory);
      FindStatistics<Scalar> statistics(a_, plan_);
      const auto in_parts = [&](const BinRange& chunk, double* sum_d, double* sum_d2) {
        if (memory_.part_sums() == nullptr) return add_parts(statistics, block, chunk, 0, sum_d, sum_d2);
        share_parts(runner, statistics, block, sum_d, sum_d2);
      };
      const typename FindStatistics<Scalar>::Reduce reduce(in_parts);
      statistics.run(block, memory_.extents().chunk, 0, &reduce);
      if (a_.y == nullptr) return;
      runner.backwards(partition_.map_parts, block.size() * plan_.walk.line(), [&](Index part, Index worker) {
        normalize(block, part, partition_.map_parts, normalizer_.ahead(partition_, b),
                  worker == 0 ? block.rest : memory_.of(worker));
        if (normalizer_.streams()) finish_streaming();
      });
    });
  }

  __attribute__((cold, noinline)) void add_residual_in_parts(const Runner& runner, const BinRange& block) const {
    const Index line = plan_.walk.line(), parts = partition_.parts;
    runner(parts, block.size() * line, [&](Index part, Index) {
      a_.add_residual(plan_.walk, block, part_begin(line, part, parts), part_begin(line, part + 1, parts));
    });
  }

  // One part after the other.
  void add_parts(const FindStatistics<Scalar>& statistics, const Block& block, const BinRange& chunk, Index ahead,
                 double* sum_d, double* sum_d2) const {
    const Index line = plan_.walk.line(), n = chunk.size();
    Arena memory = block.beside_sums;
    double *const p = memory.take<double>(n), *const pq = memory.take<double>(n);
    for (Index part = 0; part < partition_.parts; ++part) {
      for (double* const sums : {p, pq}) std::fill_n(sums, n, 0.0);
      statistics.reduce(block, chunk, part_begin(line, part, partition_.parts),
                        part_begin(line, part + 1, partition_.parts), ahead, p, pq);
      for (Index i = 0; i < n; ++i) sum_d[i] += p[i];
      for (Index i = 0; i < n; ++i) sum_d2[i] += pq[i];
    }
  }

  __attribute__((cold, noinline)) void share_parts(const Runner& runner, const FindStatistics<Scalar>& statistics,
                                                   const Block& block, double* sum_d, double* sum_d2) const {
    const Index line = plan_.walk.line();
    PartSums sums(memory_.part_sums(), partition_.parts, block.size());
    runner(partition_.parts * partition_.pieces, block.size() * line, [&](Index unit, Index) {
      const Index part = unit / partition_.pieces;
      const Index p0 = part_begin(line, part, partition_.parts), p1 = part_begin(line, part + 1, partition_.parts);
      const BinRange piece = partition_.piece(block, unit % partition_.pieces);
      const Index first = piece.k0 - block.k0, n = piece.size();
      statistics.reduce(block, piece, p0, p1, 0, sums.clear_p(part, first, n), sums.clear_pq(part, first, n));
    });
    sums.add_to(partition_.parts, sum_d, sum_d2);
  }

  // ---- y

  // Part `part` of `parts` of a block; the reads of x that come `ahead` elements later are prepared.
  void normalize(const Block& block, Index part, Index parts, Index ahead, Arena memory) const {
    const Index stretches = partition_.stretches(block.size() * plan_.walk.line() / parts);
    for (Index i = stretches - 1; i >= 0; --i) {
      if (plan_.params_apart) {
        normalize_params_apart(block, part * stretches + i, parts * stretches, ahead, memory);
      } else {
        normalize_map_bins(block, part * stretches + i, parts * stretches, ahead, memory);
      }
    }
  }

  void normalize_map_bins(const Block& block, Index part, Index parts, Index ahead, Arena memory) const {
    const Index most = memory_.extents().map_bins;
    const CoefficientArrays c{memory.take<T>(most), memory.take<T>(most), memory.take<T>(most)};
    plan_.visit_map_bins(block.k0, block.k1, part, parts, most, [&](Index c0, Index c1, Index p0, Index p1) {
      for_each_bin_run(plan_.map_bins, plan_.map_bin_number(block.group, c0), c1 - c0, [&](const BinRun& run) {
        BinRun rest = run;
        rest.stat -= block.stat;
        normalizer_.fold(block.hi, block.lo, block.rstd, rest, c);
      });
      normalizer_.put_map_bins(block, c0, c1, p0, p1, c, ahead);
    });
  }

  void normalize_params_apart(const Block& block, Index part, Index parts, Index ahead, Arena memory) const {
    if (plan_.multiple == 1) {
      return normalizer_.put_params_apart(block, {block.hi, block.scale, block.shift}, part, parts, ahead,
                                          memory_.extents().params, memory);
    }
    const Index most = memory_.extents().chunk;
    const CoefficientArrays c{memory.take<T>(most), memory.take<T>(most), memory.take<T>(most)};
    for_each_chunk(block.k0, block.k1, most, [&](Index k0, Index k1) {
      for_each_bin_run(plan_.bins, plan_.bin_number(block.group, k0), k1 - k0, [&](const BinRun& run) {
        for (Index k = 0, s = run.stat - block.stat; k < run.n; ++k, s += run.stat_stride) {
          const Index i = run.first + k;
          c.hi[i] = block.hi[s];
          c.scale[i] = block.scale[s];
          c.shift[i] = block.shift[s];
        }
      });
      normalizer_.put_params_apart({block.group, k0, k1}, c, part, parts, ahead, memory_.extents().params, memory);
    });
  }

  ForwardArguments<Scalar> a_;
  const Plan& plan_;
  Partition partition_;
  Normalizer<Scalar> normalizer_;
  ForwardMemory<T> memory_;
};

template <class Scalar>
void Forward<Scalar>::run(const Runner& runner, const Workspace& workspace) {
  if (plan_.is_small && workspace.doubles >= plan_.worker_size) return run_small(a_, plan_, workspace);
  if (!memory_.take(workspace, runner.threads())) return run_in_large_frame(runner);
  if (memory_.has_copies()) copy_parameters(memory_.of_copies());
  run_all(runner);
}

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
