// Forward: the statistics of x, and y from them.
#pragma once

#include "tensornorm/core/kernel/map.hpp"
#include "tensornorm/core/pass/find_statistics.hpp"
#include "tensornorm/core/pass/part_sums.hpp"
#include "tensornorm/core/thread/runner.hpp"

namespace tensornorm {
namespace core {

template <class Scalar>
class Forward {
 public:
  Forward(const ForwardArguments<Scalar>& arguments, const Plan& plan)
      : a_(arguments), t_(plan), partition_(t_.partition),
        streams_(a_.x != a_.y && outgrows_cache(2 * t_.elements * static_cast<Index>(sizeof(Scalar)))) {}

  Forward(const Forward&) = delete;
  Forward& operator=(const Forward&) = delete;

  // Completes a new Plan.
  static void complete(Plan& plan) {
    if (plan.partition.reads_once) return;
    const Forward pass(ForwardArguments<Scalar>(), plan);
    const Index size = pass.bytes(pass.whole());
    plan.shared_worker_size = Arena::doubles(size);
    plan.worker_size = size > kLocalBytes ? plan.shared_worker_size : 0;
    plan.copies_size = pass.copies_size();
  }

  // Doubles with which so many threads take blocks whole. One thread can do without: it takes what the stack holds.
  static Index workspace_size(const Plan& t, Index threads) {
    const bool shares_parts = threads > 1 && t.partition.parts > 1;
    const Index sums = shares_parts ? PartSums::doubles(t.partition.parts, t.partition.block_bins) : 0;
    return sums + threads * (shares_parts ? t.shared_worker_size : t.worker_size) + t.copies_size;
  }

  // @pre called once
  void run(const Runner& runner, double* workspace);

 private:
  using T = ParamOf<Scalar>;
  using Block = StatisticsBlock<T>;
  static constexpr bool is_double = std::is_same<T, double>::value;

  // What a worker takes at a time: of a block, of map bins and of parameters that must be copied.
  struct Extents : BlockExtents {
    Index map_bins, params;
  };

  // ---- memory

  Extents extents(Index bins, Index chunk, Index map_bins, Index params) const {
    const Index stats = t_.multiple == 1 ? bins : (bins + t_.multiple - 1) / t_.multiple * t_.multiple_stats;
    return {{bins, stats, chunk}, map_bins, params};
  }
  Extents whole() const {
    const Index bins = partition_.block_bins;
    return extents(bins, bins, (std::min)(bins * t_.map_bins_per_bin, Partition::kBlockBins),
                   (std::min)(t_.walk.line(), Partition::kBlockBins));
  }
  // Less of everything, so that it fits the stack: a portion of a block, and of that a chunk.
  Extents local() const {
    constexpr Index kMost = 128, kLeast = 32, kStep = Partition::kLineBins;
    for (Index chunk = kMost;; chunk -= kStep) {
      const Index bins = (std::min)(partition_.block_bins, (std::max)(chunk, Partition::least_portion(t_.multiple)));
      const Extents e = extents(bins, (std::min)(bins, chunk), chunk, chunk);
      if (chunk == kLeast || bytes(e) <= kLocalBytes) return e;
    }
  }

  Index bytes(const Extents& e) const {
    Index sums = Block::sum_bytes(e, t_.multiple), coefficients = 0;
    if (t_.walk.columns()) sums += panel_size<T>(e.chunk) * static_cast<Index>(sizeof(T));
    if (partition_.parts > 1) sums += 2 * Arena::bytes<double>(e.chunk);
    if (!t_.params_apart) coefficients += 3 * Arena::bytes<T>(e.map_bins);
    if (t_.params_apart && t_.multiple > 1) coefficients += 3 * Arena::bytes<T>(e.chunk);
    if (t_.params_apart && LineParams::contiguous_run(t_.line_params) == 0)
      coefficients += 2 * Arena::bytes<T>(e.params);
    return Block::lasting_bytes(e.stats) + (std::max)(sums, coefficients);
  }

