// Forward: the statistics of x, and y from them.
#pragma once

#include "tensornorm/core/kernel/forward_columns.hpp"
#include "tensornorm/core/pass/find_statistics.hpp"
#include "tensornorm/core/pass/for_each_block.hpp"
#include "tensornorm/core/pass/normalize.hpp"
#include "tensornorm/core/pass/part_sums.hpp"

namespace tensornorm {
namespace core {

template <class Scalar>
class Forward {
 public:
  Forward(const ForwardArguments<Scalar>& arguments, const Plan& plan)
      : a_(arguments), plan_(plan), partition_(plan_.partition), normalizer_(a_, plan_) {}

  Forward(const Forward&) = delete;
  Forward& operator=(const Forward&) = delete;

  // Completes a new Plan.
  static void complete(Plan& plan) {
    if (plan.partition.reads_once) return;
    const Forward pass(ForwardArguments<Scalar>(), plan);
    const Index size = pass.bytes(pass.whole());
    plan.shared_worker_size = Arena::doubles(size);
    plan.worker_size = size > kLocalBytes ? plan.shared_worker_size : 0;
    plan.copies_size = plan.is_small ? 0 : pass.copies_size();
  }

  // Doubles with which so many threads take blocks whole. One thread can do with fewer, or with none and the stack.
  static Index workspace_size(const Plan& plan, Index threads) {
    const bool shares_parts = threads > 1 && plan.partition.shares_parts();
    const Index sums = shares_parts ? PartSums::doubles(plan.partition.parts, plan.partition.block_bins) : 0;
    return sums + threads * (shares_parts ? plan.shared_worker_size : plan.worker_size) + plan.copies_size;
  }

  // @pre called once; the workspace is of the size for the runner's threads, or there is one thread
  void run(const Runner& runner, const Workspace& workspace);

 private:
  using T = ParamOf<Scalar>;
  using Block = StatisticsBlock<T>;
  using CoefficientArrays = typename Normalizer<Scalar>::CoefficientArrays;

  // What a worker takes at a time: of a block, of map bins and of parameters that must be copied.
  struct Extents : BlockExtents {
    Index map_bins, params;
  };

  // ---- memory

  Extents extents(Index bins, Index chunk, Index map_bins, Index params) const {
    const Index stats =
        plan_.multiple == 1 ? bins : (bins + plan_.multiple - 1) / plan_.multiple * plan_.multiple_stats;
    return {{bins, stats, chunk}, map_bins, params};
  }
  Extents whole() const {
    const Index bins = partition_.block_bins;
    return extents(bins, bins, (std::min)(bins * plan_.map_bins_per_bin, Partition::kBlockBins),
                   (std::min)(plan_.walk.line(), Partition::kBlockBins));
  }
  // Less of everything, so that it fits so many bytes: a portion of a block, and of that a chunk.
  Extents fitting(Index most_bytes) const {
    constexpr Index kLeast = 32, kStep = Partition::kCacheLineBins;  // what Chunks can divide
    constexpr Index kLeastPerBin = 48;                               // bytes of the arrays by bin, or less
    const Index most = most_bytes / kLeastPerBin / kStep * kStep;
    for (Index chunk = most;; chunk -= kStep) {
      const Index bins = (std::min)(partition_.block_bins, (std::max)(chunk, Partition::least_portion(plan_.multiple)));
      // Where every bin is a statistic, the sums of a portion are taken together.
      const Extents e = extents(bins, plan_.multiple == 1 ? bins : (std::min)(bins, chunk), chunk, chunk);
      if (chunk == kLeast || bytes(e) <= most_bytes) return e;
    }
  }

  Index bytes(const Extents& e) const {
    Index sums = Block::sum_bytes(e, plan_.multiple), coefficients = 0;
    if (partition_.parts > 1) sums += 2 * Arena::bytes<double>(e.chunk);
    if (!plan_.params_apart) coefficients += 3 * Arena::bytes<T>(e.map_bins);
    if (plan_.params_apart && plan_.multiple > 1) coefficients += 3 * Arena::bytes<T>(e.chunk);
    if (plan_.params_apart && LineParams::contiguous_run(plan_.line_params) == 0)
      coefficients += 2 * Arena::bytes<T>(e.params);
    return Block::lasting_bytes(e.stats) + (std::max)(sums, coefficients);
  }

  // @pre worker_size_ is not 0
  Arena memory_of(Index worker) const { return Arena(workers_ + worker * worker_size_); }

  // Calls use(memory) with a worker's memory, or with that of a frame which is there for it alone.
  template <class Use>
  void with_memory(Index worker, const Use& use) const {
    worker_size_ == 0 ? with_local_memory(use) : use(memory_of(worker));
  }
  template <class Use>
  __attribute__((noinline)) static void with_local_memory(const Use& use) {
    LocalMemory local;
    use(Arena(local.bytes));
  }

