// Backward where parameters vary along every element of a statistic (LayerNorm): the sums of dx and those of the
// parameters cross, and both are taken from a block of x and dy while it is in cache. Its statistics are never frozen.
// A block of dense rows has at least as many rows as float sums may take, where a cache has room for them or x has at
// most twice as many rows: the parameters' sums go to double once for so many rows.
#pragma once

#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/pass/backward.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

template <class Scalar>
class BackwardApart {
 public:
  // All outlive this.
  BackwardApart(const BackwardArguments<Scalar>& arguments, const Plan& plan, const BackwardPlan& backward_plan)
      : a_(arguments), plan_(plan), backward_plan_(backward_plan), partition_(backward_plan_.partition),
        params_(plan_.params), units_(choose_units()), streams_(goes_past_cache(a_, plan_)), gamma_(a_.gamma) {}

  // Doubles it needs: every unit's sums for every parameter, a block's sums in parts, a copy of gamma, and a worker's
  // arrays.
  Index workspace_size(Index threads) const {
    return sums_size() + part_sums() + copy_size() + threads * backward_plan_.worker_size;
  }

  // Bytes for a block's arrays, copies of parameters and their sums.
  static Index worker_bytes(const Plan& plan, const Partition& partition) {
    const Index n = partition.block_bins, line = copied(plan);
    const Index of_part = partition.parts > 1 ? 2 * Arena::bytes<double>(n) : 0;
    return Block::bytes(n) + of_part + Arena::bytes<T>(line) + 2 * Arena::bytes<double>(line);
  }

  void run(const Runner& runner, double* sums) {
    parts_ = sums + sums_size();
    double* const copy = parts_ + part_sums();
    workers_ = copy + copy_size();
    if (copies_gamma()) {
      T* const gamma = Arena(copy, in_line()).template take<T>(params_);
      copy_run(a_.gamma, params_, gamma);
      gamma_ = gamma;
    }
    if (partition_.shares_parts()) {
      partition_.share_among(plan_.walk, plan_.multiple, runner.threads());
      std::fill_n(sums, sums_size(), 0.0);
      for (Index b = 0; b < partition_.blocks; ++b) run_in_parts(runner, b, sums);
    } else {
      for_each_block(runner, partition_, units_, plan_.elements, streams_, [&](Index b, Index unit, Index worker) {
        double* const of_unit = sums + 2 * params_ * unit;
        if (b == part_begin(partition_.blocks, unit, units_)) std::fill_n(of_unit, 2 * params_, 0.0);
        const Block block(partition_.block(b), memory_of(worker));
        load(block);
        if (a_.dx != nullptr) {
          reduce_block(block);
          finish(block);
        }
        const Index ahead = outgrows_cache<Scalar>(plan_) ? partition_.ahead(plan_.walk, b) : 0;
        map_block(block, 0, 1, of_unit, ahead, block.rest);
      });
    }
    store_parameters(runner, sums);
  }

 private:
  using T = ParamOf<Scalar>;
  // Units hold sums for every parameter: there are few, in pairs, and each has as many elements as a thread is to have
  // (measured on one thread: always sixteen take 1.02 to 1.13 times as long in cache, 64 up to 1.12 out of it).
  static constexpr Index kUnits = 16, kUnitElements = 32 << 10;

  struct Block : BinRange {
    __attribute__((noinline)) Block(const BinRange& range, Arena memory) : BinRange(range) {
      for (double** const array : {&sum_g, &sum_gx}) *array = memory.take<double>(size());
      for (T** const array : {&hi, &lo, &rstd, &minus_rstd, &minus_lo_rstd, &slope, &shift}) {
        *array = memory.take<T>(size());
      }
      rest = memory;
    }
    static Index bytes(Index bins) { return 2 * Arena::bytes<double>(bins) + 7 * Arena::bytes<T>(bins); }

    double *sum_g, *sum_gx;
    T *hi, *lo, *rstd, *minus_rstd, *minus_lo_rstd, *slope, *shift;
    Arena rest;
  };