  Arena memory_of(Index worker, LocalMemory& local) const {
    return worker_size_ == 0 ? Arena(local.bytes) : Arena(workers_ + worker * worker_size_);
  }

  // Where many rows read parameters, they read copies that begin with a line: a vector that lies in two lines is two
  // reads (measured with AVX-512, of 512 rows: 64 to 512 floats take 1.04 to 1.14 times as long). As many rows pay for
  // the copies several times over; longer ones are few in a cache.
  Index copies_size() const {
    constexpr Index kManyRows = 16;
    const bool pays = t_.params_apart && t_.params <= Partition::kBlockBins && t_.elements >= kManyRows * t_.params;
    return pays ? (2 * Arena::bytes<T>(t_.params) + kCacheLine) / static_cast<Index>(sizeof(double)) : 0;
  }

  void copy_parameters(Arena memory) {
    for (const T** const array : {&a_.gamma, &a_.beta}) {
      if (*array == nullptr) continue;
      T* const copy = memory.take<T>(t_.params);
      copy_run(*array, t_.params, copy);
      *array = copy;
    }
  }

  // ---- the blocks

  // Portions of a block, for what the stack does not hold whole.
  template <class Use>
  void each_portion(const BinRange& block, const Use& use) const {
    const Index n = Partition::portions(block.size(), t_.multiple, extents_.bins);
    if (n == 1) return use(block);
    for (Index i = 0; i < n; ++i) use(Partition::portion(block, t_.multiple, i, n));
  }

  void run_blocks(const Runner& runner) const {
    const Index units = (std::min)(partition_.blocks, Partition::kUnits);
    runner.last(units, t_.elements, [&](Index unit, Index worker) {
      LocalMemory local;
      for (Index b = part_begin(partition_.blocks, unit, units); b < part_begin(partition_.blocks, unit + 1, units);
           ++b) {
        each_portion(partition_.block(b), [&](const BinRange& range) {
          if (range.size() > 0) run_block(range, ahead(b), memory_of(worker, local));
        });
      }
      if (streams_) finish_streaming();
    });
  }

  void run_block(const BinRange& range, Index ahead, Arena memory) const {
    Block block(range, t_, extents_.chunk, memory);
    FindStatistics<Scalar> statistics(a_, t_);
    statistics.run(block, extents_.chunk, ahead);
    normalize(block, 0, 1, ahead, block.rest);
  }

  // Too few blocks to share: their lines are cut, and the sums of the parts are added in order.
  __attribute__((noinline)) void run_in_parts(const Runner& runner, Index b) const {
    LocalMemory local;
    each_portion(partition_.block(b), [&](const BinRange& range) {
      Block block(range, t_, extents_.chunk, memory_of(0, local));
      FindStatistics<Scalar> statistics(a_, t_);
      const auto in_parts = [&](const BinRange& chunk, double* sum_d, double* sum_d2) {
        if (sums_ == nullptr) return add_parts(statistics, block, chunk, sum_d, sum_d2);
        share_parts(runner, statistics, block, sum_d, sum_d2);
      };
      const typename FindStatistics<Scalar>::Reduce reduce(in_parts);
      statistics.run(block, extents_.chunk, 0, &reduce);
      runner.backwards(partition_.map_parts, block.size() * t_.walk.line(), [&](Index part, Index worker) {
        normalize(block, part, partition_.map_parts, ahead(b), worker == 0 ? block.rest : memory_of(worker, local));
        if (streams_) finish_streaming();
      });
    });
  }

  // One part after the other.
  void add_parts(const FindStatistics<Scalar>& statistics, const Block& block, const BinRange& chunk, double* sum_d,
                 double* sum_d2) const {
    const Index line = t_.walk.line(), n = chunk.size();
    Arena memory = block.beside_sums;
    double *const p = memory.take<double>(n), *const pq = memory.take<double>(n);
    for (Index part = 0; part < partition_.parts; ++part) {
      for (double* const sums : {p, pq}) std::fill_n(sums, n, 0.0);
      statistics.reduce(block, chunk, part_begin(line, part, partition_.parts),
                        part_begin(line, part + 1, partition_.parts), 0, p, pq, memory);
      for (Index i = 0; i < n; ++i) sum_d[i] += p[i];
      for (Index i = 0; i < n; ++i) sum_d2[i] += pq[i];
    }
  }

