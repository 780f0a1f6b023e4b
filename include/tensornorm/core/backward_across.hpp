// Backward where parameters vary along every element of a statistic (LayerNorm): the sums of dx and those of the
// parameters cross, and both are taken from a block of x and dy while it is in cache. Its statistics are never frozen.
#pragma once

#include "tensornorm/core/backward.hpp"

namespace tensornorm {
namespace core {

template <class Scalar>
class BackwardAcross {
 public:
  BackwardAcross(const BackwardArguments<Scalar>& arguments, const Traversal& traversal)
      : a_(arguments), t_(traversal), cut_(t_.walk, 1, 2 * sizeof(Scalar)), params_(kept_count(dual(t_.plan))) {}

  // Doubles it needs: every unit's sums for every parameter.
  Index workspace_size() const { return 2 * units() * params_; }

  void run(const Runner& runner, double* sums) {
    std::fill_n(sums, workspace_size(), 0.0);
    if (cut_.parts > 1) {
      for (Index b = 0; b < cut_.blocks; ++b) run_in_parts(runner, b, sums);
    } else {
      run_blocks(runner, cut_.blocks, units(), a_.plan.count(), [&](Index b, Index unit) {
        Block block(cut_.block(b));
        load(block);
        reduce(block, 0, 1, block.sum_g, block.sum_gx);
        finish(block);
        map_block(block, 0, 1, sums + 2 * params_ * unit);
      });
    }
    store_parameters(sums);
  }

 private:
  using T = ParamOf<Scalar>;
  static constexpr Index kCells = Cut::kBlockCells;
  static constexpr Index kUnits = 16;  // few, as each holds sums for every parameter

  struct Block : CellRange {
    explicit Block(const CellRange& range) : CellRange(range) {}

    double sum_g[kCells], sum_gx[kCells];
    T hi[kCells], lo[kCells], rstd[kCells], lo_rstd[kCells], slope[kCells], shift[kCells];
  };

  Index units() const { return cut_.parts > 1 ? 1 : (std::min)(cut_.blocks, kUnits); }

  void load(Block& block) const {
    std::fill_n(block.sum_g, block.size(), 0.0);
    std::fill_n(block.sum_gx, block.size(), 0.0);
    Odometer cell(t_.cells, t_.cell_number(block.group, block.k0));
    for (Index i = 0; i < block.size(); ++i, cell.next()) {
      block.hi[i] = a_.hi[cell.stat()];
      block.lo[i] = a_.lo[cell.stat()];
      block.rstd[i] = a_.rstd[cell.stat()];
      block.lo_rstd[i] = block.lo[i] * block.rstd[i];
    }
  }

  // The parts' lines are disjoint, and so are the parameters they add to.
  void run_in_parts(const Runner& runner, Index b, double* sums) const {
    Block block(cut_.block(b));
    load(block);
    double parts[Cut::kParts][2][kCells];
    const Index elements = block.size() * t_.walk.line();
    runner(cut_.parts, elements, [&](Index part) {
      std::fill_n(parts[part][0], block.size(), 0.0);
      std::fill_n(parts[part][1], block.size(), 0.0);
      reduce(block, part, cut_.parts, parts[part][0], parts[part][1]);
    });
    for (Index part = 0; part < cut_.parts; ++part) {
      for (Index i = 0; i < block.size(); ++i) block.sum_g[i] += parts[part][0][i];
      for (Index i = 0; i < block.size(); ++i) block.sum_gx[i] += parts[part][1][i];
    }
    finish(block);
    runner(cut_.parts, elements, [&](Index part) { map_block(block, cut_.parts - 1 - part, cut_.parts, sums); });
  }

  // Adds the sums of g and g * (x - hi) * rstd, with g = dy * gamma.
  void reduce(const Block& block, Index part, Index parts, double* sum_g, double* sum_gx) const {
    visit(block, part, parts, [&](const Tile& tile, Index i, const LineParams& params) {
      T buffer[kCells];
      const PerRow<T> gamma = params.of(a_.gamma, buffer);
      if (t_.walk.columns()) {
        const ScaledGradients<Scalar, PerColumn<T>, PerRow<T>> functor{
            {x(tile), dy(tile), {block.hi + i}, {block.rstd + i}}, gamma};
        column_reduce(functor, tile.rows, tile.cols, sum_g + i, sum_gx + i);
      } else {
        const ScaledGradients<Scalar, PerRow<T>, PerColumn<T>> functor{
            {x(tile), dy(tile), {block.hi + i}, {block.rstd + i}}, {gamma.p}};
        row_reduce(functor, tile.rows, tile.cols, sum_g + i, sum_gx + i);
      }
    });
  }

  void finish(Block& block) const {
    const double n = static_cast<double>(t_.walk.line());
    for (Index i = 0; i < block.size(); ++i) {
      const double lo_rstd = static_cast<double>(block.lo[i]) * static_cast<double>(block.rstd[i]);
      const double sum_gx = block.sum_gx[i] - lo_rstd * block.sum_g[i];
      const InputCoefficients<T> c(block.lo[i], block.rstd[i], a_.centred ? block.sum_g[i] : 0, sum_gx, n);
      block.slope[i] = c.slope;
      block.shift[i] = c.shift;
    }
  }

