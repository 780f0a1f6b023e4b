// Forward: the statistics of x, and y from them.
#pragma once

#include "tensornorm/core/arithmetic.hpp"
#include "tensornorm/core/column.hpp"
#include "tensornorm/core/map.hpp"
#include "tensornorm/core/moments.hpp"
#include "tensornorm/core/parallel.hpp"
#include "tensornorm/core/row.hpp"
#include "tensornorm/core/traversal.hpp"

namespace tensornorm {
namespace core {

// Arrays of one value per statistic, in the plan's stat order; a null one is not wanted.
template <class T>
struct SavedStatistics {
  T *hi = nullptr, *lo = nullptr, *rstd = nullptr;
  Moments* moments = nullptr;
};

template <class Scalar>
struct ForwardArguments {
  using T = ParamOf<Scalar>;
  Axes plan;
  const Scalar* x;
  Scalar* y;  // x itself, or disjoint from it
  const T *gamma = nullptr, *beta = nullptr;
  double eps = 0;
  bool centred = true;                                    // false: the mean is taken to be 0
  const T *frozen_mean = nullptr, *frozen_var = nullptr;  // statistics given, not taken from x
  SavedStatistics<T> saved;
};

template <class Scalar>
class Forward {
 public:
  explicit Forward(const ForwardArguments<Scalar>& arguments)
      : a_(arguments), t_(a_.plan, a_.gamma != nullptr), cut_(t_.walk, t_.granule, sizeof(Scalar)) {}

  void run(const Runner& runner) const;

 private:
  using T = ParamOf<Scalar>;
  static constexpr std::size_t kCells = Cut::kBlockCells;

  // A block of cells and what is known of them.
  struct Block : CellRange {
    explicit Block(const CellRange& range) : CellRange(range) {}

    T estimate[kCells];
    double sum_d[kCells], sum_d2[kCells];
    Moments moments[kCells];
    T hi[kCells], lo[kCells], rstd[kCells];
  };

  // Too few blocks to share: their lines are cut, and the sums of the parts are added in order.
  void run_in_parts(const Runner& runner, Index b) const {
    Block block(cut_.block(b));
    const Index elements = block.size() * t_.walk.line();
    double sums[Cut::kParts][2][kCells];
    find_statistics(block, [&] {
      runner(cut_.parts, elements, [&](Index part) {
        auto& sum = sums[part];
        std::fill_n(sum[0], block.size(), 0.0);
        std::fill_n(sum[1], block.size(), 0.0);
        const Index line = t_.walk.line();
        reduce(block, part_begin(line, part, cut_.parts), part_begin(line, part + 1, cut_.parts), sum[0], sum[1]);
      });
      for (Index part = 0; part < cut_.parts; ++part) {
        for (Index i = 0; i < block.size(); ++i) block.sum_d[i] += sums[part][0][i];
        for (Index i = 0; i < block.size(); ++i) block.sum_d2[i] += sums[part][1][i];
      }
    });
    // Last part first: it is what the reduction left in the cache.
    runner(cut_.parts, elements, [&](Index part) { normalize(block, cut_.parts - 1 - part, cut_.parts); });
  }

  // ---- statistics

  // reduce_all adds the sums of the block's deviations to it.
  void find_statistics(Block& block, FunctionRef<void()> reduce_all) const {
    if (a_.frozen_mean != nullptr) return thaw(block);
    estimate(block);
    constexpr int kAttempts = 3;
    bool again = true;
    for (int attempt = 0; attempt < kAttempts && again; ++attempt) {
      std::fill_n(block.sum_d, block.size(), 0.0);
      std::fill_n(block.sum_d2, block.size(), 0.0);
      reduce_all();
      again = take_sums(block);
    }
    conclude(block);
  }