  void share_parts(const Runner& runner, const FindStatistics<Scalar>& statistics, const Block& block, double* sum_d,
                   double* sum_d2) const {
    const Index line = t_.walk.line();
    PartSums sums(sums_, partition_.parts, block.size());
    runner(partition_.parts * partition_.pieces, block.size() * line, [&](Index unit, Index worker) {
      const Index part = unit / partition_.pieces;
      const Index p0 = part_begin(line, part, partition_.parts), p1 = part_begin(line, part + 1, partition_.parts);
      const BinRange piece = partition_.piece(block, unit % partition_.pieces);
      const Index first = piece.k0 - block.k0, n = piece.size();
      const Arena memory = worker == 0 ? block.beside_sums : Arena(workers_ + worker * worker_size_);
      statistics.reduce(block, piece, p0, p1, 0, sums.clear_p(part, first, n), sums.clear_pq(part, first, n), memory);
    });
    sums.add_to(partition_.parts, sum_d, sum_d2);
  }

  // One thread makes the coefficients of a block once, several each for its parts of the lines.
  void run_frozen(const Runner& runner) const {
    const Index parts = partition_.map_parts;
    const bool shares_parts = parts > 1 && runner.threads() > 1;
    const Index units = shares_parts ? parts : (std::min)(partition_.blocks, Partition::kUnits);
    for (Index b = 0, all = shares_parts ? partition_.blocks : 1; b < all; ++b) {
      runner(units, t_.elements / all, [&](Index unit, Index) {
        if (shares_parts) {
          normalize_frozen(partition_.block(b), unit, unit + 1, ahead(b));
        } else {
          const Index end = part_begin(partition_.blocks, unit + 1, units);
          for (Index i = part_begin(partition_.blocks, unit, units); i < end; ++i) {
            normalize_frozen(partition_.block(i), 0, parts, ahead(i));
          }
        }
        if (streams_) finish_streaming();
      });
    }
  }

  // ---- y

  // By bin.
  struct Coefficients {
    const T *hi, *scale, *shift;
  };
  struct CoefficientArrays {
    T *hi, *scale, *shift;

    operator Coefficients() const { return {hi, scale, shift}; }  // NOLINT(google-explicit-constructor)
  };

  Index ahead(Index b) const { return streams_ ? partition_.ahead(t_.walk, b) : 0; }

  // Part `part` of `parts` of a block; the reads of x that come `ahead` elements later are prepared.
  void normalize(const Block& block, Index part, Index parts, Index ahead, Arena memory) const {
    const Index stretches = partition_.stretches(block.size() * t_.walk.line() / parts);
    for (Index i = stretches - 1; i >= 0; --i) {
      if (t_.params_apart) {
        normalize_params_apart(block, part * stretches + i, parts * stretches, ahead, memory);
      } else {
        normalize_map_bins(block, part * stretches + i, parts * stretches, ahead, memory);
      }
    }
  }

  void normalize_map_bins(const Block& block, Index part, Index parts, Index ahead, Arena memory) const {
    const Index most = extents_.map_bins;
    const CoefficientArrays c{memory.take<T>(most), memory.take<T>(most), memory.take<T>(most)};
    t_.visit_map_bins(block.k0, block.k1, part, parts, most, [&](Index c0, Index c1, Index p0, Index p1) {
      for_each_bin_run(t_.map_bins, t_.map_bin_number(block.group, c0), c1 - c0, [&](const BinRun& run) {
        BinRun rest = run;
        rest.stat -= block.stat;
        fold(block.hi, block.lo, block.rstd, rest, c);
      });
      put_map_bins(block, c0, c1, p0, p1, c, ahead);
    });
  }

