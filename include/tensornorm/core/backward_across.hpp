// Backward where parameters vary along every element of a statistic (LayerNorm): the sums of dx and those of the
// parameters cross, and both are taken from a block of x and dy while it is in cache. Its statistics are never frozen.
// A block has as many rows as float sums may take: the parameters' sums go to double once a block.
#pragma once

#include "tensornorm/core/backward.hpp"

namespace tensornorm {
namespace core {

template <class Scalar>
class BackwardAcross {
 public:
  BackwardAcross(const BackwardArguments<Scalar>& arguments, const Traversal& traversal)
      : a_(arguments), t_(traversal), cut_(t_.walk, 1, 2 * sizeof(Scalar), /*once=*/false, kFloatAdds),
        params_(t_.params), units_(choose_units()), streams_(goes_past_cache(a_, t_)) {}

  // Doubles it needs: every unit's sums for every parameter.
  Index workspace_size() const { return 2 * units_ * params_; }

  void run(const Runner& runner, double* sums) {
    if (cut_.parts > 1) {
      std::fill_n(sums, workspace_size(), 0.0);
      for (Index b = 0; b < cut_.blocks; ++b) run_in_parts(runner, b, sums);
    } else {
      runner(units_, t_.plan.count(), [&](Index unit) {
        std::fill_n(sums + 2 * params_ * unit, 2 * params_, 0.0);
        const Index end = part_begin(cut_.blocks, unit + 1, units_);
        for (Index b = part_begin(cut_.blocks, unit, units_); b < end; ++b) {
          Block block(cut_.block(b));
          load(block);
          reduce(block, 0, 1, block.sum_g, block.sum_gx);
          finish(block);
          const Index ahead = streams_ ? cut_.ahead(t_.walk, b) : 0;
          map_block(block, 0, 1, sums + 2 * params_ * unit, ahead);
        }
        if (streams_) finish_streaming();
      });
    }
    store_parameters(runner, sums);
  }

 private:
  using T = ParamOf<Scalar>;
  // Units hold sums for every parameter: there are few, in pairs, and each has as many elements as a thread is to have
  // (measured on one thread: always sixteen take 1.02 to 1.13 times as long in cache, 64 up to 1.12 out of it).
  static constexpr Index kUnits = 16, kUnitElements = 32 << 10;

  struct Block : CellRange {
    explicit Block(const CellRange& range) : CellRange(range) {}

    alignas(kLine) PerCell<double> sum_g, sum_gx;
    alignas(kLine) PerCell<T> hi, lo, rstd, minus_rstd, minus_lo_rstd, slope, shift;
  };

  Index choose_units() const {
    const Index pairs = t_.plan.count() / (2 * kUnitElements);
    return cut_.parts > 1 || pairs == 0 ? 1 : (std::min)({cut_.blocks, 2 * pairs, kUnits});
  }

  void load(Block& block) const {
    std::fill_n(block.sum_g, block.size(), 0.0);
    std::fill_n(block.sum_gx, block.size(), 0.0);
    for_each_run(t_.saved_cells, t_.cell_number(block.group, block.k0), block.size(), [&](const Run& run) {
      for (Index k = 0, stat = run.stat; k < run.n; ++k, stat += run.stat_stride) {
        const Index i = run.first + k;
        block.hi[i] = a_.hi[stat];
        block.lo[i] = a_.lo[stat];
        block.rstd[i] = a_.rstd[stat];
        block.minus_rstd[i] = -a_.rstd[stat];
        block.minus_lo_rstd[i] = -a_.lo[stat] * a_.rstd[stat];
      }
    });
  }