  // The parameters' sums first: dx may take the place of x or dy.
  void map_block(const Block& block, Index part, Index parts, double* sums) const {
    visit(block, part, parts, [&](const Tile& tile, Index i, const LineParams& params) {
      add_parameters(block, tile, i, params, sums);
      T buffer[kCells];
      const PerRow<T> gamma = params.of(a_.gamma, buffer);
      Scalar* dx = a_.dx + tile.offset;
      const T *hi = block.hi + i, *rstd = block.rstd + i, *slope = block.slope + i, *shift = block.shift + i;
      if (t_.walk.columns()) {
        const InputGradient<Scalar, PerColumn<T>> gradient{x(tile), dy(tile), {hi}, {rstd}, {rstd}, {slope}, {shift}};
        using Functor = InputGradientAcross<Scalar, PerColumn<T>, PerRow<T>>;
        map(Functor{gradient, gamma}, tile.rows, tile.cols, dx, tile.stride);
      } else {
        const InputGradient<Scalar, PerRow<T>> gradient{x(tile), dy(tile), {hi}, {rstd}, {rstd}, {slope}, {shift}};
        using Functor = InputGradientAcross<Scalar, PerRow<T>, PerColumn<T>>;
        map(Functor{gradient, {gamma.p}}, tile.rows, tile.cols, dx, tile.stride);
      }
    });
  }

  // The dual reduction: sums along the cells, kept for each parameter.
  void add_parameters(const Block& block, const Tile& tile, Index i, const LineParams& params, double* sums) const {
    if (params.are_contiguous()) {
      return reduce_dual(block, tile, i, params.first_of(sums), params.first_of(sums + params_));
    }
    double g[kCells] = {}, gx[kCells] = {};
    reduce_dual(block, tile, i, g, gx);
    params.each([&](Index j, Index p) {
      sums[p] += g[j];
      sums[params_ + p] += gx[j];
    });
  }

  void reduce_dual(const Block& block, const Tile& tile, Index i, double* sum_g, double* sum_gx) const {
    const T *hi = block.hi + i, *rstd = block.rstd + i, *lo_rstd = block.lo_rstd + i;
    if (t_.walk.columns()) {
      const ParameterGradients<Scalar, PerColumn<T>> functor{{x(tile), dy(tile), {hi}, {rstd}}, {lo_rstd}};
      row_reduce(functor, tile.rows, tile.cols, sum_g, sum_gx);
    } else {
      const ParameterGradients<Scalar, PerRow<T>> functor{{x(tile), dy(tile), {hi}, {rstd}}, {lo_rstd}};
      column_reduce(functor, tile.rows, tile.cols, sum_g, sum_gx);
    }
  }

  using Visit = FunctionRef<void(const Tile&, Index i, const LineParams&)>;
  void visit(const Block& block, Index part, Index parts, const Visit& visit) const {
    t_.visit_across(block.group, block.k0, block.k1, part, parts, visit);
  }
  Rows<Scalar> x(const Tile& tile) const { return {a_.x + tile.offset, tile.stride}; }
  Rows<Scalar> dy(const Tile& tile) const { return {a_.dy + tile.offset, tile.stride}; }

  void store_parameters(const double* sums) const {
    for (Index p = 0; p < params_; ++p) {
      double g = 0, gx = 0;
      for (Index unit = 0; unit < units(); ++unit) {
        g += sums[2 * params_ * unit + p];
        gx += sums[2 * params_ * unit + params_ + p];
      }
      if (a_.dgamma != nullptr) a_.dgamma[p] = static_cast<T>(gx);
      if (a_.dbeta != nullptr) a_.dbeta[p] = static_cast<T>(g);
    }
  }

  BackwardArguments<Scalar> a_;
  const Traversal& t_;
  Cut cut_;
  Index params_;
};

// dx, dgamma and dbeta, by whichever of the two the plan asks for.
template <class Scalar>
class BackwardPass {
 public:
  BackwardPass(const Axes& plan, bool affine) : traversal_(plan, affine) {}

  // Doubles that run needs as its workspace.
  Index workspace_size(const BackwardArguments<Scalar>& arguments) const {
    return goes_across() ? BackwardAcross<Scalar>(arguments, traversal_).workspace_size()
                         : Backward<Scalar>(arguments, traversal_).workspace_size();
  }

  void run(const Runner& runner, const BackwardArguments<Scalar>& arguments, double* workspace) const;

 private:
  // Where some axis is neither kept nor affine, cells with parameters of their own are few.
  bool goes_across() const {
    const auto is_free = [](const Axis& a) { return !is_kept(a) && !is_affine(a); };
    return traversal_.across && select(traversal_.plan, is_free) == 0;
  }

  Traversal traversal_;
};

template <class Scalar>
void BackwardPass<Scalar>::run(const Runner& runner, const BackwardArguments<Scalar>& arguments,
                               double* workspace) const {
  if (goes_across()) {
    BackwardAcross<Scalar>(arguments, traversal_).run(runner, workspace);
  } else {
    Backward<Scalar>(arguments, traversal_).run(runner, workspace);
  }
}

}  // namespace core
}  // namespace tensornorm