  // The same where statistics are frozen, each with one gamma, for parts [part, last_part) of the lines: some
  // coefficients at a time, made where they are needed. @pre bins and map bins are the same
  __attribute__((noinline)) void normalize_frozen(const BinRange& bins, Index part, Index last_part,
                                                  Index ahead) const {
    constexpr Index most = 2048 / static_cast<Index>(sizeof(T));
    unsigned char local[3 * Arena::bytes<T>(most) + kCacheLine];
    Arena memory(local);
    const auto put_parts = [&](Index c0, Index c1, const Coefficients& c) {
      const Index positions = t_.map_walk.line(), parts = partition_.map_parts;
      for (Index i = part; i < last_part; ++i) {
        put_map_bins(bins, c0, c1, part_begin(positions, i, parts), part_begin(positions, i + 1, parts), c, ahead);
      }
    };
    if (is_plain()) {
      constexpr Index all = Partition::kBlockBins / (is_double ? 2 : 1);
      static_assert(Arena::bytes<T>(all) <= 3 * Arena::bytes<T>(most), "tensornorm: one long array instead of three");
      T* const scale = memory.take<T>(all);
      for_each_chunk(bins.k0, bins.k1, all, [&](Index c0, Index c1) {
        put_parts(c0, c1, plain_coefficients(t_.map_bin_number(bins.group, c0), c1 - c0, scale, part == 0));
      });
      return;
    }
    const CoefficientArrays c{memory.take<T>(most), memory.take<T>(most), memory.take<T>(most)};
    for_each_chunk(bins.k0, bins.k1, most, [&](Index c0, Index c1) {
      for_each_bin_run(t_.map_bins, t_.map_bin_number(bins.group, c0), c1 - c0, [&](const BinRun& run) {
        load_frozen(run, c, part == 0);
        BinRun rest{run.first, run.n, run.first, run.stat_stride == 0 ? 0 : 1, run.param, run.param_stride};
        fold(c.hi, nullptr, c.scale, rest, c);
      });
      put_parts(c0, c1, c);
    });
  }

  // Whether each bin has a statistic, a gamma and a beta of its own, side by side: mean and beta are read where they
  // are.
  bool is_plain() const {
    const Axes& bins = t_.map_bins;
    return bins.size() == 1 && bins.back().stat == 1 && bins.back().param == 1 && a_.beta != nullptr;
  }
  Coefficients plain_coefficients(Index first, Index n, T* scale, bool saves) const {
    find_roots(a_.frozen_var + first, n, 1, scale);
    if (saves && a_.saved.hi != nullptr) {
      copy_run(a_.frozen_mean + first, n, a_.saved.hi + first);
      fill_run(a_.saved.lo + first, n, T(0));
      copy_run(scale, n, a_.saved.rstd + first);
    }
    const T* const gamma = a_.gamma + first;
    Index i = 0;
    for (Vec<T, 4> g, v; i + 4 <= n; i += 4) {
      std::memcpy(&g, gamma + i, sizeof g);
      std::memcpy(&v, scale + i, sizeof v);
      v = -v * g;
      std::memcpy(scale + i, &v, sizeof v);
    }
    for (; i < n; ++i) scale[i] = -scale[i] * gamma[i];
    return {a_.frozen_mean + first, scale, a_.beta + first};
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
    find_roots(a_.frozen_var + run.stat, n, run.stat_stride, rstd);
    if (!saves || a_.saved.hi == nullptr) return;
    for (Index k = 0, to = run.stat; k < n; ++k, to += run.stat_stride) {
      a_.saved.hi[to] = hi[k];
      a_.saved.lo[to] = 0;
      a_.saved.rstd[to] = rstd[k];
    }
  }