  Index sums_size() const { return 2 * units_ * params_; }
  Index part_sums() const {
    return partition_.shares_parts() ? PartSums::doubles(partition_.parts, partition_.block_bins) : 0;
  }
  // Parameters that are copied, and summed, at a time.
  static Index copied(const Plan& plan) {
    return LineParams::contiguous_run(plan.line_params) > 0 ? 0 : (std::min)(plan.walk.line(), Partition::kBlockBins);
  }
  // Where arrays begin that the map reads beside dx.
  Index in_line() const { return in_line_beside(a_.dx, plan_.walk, streams_, is_in_place(a_)); }
  Arena memory_of(Index worker) const { return Arena(workers_ + worker * backward_plan_.worker_size, in_line()); }

  // Where forward copies parameters (ForwardMemory::copies_size), rows read a copy of gamma.
  bool copies_gamma() const { return plan_.copies_size > 0 && a_.gamma != nullptr; }
  Index copy_size() const { return copies_gamma() ? Arena::doubles(Arena::bytes<T>(params_)) : 0; }

  Index choose_units() const {
    const Index pairs = plan_.elements / (2 * kUnitElements);
    return partition_.shares_parts() || pairs == 0 ? 1 : (std::min)({partition_.blocks, 2 * pairs, kUnits});
  }

  void load(const Block& block) const {
    std::fill_n(block.sum_g, block.size(), 0.0);
    std::fill_n(block.sum_gx, block.size(), 0.0);
    for_each_bin_run(backward_plan_.bins, plan_.bin_number(block.group, block.k0), block.size(),
                     [&](const BinRun& run) {
                       get_run(a_.lo, run, block.lo);
                       get_run(a_.rstd, run, block.rstd);
                       get_xhat(a_, run, block.hi, block.minus_rstd, block.minus_lo_rstd);
                     });
  }

  // The parts' lines are disjoint, and so are the parameters they add to.
  __attribute__((cold, noinline)) void run_in_parts(const Runner& runner, Index b, double* sums) const {
    const Block block(partition_.block(b), memory_of(0));
    load(block);
    PartSums parts(parts_, partition_.parts, block.size());
    const Index elements = block.size() * plan_.walk.line();
    const auto rest_of = [&](Index worker) { return worker == 0 ? block.rest : memory_of(worker); };
    if (a_.dx != nullptr) {
      // A row is divided by its own length; where that leaves few parts, threads share the rows. They share columns in
      // pieces.
      const bool shares_rows = !plan_.walk.columns() && partition_.parts < partition_.map_parts;
      const Index pieces = shares_rows ? block.size() : partition_.pieces;
      runner(partition_.parts * pieces, elements, [&](Index unit, Index worker) {
        const Index part = unit / pieces, row = block.k0 + unit % pieces;
        const BinRange piece =
            shares_rows ? BinRange{block.group, row, row + 1} : partition_.piece(block, unit % pieces);
        const Index i = piece.k0 - block.k0, n = piece.size();
        if (n == 0) return;
        reduce(block, i, n, part, partition_.parts, parts.clear_p(part, i, n), parts.clear_pq(part, i, n),
               rest_of(worker));
      });
      parts.add_to(partition_.parts, block.sum_g, block.sum_gx);
      finish(block);
    }
    runner.backwards(partition_.map_parts, elements, [&](Index part, Index worker) {
      map_block(block, part, partition_.map_parts, sums, 0, rest_of(worker));
      if (streams_) finish_streaming();
    });
  }

  // One part after the other.
  void reduce_block(const Block& block) const {
    const Index n = block.size();
    if (partition_.parts == 1) return reduce(block, 0, n, 0, 1, block.sum_g, block.sum_gx, block.rest);
    Arena memory = block.rest;
    double *const g = memory.take<double>(block.size()), *const gx = memory.take<double>(block.size());
    for (Index part = 0; part < partition_.parts; ++part) {
      for (double* const of_part : {g, gx}) std::fill_n(of_part, block.size(), 0.0);
      reduce(block, 0, n, part, partition_.parts, g, gx, memory);
      for (Index i = 0; i < block.size(); ++i) block.sum_g[i] += g[i];
      for (Index i = 0; i < block.size(); ++i) block.sum_gx[i] += gx[i];
    }
  }