  // The parts' lines are disjoint, and so are the parameters they add to.
  void run_in_parts(const Runner& runner, Index b, double* sums) const {
    Block block(cut_.block(b));
    load(block);
    PartSums parts(block.size());
    const Index elements = block.size() * t_.walk.line();
    runner(cut_.parts, elements, [&](Index part) {
      const Index n = block.size();
      reduce(block, part, cut_.parts, parts.clear_p(part, 0, n), parts.clear_pq(part, 0, n));
    });
    parts.add_to(cut_.parts, block.sum_g, block.sum_gx);
    finish(block);
    runner.backwards(cut_.parts, elements, [&](Index part) {
      map_block(block, part, cut_.parts, sums, 0);
      if (streams_) finish_streaming();
    });
  }

  // Adds the sums of g and g * xhat, with g = dy * gamma.
  void reduce(const Block& block, Index part, Index parts, double* sum_g, double* sum_gx) const {
    visit(block, part, parts, [&](const Tile& tile, Index i, const LineParams& params) {
      alignas(kLine) PerCell<T> buffer;
      const T* const gamma = params.of(a_.gamma, buffer);
      if (t_.walk.columns()) {
        const Gradients<Scalar, PerColumn<T>, PerRowOrAll<T>> functor{
            xhat<PerColumn<T>>(block, tile, i), dy(tile), {gamma}};
        column_reduce(functor, tile, sum_g + i, sum_gx + i);
      } else {
        const Gradients<Scalar, PerRow<T>, PerColumnOrAll<T>> functor{
            xhat<PerRow<T>>(block, tile, i), dy(tile), {gamma}};
        row_reduce(functor, tile, sum_g + i, sum_gx + i);
      }
    });
  }

  void finish(Block& block) const {
    const double n = static_cast<double>(t_.stat_size);
    for (Index i = 0; i < block.size(); ++i) {
      const InputCoefficients<T> c(block.lo[i], block.rstd[i], a_.centred ? block.sum_g[i] : 0, block.sum_gx[i], n);
      block.slope[i] = c.slope;
      block.shift[i] = c.shift;
    }
  }

  // Last part first: it is what the reduction left in the cache.
  void map_block(const Block& block, Index part, Index parts, double* sums, Index ahead) const {
    const Index stretches = cut_.stretches(block.size() * t_.walk.line() / parts);
    for (Index s = stretches - 1; s >= 0; --s) {
      visit(block, part * stretches + s, parts * stretches,
            [&](const Tile& tile, Index i, const LineParams& params) { map(block, tile, i, params, sums, ahead); });
    }
  }

  // The parameters' sums first: dx may take the place of x or dy.
  void map(const Block& block, const Tile& tile, Index i, const LineParams& params, double* sums, Index ahead) const {
    add_parameters(block, tile, i, params, sums);
    alignas(kLine) PerCell<T> buffer;
    const T* const gamma = params.of(a_.gamma, buffer);
    if (t_.walk.columns()) {
      put<PerColumn<T>>(block, tile, i, PerRowOrAll<T>{gamma}, ahead);
    } else {
      put<PerRow<T>>(block, tile, i, PerColumnOrAll<T>{gamma}, ahead);
    }
  }

  template <class Stat, class Param>
  void put(const Block& block, const Tile& tile, Index i, const Param& gamma, Index ahead) const {
    const Stat hi{block.hi + i}, minus_rstd{block.minus_rstd + i}, rstd{block.rstd + i}, slope{block.slope + i},
        shift{block.shift + i};
    const InputGradient<Scalar, Stat, Param> functor{x(tile), dy(tile), hi, minus_rstd, rstd, slope, shift, gamma};
    core::map(functor, tile, a_.dx, {streams_, is_in_place(a_), ahead});
  }

  // The dual reduction: sums along the cells, kept for each parameter.
  void add_parameters(const Block& block, const Tile& tile, Index i, const LineParams& params, double* sums) const {
    if (params.are_contiguous()) {
      return reduce_dual(block, tile, i, params.first_of(sums), params.first_of(sums + params_));
    }
    alignas(kLine) PerCell<double> g{}, gx{};
    reduce_dual(block, tile, i, g, gx);
    params.each([&](Index j, Index p) {
      sums[p] += g[j];
      sums[params_ + p] += gx[j];
    });
  }