  // The mean of the first few numbers: any value within a standard deviation or two of the mean serves.
  void estimate(Block& block) const {
    constexpr Index kRowSample = 128, kColumnSample = 16;
    std::fill_n(block.estimate, block.size(), T(0));
    if (!a_.centred) return;
    const Index sample = (std::min)(t_.walk.line(), t_.walk.columns() ? kColumnSample : kRowSample);
    std::fill_n(block.sum_d, block.size(), 0.0);
    std::fill_n(block.sum_d2, block.size(), 0.0);
    reduce(block, 0, sample, block.sum_d, block.sum_d2);
    for (Index i = 0; i < block.size(); ++i) {
      block.estimate[i] = static_cast<T>(block.sum_d[i] / static_cast<double>(sample));
    }
  }

  // Moments from the sums. True when an estimate was too far off and is now a better one.
  bool take_sums(Block& block) const {
    bool again = false;
    for (Index i = 0; i < block.size(); ++i) {
      Moments& m = block.moments[i];
      const double estimate = static_cast<double>(block.estimate[i]);
      m = a_.centred ? moments_about(estimate, t_.walk.line(), block.sum_d[i], block.sum_d2[i])
                     : Moments{t_.walk.line(), 0, 0, block.sum_d2[i]};
      if (!is_far(m) || !std::isfinite(m.mean())) continue;
      block.estimate[i] = static_cast<T>(m.mean());
      again = true;
    }
    return again;
  }

  void conclude(Block& block) const {
    for (Index i = 0; i < block.size(); ++i) {
      if (needs_exact_path<T>(block.moments[i], a_.eps)) block.moments[i] = exact_moments(block, i);
    }
    if (t_.granule > 1) t_.fold(block.moments, block.size(), merge);
    publish(block);
  }

  void reduce(const Block& block, Index p0, Index p1, double* sum_d, double* sum_d2) const {
    t_.walk.visit(block.group, block.k0, block.k1, p0, p1, [&](const Tile& tile) {
      const Rows<Scalar> x{a_.x + tile.offset, tile.stride};
      if (t_.walk.columns()) {
        column_reduce(Deviations<Scalar, PerColumn<T>>{x, {block.estimate}}, tile.rows, tile.cols, sum_d, sum_d2);
      } else {
        row_reduce(Deviations<Scalar, PerRow<T>>{x, {block.estimate}}, tile.rows, tile.cols, sum_d, sum_d2);
      }
    });
  }

  Moments exact_moments(const Block& block, Index i) const {
    const Index k = block.k0 + i;
    return ExactMoments<T>::of(
        [&](const auto& take) {
          t_.walk.visit(block.group, k, k + 1, 0, t_.walk.line(), [&](const Tile& tile) {
            for (Index r = 0; r < tile.rows; ++r) {
              for (Index c = 0; c < tile.cols; ++c) take(static_cast<T>(a_.x[tile.offset + r * tile.stride + c]));
            }
          });
        },
        a_.centred);
  }

  void publish(Block& block) const {
    Odometer cell(t_.cells, t_.cell_number(block.group, block.k0));
    for (Index i = 0; i < block.size(); ++i, cell.next()) {
      const Statistic<T> s = finish<T>(block.moments[i], a_.eps);
      block.hi[i] = s.hi;
      block.lo[i] = s.lo;
      block.rstd[i] = s.rstd;
      save(cell.stat(), s, &block.moments[i]);
    }
  }

  void thaw(Block& block) const {
    Odometer cell(t_.cells, t_.cell_number(block.group, block.k0));
    for (Index i = 0; i < block.size(); ++i, cell.next()) {
      const T var = a_.frozen_var[cell.stat()];
      const Statistic<T> s{a_.frozen_mean[cell.stat()], T(0), reciprocal_std<T>(static_cast<double>(var), a_.eps)};
      block.hi[i] = s.hi;
      block.lo[i] = s.lo;
      block.rstd[i] = s.rstd;
      save(cell.stat(), s, nullptr);
    }
  }

  void save(Index stat, const Statistic<T>& s, const Moments* moments) const {
    if (a_.saved.hi != nullptr) a_.saved.hi[stat] = s.hi;
    if (a_.saved.lo != nullptr) a_.saved.lo[stat] = s.lo;
    if (a_.saved.rstd != nullptr) a_.saved.rstd[stat] = s.rstd;
    if (a_.saved.moments != nullptr && moments != nullptr) a_.saved.moments[stat] = *moments;
  }

  // ---- y