  // Adds the sums of g and g * xhat, with g = dy * gamma, of n bins of a block.
  void reduce(const Block& block, Index first, Index n, Index part, Index parts, double* sum_g, double* sum_gx,
              Arena memory) const {
    const BinRange bins{block.group, block.k0 + first, block.k0 + first + n};
    if (a_.write_range != nullptr) {
      (*a_.write_range)(
          {plan_, bins, memory, part, parts, block.hi + first, block.minus_rstd + first, block.minus_lo_rstd + first});
    }
    T* const buffer = memory.take<T>(copied(plan_));
    visit(bins, part, parts, [&](const Tile& tile, Index i, const LineParams& params) {
      const T* const gamma = params.of(gamma_, buffer);
      if (plan_.walk.columns()) {
        const Gradients<Scalar, Unshifted<Scalar, PerColumn<T>>, PerRowOrAll<T>> functor{
            unshifted<PerColumn<T>>(block, tile, first + i), dy(tile), {gamma}};
        column_reduce(functor, tile, sum_g + i, sum_gx + i);
      } else {
        const Gradients<Scalar, Unshifted<Scalar, PerRow<T>>, PerColumnOrAll<T>> functor{
            unshifted<PerRow<T>>(block, tile, first + i), dy(tile), {gamma}};
        row_reduce(functor, tile, sum_g + i, sum_gx + i);
      }
    });
    add_shifts(block.minus_lo_rstd + first, sum_g, n, sum_gx);
  }

  void finish(const Block& block) const {
    if (is_of_one(a_, plan_)) {
      for (T* const array : {block.slope, block.shift, block.rstd}) fill_run(array, block.size(), T(0));
      return;
    }
    if (!a_.centred) fill_run(block.sum_g, block.size(), 0.0);
    const double n = static_cast<double>(plan_.stat_size);
    Index i = 0;
    for (Pair lo, rstd, g, gx, slope, shift; i + 2 <= block.size(); i += 2) {
      load_pair(block.lo + i, lo);
      load_pair(block.rstd + i, rstd);
      load_pair(block.sum_g + i, g);
      load_pair(block.sum_gx + i, gx);
      find_coefficients(lo, rstd, g, gx, n, slope, shift);
      store_pair(slope, block.slope + i);
      store_pair(shift, block.shift + i);
    }
    for (double slope, shift; i < block.size(); ++i) {
      find_coefficients(static_cast<double>(block.lo[i]), static_cast<double>(block.rstd[i]), block.sum_g[i],
                        block.sum_gx[i], n, slope, shift);
      block.slope[i] = static_cast<T>(slope);
      block.shift[i] = static_cast<T>(shift);
    }
  }

  // Last part first: it is what the reduction left in the cache.
  void map_block(const Block& block, Index part, Index parts, double* sums, Index ahead, Arena memory) const {
    const Index stretches = partition_.stretches(block.size() * plan_.walk.line() / parts);
    for (Index s = stretches - 1; s >= 0; --s) {
      visit(block, part * stretches + s, parts * stretches, [&](const Tile& tile, Index i, const LineParams& params) {
        map(block, tile, i, params, sums, ahead, memory);
      });
    }
  }

  // The parameters' sums first: dx may take the place of x or dy.
  void map(const Block& block, const Tile& tile, Index i, const LineParams& params, double* sums, Index ahead,
           Arena memory) const {
    if (a_.wants_parameters()) add_parameters(block, tile, i, params, sums, memory);
    if (a_.dx == nullptr) return;
    const T* const gamma = params.of(gamma_, memory.take<T>(copied(plan_)));
    a_.put({plan_.walk.columns(),
            a_.x,
            a_.dy,
            a_.dx,
            block.hi + i,
            block.minus_rstd + i,
            block.rstd + i,
            block.slope + i,
            block.shift + i,
            gamma,
            tile,
            {streams_, is_in_place(a_), ahead}});
  }