  // rstd of variances `stride` apart: neighbours in lanes; those that ReciprocalRoots does not trust one by one.
  void find_roots(const T* var, Index n, Index stride, T* rstd) const {
    constexpr bool in_lanes = std::is_same<T, float>::value;
    bool trusted = false;
    if constexpr (in_lanes) {
      if (stride <= 1) core::dispatch(ReciprocalRoots{n, a_.eps, var, rstd, &trusted});
      if (trusted) return;
    }
    for (Index k = 0; k < n; ++k) {
      const double v = static_cast<double>(var[k * stride]);
      const bool is_known = in_lanes && stride <= 1 && ReciprocalRoots::can_trust(v + a_.eps);
      if (!is_known) rstd[k] = reciprocal_std<T>(v, a_.eps);
    }
  }

  // y = (hi - x) * scale + shift for the bins of a run, from the statistics at run.stat on; a null lo counts as 0.
  void fold(const T* hi, const T* lo, const T* rstd, BinRun run, const CoefficientArrays& c) const {
    const bool is_one = run.stat_stride == 0 && run.param_stride == 0;
    const Index first = run.first, n = run.n;
    if (is_one) run.n = 1;
    if (run.stat_stride <= 1 && run.param_stride == 1) fold_each<Vec<T, 4>, 4>(hi, lo, rstd, run, c);
    fold_each<T, 1>(hi, lo, rstd, run, c);
    if (!is_one) return;
    for (T* const array : {c.hi, c.scale, c.shift}) fill_run(array + first, n, array[first]);
  }

  // As many `together` as a V holds; leaves the rest of the run.
  // @pre with several at a time, their parameters lie side by side, and their statistics too or are one
  template <class V, Index together>
  void fold_each(const T* hi, const T* lo, const T* rstd, BinRun& run, const CoefficientArrays& c) const {
    const auto load = [&](const T* stats, V& v) {
      if (run.stat_stride == 0) {
        v = stats[run.stat] - V{};
      } else {
        std::memcpy(&v, stats + run.stat, sizeof v);
      }
    };
    for (; run.n >= together; run.n -= together, run.first += together) {
      V mean, root, low{}, gamma = T(1) - V{}, beta{};
      load(hi, mean);
      load(rstd, root);
      if (lo != nullptr) load(lo, low);
      if (a_.gamma != nullptr) std::memcpy(&gamma, a_.gamma + run.param, sizeof gamma);
      if (a_.beta != nullptr) std::memcpy(&beta, a_.beta + run.param, sizeof beta);
      const V slope = -root * gamma, offset = beta + low * slope;
      std::memcpy(c.hi + run.first, &mean, sizeof mean);
      std::memcpy(c.scale + run.first, &slope, sizeof slope);
      std::memcpy(c.shift + run.first, &offset, sizeof offset);
      run.stat += together * run.stat_stride;
      run.param += together * run.param_stride;
    }
  }

  void put_map_bins(const BinRange& bins, Index c0, Index c1, Index p0, Index p1, const Coefficients& c,
                    Index ahead) const {
    t_.map_walk.visit(bins.group, c0, c1, p0, p1, [&](const Tile& tile) {
      if (t_.map_walk.columns()) {
        put(PerColumn<T>{c.hi}, PerColumn<T>{c.scale}, PerColumn<T>{c.shift}, every_row(kOne<T>), every_row(kZero<T>),
            tile, ahead);
      } else {
        put(PerRow<T>{c.hi}, PerRow<T>{c.scale}, PerRow<T>{c.shift}, every_column(kOne<T>), every_column(kZero<T>),
            tile, ahead);
      }
    });
  }