  // Part `part` of `parts` of a block.
  void normalize(const Block& block, Index part, Index parts) const {
    if (t_.across) return normalize_across(block, part, parts);
    t_.visit_fine(block.k0, block.k1, part, parts, [&](Index c0, Index c1, Index p0, Index p1) {
      T hi[kCells], scale[kCells], shift[kCells];
      Odometer cell(t_.fine_cells, t_.fine_number(block.group, c0));
      for (Index c = c0; c < c1; ++c, cell.next()) {
        const Index i = c / t_.fineness - block.k0, j = c - c0;
        const T gamma = a_.gamma == nullptr ? T(1) : a_.gamma[cell.param()];
        hi[j] = block.hi[i];
        scale[j] = block.rstd[i] * gamma;
        shift[j] = (a_.beta == nullptr ? T(0) : a_.beta[cell.param()]) - block.lo[i] * scale[j];
      }
      t_.fine.visit(block.group, c0, c1, p0, p1, [&](const Tile& tile) {
        const Rows<Scalar> x{a_.x + tile.offset, tile.stride};
        Scalar* y = a_.y + tile.offset;
        if (t_.fine.columns()) {
          map(Normalize<Scalar, PerColumn<T>>{x, {hi}, {scale}, {shift}}, tile.rows, tile.cols, y, tile.stride);
        } else {
          map(Normalize<Scalar, PerRow<T>>{x, {hi}, {scale}, {shift}}, tile.rows, tile.cols, y, tile.stride);
        }
      });
    });
  }

  void normalize_across(const Block& block, Index part, Index parts) const {
    T lo_rstd[kCells];
    for (Index i = 0; i < block.size(); ++i) lo_rstd[i] = -block.lo[i] * block.rstd[i];
    t_.visit_across(block.group, block.k0, block.k1, part, parts,
                    [&](const Tile& tile, Index i, const LineParams& params) {
                      const Rows<Scalar> x{a_.x + tile.offset, tile.stride};
                      Scalar* y = a_.y + tile.offset;
                      T gamma_buffer[kCells], beta_buffer[kCells];
                      const PerRow<T> gamma = params.of(a_.gamma, gamma_buffer), beta = params.of(a_.beta, beta_buffer);
                      if (t_.walk.columns()) {
                        const Normalize<Scalar, PerColumn<T>> xhat{x, {block.hi + i}, {block.rstd + i}, {lo_rstd + i}};
                        using Functor = NormalizeAcross<Scalar, PerColumn<T>, PerRow<T>, PerRow<T>>;
                        return map(Functor{xhat, gamma, beta}, tile.rows, tile.cols, y, tile.stride);
                      }
                      const Normalize<Scalar, PerRow<T>> xhat{x, {block.hi + i}, {block.rstd + i}, {lo_rstd + i}};
                      if (a_.beta == nullptr) {
                        using Functor = NormalizeAcross<Scalar, PerRow<T>, PerColumn<T>, PerRow<T>>;
                        return map(Functor{xhat, {gamma.p}, beta}, tile.rows, tile.cols, y, tile.stride);
                      }
                      using Functor = NormalizeAcross<Scalar, PerRow<T>, PerColumn<T>, PerColumn<T>>;
                      map(Functor{xhat, {gamma.p}, {beta.p}}, tile.rows, tile.cols, y, tile.stride);
                    });
  }

  ForwardArguments<Scalar> a_;
  Traversal t_;
  Cut cut_;
};

template <class Scalar>
void Forward<Scalar>::run(const Runner& runner) const {
  if (cut_.parts > 1) {
    for (Index b = 0; b < cut_.blocks; ++b) run_in_parts(runner, b);
    return;
  }
  const Index units = (std::min)(cut_.blocks, Cut::kUnits);
  run_blocks(runner, cut_.blocks, units, a_.plan.count(), [&](Index b, Index) {
    Block block(cut_.block(b));
    find_statistics(block, [&] { reduce(block, 0, t_.walk.line(), block.sum_d, block.sum_d2); });
    normalize(block, 0, 1);
  });
}

}  // namespace core
}  // namespace tensornorm