  // The dual reduction: sums along the bins, kept for each parameter.
  void add_parameters(const Block& block, const Tile& tile, Index i, const LineParams& params, double* sums,
                      Arena memory) const {
    if (params.are_contiguous()) {
      return reduce_dual(block, tile, i, params.first_of(sums), params.first_of(sums + params_));
    }
    const Index n = tile.count;
    double *const g = memory.take<double>(n), *const gx = memory.take<double>(n);
    for (double* const by_position : {g, gx}) std::fill_n(by_position, n, 0.0);
    reduce_dual(block, tile, i, g, gx);
    params.each([&](Index j, Index p) {
      sums[p] += g[j];
      sums[params_ + p] += gx[j];
    });
  }

  void reduce_dual(const Block& block, const Tile& tile, Index i, double* sum_g, double* sum_gx) const {
    if (plan_.walk.columns()) {
      const Gradients<Scalar, Xhat<Scalar, PerColumn<T>>, PerRowOrAll<T>> functor{xhat<PerColumn<T>>(block, tile, i),
                                                                                  dy(tile), every_row(kOne<T>)};
      row_reduce(functor, tile, sum_g, sum_gx);
    } else {
      const Gradients<Scalar, Xhat<Scalar, PerRow<T>>, PerColumnOrAll<T>> functor{xhat<PerRow<T>>(block, tile, i),
                                                                                  dy(tile), every_column(kOne<T>)};
      column_reduce(functor, tile, sum_g, sum_gx);
    }
  }

  using Visit = FunctionRef<void(const Tile&, Index i, const LineParams&)>;
  void visit(const BinRange& bins, Index part, Index parts, const Visit& visit) const {
    plan_.visit_params_apart(bins.group, bins.k0, bins.k1, part, parts, Partition::kBlockBins, visit);
  }
  Rows<Scalar> x(const Tile& tile) const { return {a_.x + tile.offset, tile.stride}; }
  Rows<Scalar> dy(const Tile& tile) const { return {a_.dy + tile.y_offset, tile.y_stride}; }
  template <class Stat>
  Xhat<Scalar, Stat> xhat(const Block& block, const Tile& tile, Index i) const {
    return {unshifted<Stat>(block, tile, i), {block.minus_lo_rstd + i}};
  }
  template <class Stat>
  Unshifted<Scalar, Stat> unshifted(const Block& block, const Tile& tile, Index i) const {
    return {x(tile), {block.hi + i}, {block.minus_rstd + i}};
  }

  void store_parameters(const Runner& runner, const double* sums) const {
    if (!a_.wants_parameters()) return;
    const Index stride = 2 * params_, pieces = (std::max)(params_ / Partition::kBlockBins, Index{1});
    // In one part for one thread: choosing the instruction set again for each costs one short row a quarter.
    const Index parts = runner.threads() == 1 ? 1 : (std::min)(Partition::kUnits, pieces);
    runner(parts, stride * units_, [&](Index part, Index) {
      const Index p = part_begin(params_, part, parts), n = part_begin(params_, part + 1, parts) - p;
      if (a_.dbeta != nullptr) dispatch(RoundSums<T>{sums + p, units_, stride, n, a_.dbeta + p});
      if (a_.dgamma != nullptr) dispatch(RoundSums<T>{sums + params_ + p, units_, stride, n, a_.dgamma + p});
    });
  }

  const BackwardArguments<Scalar>& a_;
  const Plan& plan_;
  const BackwardPlan& backward_plan_;
  Partition partition_;
  Index params_, units_;
  bool streams_;
  const T* gamma_;
  double *parts_ = nullptr, *workers_ = nullptr;
};

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