  // Where many rows read parameters, they read copies that begin with a line: a vector that lies in two lines is two
  // reads (measured with AVX-512, of 512 rows: 64 to 512 floats take 1.04 to 1.14 times as long). As many rows pay for
  // the copies several times over; longer ones are few in a cache.
  Index copies_size() const {
    constexpr Index kManyRows = 16;
    const bool pays = plan_.params_apart && !plan_.walk.columns() && plan_.params <= Partition::kBlockBins &&
                      plan_.elements >= kManyRows * plan_.params;
    return pays ? (2 * Arena::bytes<T>(plan_.params) + kCacheLine) / static_cast<Index>(sizeof(double)) : 0;
  }

  void copy_parameters(Arena memory) {
    for (const T** const array : {&a_.gamma, &a_.beta}) {
      if (*array == nullptr) continue;
      T* const copy = memory.take<T>(plan_.params);
      copy_run(*array, plan_.params, copy);
      *array = copy;
    }
  }

  // ---- the blocks

  // Portions of a block, for what the stack does not hold whole.
  template <class Use>
  void each_portion(const BinRange& block, const Use& use) const {
    const Index n = Partition::portions(block.size(), plan_.multiple, extents_.bins);
    if (n == 1) return use(block);
    for (Index i = 0; i < n; ++i) use(Partition::portion(block, plan_.multiple, i, n));
  }

  __attribute__((noinline)) void run_blocks(const Runner& runner) const {
    const Index units = (std::min)(partition_.blocks, Partition::kUnits);
    const auto run = [&](Index b, Index, Index worker) {
      with_memory(worker, [&](const Arena& memory) { run_block(b, memory); });
    };
    for_each_block(runner, partition_, units, plan_.elements, normalizer_.streams(), run, /*is_last=*/true);
  }

  __attribute__((noinline)) void run_block(Index b, const Arena& memory) const {
    const Index ahead = normalizer_.ahead(partition_, b);
    each_portion(partition_.block(b), [&](const BinRange& range) {
      if (range.size() == 0) return;
      a_.add_residual(plan_.walk, range, 0, plan_.walk.line(), ahead);
      Block block(range, plan_, extents_.chunk, memory);
      FindStatistics<Scalar> statistics(a_, plan_);
      const auto in_parts = [&](const BinRange& chunk, double* sum_d, double* sum_d2) {
        add_parts(statistics, block, chunk, ahead, sum_d, sum_d2);
      };
      const typename FindStatistics<Scalar>::Reduce reduce(in_parts);
      statistics.run(block, extents_.chunk, ahead, partition_.parts > 1 ? &reduce : nullptr);
      if (a_.y != nullptr) normalize(block, 0, 1, ahead, block.rest);
    });
  }

  // A small plan of columns whose statistics and parameters lie side by side: false where it must go another way.
  bool run_columns() const {
    if constexpr (!std::is_same<T, double>::value) {
      const Tile& tile = plan_.only_tile;
      const SavedStatistics<T>& to = a_.saved;
      const bool finds =
          a_.run_columns != nullptr && a_.found.hi == nullptr && to.hi != nullptr && to.moments == nullptr;
      const bool puts = a_.y != nullptr && a_.post_op == nullptr && plan_.can_run_columns(a_.is_in_place());
      const bool has_params = a_.gamma != nullptr || a_.beta != nullptr;
      if (!finds || !puts || (has_params && plan_.map_bins.back().param != 1)) return false;
      bool trusted = false;
      a_.run_columns({{a_.x + tile.offset, tile.stride},
                      tile.rows,
                      tile.cols,
                      plan_.samples,
                      FindStatistics<Scalar>::rule_of(a_, plan_),
                      to.hi,
                      to.lo,
                      to.rstd,
                      to.m2,
                      a_.gamma,
                      a_.beta,
                      a_.y + tile.y_offset,
                      tile.y_stride,
                      &trusted});
      return trusted;
    }
    return false;
  }

  // A small plan, whatever the threads: what leads to the kernels would take longer than they.
  void run_small(const Workspace& workspace) const {
    const auto run = [&](const Arena& memory) { run_small_in(memory); };
    plan_.worker_size == 0 ? with_local_memory(run) : run(Arena(workspace.memory));
  }
  void run_small_in(const Arena& memory) const {
    const Index n = plan_.walk.bins();
    Block block({0, 0, n}, plan_, n, memory);
    FindStatistics<Scalar>(a_, plan_).run_small(block);
    if (a_.y == nullptr) return;
    if (plan_.params_apart) {
      const T *const gamma = a_.gamma + plan_.only_tile.param, *const beta = a_.beta == nullptr
                                                                                 ? nullptr
                                                                                 : a_.beta + plan_.only_tile.param;
      return normalizer_.put_tile_apart({block.hi, block.scale, block.shift}, gamma, beta, plan_.only_tile, 0);
    }
    Arena rest = block.rest;
    const CoefficientArrays c{rest.take<T>(n), rest.take<T>(n), rest.take<T>(n)};
    for_each_bin_run(plan_.map_bins, 0, n,
                     [&](const BinRun& run) { normalizer_.fold(block.hi, block.lo, block.rstd, run, c); });
    normalizer_.put_map_tile(c, plan_.only_tile, 0);
  }