  void normalize_params_apart(const Block& block, Index part, Index parts, Index ahead, Arena memory) const {
    if (t_.multiple == 1) {
      return put_params_apart(block, {block.hi, block.scale, block.shift}, part, parts, ahead, memory);
    }
    const Index most = extents_.chunk;
    const CoefficientArrays c{memory.take<T>(most), memory.take<T>(most), memory.take<T>(most)};
    for_each_chunk(block.k0, block.k1, most, [&](Index k0, Index k1) {
      for_each_bin_run(t_.bins, t_.bin_number(block.group, k0), k1 - k0, [&](const BinRun& run) {
        for (Index k = 0, s = run.stat - block.stat; k < run.n; ++k, s += run.stat_stride) {
          const Index i = run.first + k;
          c.hi[i] = block.hi[s];
          c.scale[i] = block.scale[s];
          c.shift[i] = block.shift[s];
        }
      });
      put_params_apart({block.group, k0, k1}, c, part, parts, ahead, memory);
    });
  }

  // The coefficients of xhat by bin.
  void put_params_apart(const BinRange& bins, const Coefficients& c, Index part, Index parts, Index ahead,
                        Arena memory) const {
    const Index most = extents_.params;
    const bool copies = LineParams::contiguous_run(t_.line_params) == 0;
    T* const gamma_buffer = copies ? memory.take<T>(most) : nullptr;
    T* const beta_buffer = copies ? memory.take<T>(most) : nullptr;
    t_.visit_params_apart(bins.group, bins.k0, bins.k1, part, parts, most,
                          [&](const Tile& tile, Index i, const LineParams& params) {
                            const T *const hi = c.hi + i, *const scale = c.scale + i, *const shift = c.shift + i;
                            const T* const gamma = params.of(a_.gamma, gamma_buffer);
                            const T* const beta = a_.beta == nullptr ? nullptr : params.of(a_.beta, beta_buffer);
                            if (t_.walk.columns()) {
                              put(PerColumn<T>{hi}, PerColumn<T>{scale}, PerColumn<T>{shift}, PerRowOrAll<T>{gamma},
                                  beta == nullptr ? every_row(kZero<T>) : PerRowOrAll<T>{beta}, tile, ahead);
                            } else {
                              put(PerRow<T>{hi}, PerRow<T>{scale}, PerRow<T>{shift}, PerColumnOrAll<T>{gamma},
                                  beta == nullptr ? every_column(kZero<T>) : PerColumnOrAll<T>{beta}, tile, ahead);
                            }
                          });
  }

  template <class Stat, class Param>
  void put(const Stat& hi, const Stat& scale, const Stat& shift, const Param& gamma, const Param& beta,
           const Tile& tile, Index ahead) const {
    const Normalize<Scalar, Stat, Param> functor{{{a_.x + tile.offset, tile.stride}, hi, scale, shift}, gamma, beta};
    map(functor, tile, a_.y, {streams_, a_.x == a_.y, ahead});
  }

  ForwardArguments<Scalar> a_;
  const Plan& t_;
  Partition partition_;
  bool streams_;
  Extents extents_{};
  Index worker_size_ = 0;  // doubles
  double *workers_ = nullptr, *sums_ = nullptr;
};

template <class Scalar>
void Forward<Scalar>::run(const Runner& runner, double* workspace) {
  const bool shares_parts = runner.threads() > 1 && partition_.parts > 1;
  if (!a_.is_frozen()) {
    const bool is_whole = workspace != nullptr || t_.worker_size == 0;
    extents_ = is_whole ? whole() : local();
    if (workspace != nullptr) {
      worker_size_ = shares_parts ? t_.shared_worker_size : t_.worker_size;
      if (shares_parts) sums_ = workspace;
      workers_ = workspace + (shares_parts ? PartSums::doubles(partition_.parts, partition_.block_bins) : 0);
      workspace = workers_ + runner.threads() * worker_size_;
    }
    if (workspace != nullptr && t_.copies_size > 0) copy_parameters(Arena(workspace));
  }
  partition_.share_among(t_.walk, t_.multiple, runner.threads());
  if (a_.is_frozen()) {
    run_frozen(runner);
  } else if (partition_.parts > 1) {
    for (Index b = 0; b < partition_.blocks; ++b) run_in_parts(runner, b);
  } else {
    run_blocks(runner);
  }
}

}  // namespace core
}  // namespace tensornorm