  void reduce_dual(const Block& block, const Tile& tile, Index i, double* sum_g, double* sum_gx) const {
    if (t_.walk.columns()) {
      const Gradients<Scalar, PerColumn<T>, PerRowOrAll<T>> functor{xhat<PerColumn<T>>(block, tile, i), dy(tile),
                                                                    every_row(kOne<T>)};
      row_reduce(functor, tile, sum_g, sum_gx);
    } else {
      const Gradients<Scalar, PerRow<T>, PerColumnOrAll<T>> functor{xhat<PerRow<T>>(block, tile, i), dy(tile),
                                                                    every_column(kOne<T>)};
      column_reduce(functor, tile, sum_g, sum_gx, /*is_cached=*/true);
    }
  }

  using Visit = FunctionRef<void(const Tile&, Index i, const LineParams&)>;
  void visit(const Block& block, Index part, Index parts, const Visit& visit) const {
    t_.visit_across(block.group, block.k0, block.k1, part, parts, visit);
  }
  Rows<Scalar> x(const Tile& tile) const { return {a_.x + tile.offset, tile.stride}; }
  Rows<Scalar> dy(const Tile& tile) const { return {a_.dy + tile.offset, tile.stride}; }
  template <class Stat>
  Xhat<Scalar, Stat> xhat(const Block& block, const Tile& tile, Index i) const {
    return {x(tile), {block.hi + i}, {block.minus_rstd + i}, {block.minus_lo_rstd + i}};
  }

  void store_parameters(const Runner& runner, const double* sums) const {
    const Index stride = 2 * params_, pieces = (std::max)(params_ / Cut::kBlockCells, Index{1});
    // In one part for one thread: choosing the instruction set again for each costs one short row a quarter.
    const Index parts = runner.threads() == 1 ? 1 : (std::min)(Cut::kUnits, pieces);
    runner(parts, stride * units_, [&](Index part) {
      const Index p = part_begin(params_, part, parts), n = part_begin(params_, part + 1, parts) - p;
      if (a_.dbeta != nullptr) core::run(RoundSums<T>{sums + p, units_, stride, n, a_.dbeta + p});
      if (a_.dgamma != nullptr) core::run(RoundSums<T>{sums + params_ + p, units_, stride, n, a_.dgamma + p});
    });
  }

  BackwardArguments<Scalar> a_;
  const Traversal& t_;
  Cut cut_;
  Index params_, units_;
  bool streams_;
};

// dx, dgamma and dbeta, by whichever of the two the plan asks for.
template <class Scalar>
class BackwardPass {
 public:
  BackwardPass(const BackwardArguments<Scalar>& arguments, const Traversal& traversal) : a_(arguments), t_(traversal) {}

  // Doubles that run needs as its workspace.
  Index workspace_size() const {
    return goes_across() ? BackwardAcross<Scalar>(a_, t_).workspace_size() : Backward<Scalar>(a_, t_).workspace_size();
  }

  void run(const Runner& runner, double* workspace) const;

 private:
  // Where some axis is neither kept nor affine, cells with parameters of their own are few.
  bool goes_across() const {
    const auto is_free = [](const Axis& a) { return !is_kept(a) && !is_affine(a); };
    return t_.across && t_.granule == 1 && select(t_.plan, is_free) == 0;
  }

  BackwardArguments<Scalar> a_;
  const Traversal& t_;
};

template <class Scalar>
void BackwardPass<Scalar>::run(const Runner& runner, double* workspace) const {
  if (goes_across()) {
    BackwardAcross<Scalar>(a_, t_).run(runner, workspace);
  } else {
    Backward<Scalar>(a_, t_).run(runner, workspace);
  }
}

}  // namespace core
}  // namespace tensornorm