  // The least portion of some plans is more than a frame usually keeps: of columns whose number is no multiple of
  // sixteen, 31; of bins that stay together, up to 64 statistics. This is the most.
  static constexpr Index kMostLocalBytes = std::is_same<T, double>::value ? 6528 : 4608;
  __attribute__((noinline)) void run_on_stack(const Runner& runner) {
    double memory[static_cast<std::size_t>(Arena::doubles(kMostLocalBytes))];
    extents_ = fitting(kMostLocalBytes);
    workers_ = memory;
    worker_size_ = Arena::doubles(kMostLocalBytes);
    run_all(runner);
  }

  void run_all(const Runner& runner) {
    partition_.share_among(plan_.walk, plan_.multiple, runner.threads());
    if (partition_.shares_parts()) {
      for (Index b = 0; b < partition_.blocks; ++b) {
        with_memory(0, [&](const Arena& memory) { run_in_parts(runner, b, memory); });
      }
    } else {
      run_blocks(runner);
    }
  }

  // Too few blocks to share: threads share their parts, whose sums are added in order.
  __attribute__((noinline)) void run_in_parts(const Runner& runner, Index b, const Arena& memory) const {
    if (a_.residual != nullptr) add_residual_in_parts(runner, partition_.block(b));
    each_portion(partition_.block(b), [&](const BinRange& range) {
      Block block(range, plan_, extents_.chunk, memory);
      FindStatistics<Scalar> statistics(a_, plan_);
      const auto in_parts = [&](const BinRange& chunk, double* sum_d, double* sum_d2) {
        if (sums_ == nullptr) return add_parts(statistics, block, chunk, 0, sum_d, sum_d2);
        share_parts(runner, statistics, block, sum_d, sum_d2);
      };
      const typename FindStatistics<Scalar>::Reduce reduce(in_parts);
      statistics.run(block, extents_.chunk, 0, &reduce);
      if (a_.y == nullptr) return;
      runner.backwards(partition_.map_parts, block.size() * plan_.walk.line(), [&](Index part, Index worker) {
        normalize(block, part, partition_.map_parts, normalizer_.ahead(partition_, b),
                  worker == 0 ? block.rest : memory_of(worker));
        if (normalizer_.streams()) finish_streaming();
      });
    });
  }

  __attribute__((noinline)) void add_residual_in_parts(const Runner& runner, const BinRange& block) const {
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

  void share_parts(const Runner& runner, const FindStatistics<Scalar>& statistics, const Block& block, double* sum_d,
                   double* sum_d2) const {
    const Index line = plan_.walk.line();
    PartSums sums(sums_, partition_.parts, block.size());
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
    const Index most = extents_.map_bins;
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
                                          extents_.params, memory);
    }
    const Index most = extents_.chunk;
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
      normalizer_.put_params_apart({block.group, k0, k1}, c, part, parts, ahead, extents_.params, memory);
    });
  }

  ForwardArguments<Scalar> a_;
  const Plan& plan_;
  Partition partition_;
  Normalizer<Scalar> normalizer_;
  Extents extents_{};
  Index worker_size_ = 0;  // doubles
  double *workers_ = nullptr, *sums_ = nullptr;
};

template <class Scalar>
void Forward<Scalar>::run(const Runner& runner, const Workspace& workspace) {
  if (plan_.is_small && workspace.doubles >= plan_.worker_size) {
    a_.add_residual(plan_.walk, {0, 0, plan_.walk.bins()}, 0, plan_.walk.line());
    if (!run_columns()) run_small(workspace);
    return;
  }
  const bool shares_parts = runner.threads() > 1 && partition_.shares_parts();
  const Index needed = workspace_size(plan_, runner.threads());
  if (workspace.doubles >= needed) {
    extents_ = whole();
    worker_size_ = shares_parts ? plan_.shared_worker_size : plan_.worker_size;
    if (shares_parts) sums_ = workspace.memory;
    workers_ = workspace.memory + (shares_parts ? PartSums::doubles(partition_.parts, partition_.block_bins) : 0);
    if (plan_.copies_size > 0) copy_parameters(Arena(workers_ + runner.threads() * worker_size_));
  } else if (workspace.memory == nullptr) {
    extents_ = plan_.worker_size == 0 ? whole() : fitting(kLocalBytes);
    if (bytes(extents_) > kLocalBytes) return run_on_stack(runner);
  } else {
    extents_ = fitting(Arena::held_bytes(workspace.doubles));
    workers_ = workspace.memory;
    worker_size_ = workspace.doubles;
  }
  run_all(runner);
}

}  // namespace core
}  // namespace tensornorm
