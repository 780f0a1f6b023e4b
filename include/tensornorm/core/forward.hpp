// Forward: the statistics of x, and y from them.
#pragma once

#include "tensornorm/core/find_statistics.hpp"
#include "tensornorm/core/map.hpp"
#include "tensornorm/core/parallel.hpp"

namespace tensornorm {
namespace core {

template <class Scalar>
class Forward {
 public:
  Forward(const ForwardArguments<Scalar>& arguments, const Traversal& traversal)
      : a_(arguments), t_(traversal), cut_(t_.cut),
        streams_(a_.x != a_.y && outgrows_cache(2 * t_.plan.count() * static_cast<Index>(sizeof(Scalar)))) {}

  Forward(const Forward&) = delete;
  Forward& operator=(const Forward&) = delete;

  // Once.
  void run(const Runner& runner);

 private:
  using T = ParamOf<Scalar>;
  using Block = StatisticsBlock<T>;

  // Too few blocks to share: their lines are cut, and the sums of the parts are added in order.
  void run_in_parts(const Runner& runner, Index b) const {
    Block block(cut_.block(b), t_);
    const Index line = t_.walk.line(), elements = block.size() * line;
    PartSums sums(block.size());
    const FindStatistics<Scalar> statistics(a_, t_);
    statistics.run(block, [&] {
      runner(cut_.parts * cut_.pieces, elements, [&](Index unit) {
        const Index part = unit / cut_.pieces;
        const Index p0 = part_begin(line, part, cut_.parts), p1 = part_begin(line, part + 1, cut_.parts);
        const CellRange piece = cut_.piece(block, unit % cut_.pieces);
        const Index first = piece.k0 - block.k0, n = piece.size();
        statistics.reduce(block, piece, p0, p1, 0, sums.clear_p(part, first, n), sums.clear_pq(part, first, n));
      });
      sums.add_to(cut_.parts, block.sum_d, block.sum_d2);
    });
    runner.backwards(cut_.map_parts, elements, [&](Index part) {
      normalize(block, part, cut_.map_parts, ahead(b));
      if (streams_) finish_streaming();
    });
  }

  // Where many rows read parameters, they read copies that begin with a line: a vector that lies in two lines is two
  // reads (measured with AVX-512, of 512 rows: 64 to 512 floats take 1.04 to 1.14 times as long). As many rows pay for
  // the copies several times over; longer ones, whose copies the stack would have to hold, are few in a cache.
  void align_parameters() {
    constexpr Index kManyRows = 16;
    if (!t_.across || t_.params > Cut::kBlockCells || t_.plan.count() < kManyRows * t_.params) return;
    copy_run(a_.gamma, t_.params, gamma_);
    a_.gamma = gamma_;
    if (a_.beta == nullptr) return;
    copy_run(a_.beta, t_.params, beta_);
    a_.beta = beta_;
  }

  Index ahead(Index b) const { return streams_ ? cut_.ahead(t_.walk, b) : 0; }

  // Part `part` of `parts` of a block; the reads of x that come `ahead` elements later are prepared.
  void normalize(const Block& block, Index part, Index parts, Index ahead) const {
    const Index stretches = cut_.stretches(block.size() * t_.walk.line() / parts);
    for (Index i = stretches - 1; i >= 0; --i) {
      if (t_.across) {
        normalize_across(block, part * stretches + i, parts * stretches, ahead);
      } else {
        normalize_fine(block, part * stretches + i, parts * stretches, ahead);
      }
    }
  }

  void normalize_fine(const Block& block, Index part, Index parts, Index ahead) const {
    t_.visit_fine(block.k0, block.k1, part, parts, [&](Index c0, Index c1, Index p0, Index p1) {
      alignas(kLine) PerCell<T> hi, scale, shift;
      for_each_run(t_.fine_cells, t_.fine_number(block.group, c0), c1 - c0, [&](const Run& run) {
        const bool is_one = run.stat_stride == 0 && run.param_stride == 0;
        Run rest = run;
        rest.stat -= block.stat;
        if (is_one) rest.n = 1;
        if (run.stat_stride <= 1 && run.param_stride == 1) fold_each<Vec<T, 4>, 4>(block, rest, hi, scale, shift);
        fold_each<T, 1>(block, rest, hi, scale, shift);
        if (!is_one) return;
        for (T* const array : {hi, scale, shift}) fill_run(array + run.first, run.n, array[run.first]);
      });
      t_.fine.visit(block.group, c0, c1, p0, p1, [&](const Tile& tile) {
        if (t_.fine.columns()) {
          put(PerColumn<T>{hi}, PerColumn<T>{scale}, PerColumn<T>{shift}, every_row(kOne<T>), every_row(kZero<T>), tile,
              ahead);
        } else {
          put(PerRow<T>{hi}, PerRow<T>{scale}, PerRow<T>{shift}, every_column(kOne<T>), every_column(kZero<T>), tile,
              ahead);
        }
      });
    });
  }

  // y = (hi - x) * scale + shift for the cells of a run, as many `together` as a V holds; leaves the rest of the run.
  // @pre with several at a time, their parameters lie side by side, and their statistics too or are one
  template <class V, Index together>
  void fold_each(const Block& block, Run& run, T* hi, T* scale, T* shift) const {
    const auto load = [&](const T* stats, V& v) {
      if (run.stat_stride == 0) {
        v = stats[run.stat] - V{};
      } else {
        std::memcpy(&v, stats + run.stat, sizeof v);
      }
    };
    for (; run.n >= together; run.n -= together, run.first += together) {
      V mean, lo, rstd, gamma = T(1) - V{}, beta{};
      load(block.hi, mean);
      load(block.lo, lo);
      load(block.rstd, rstd);
      if (a_.gamma != nullptr) std::memcpy(&gamma, a_.gamma + run.param, sizeof gamma);
      if (a_.beta != nullptr) std::memcpy(&beta, a_.beta + run.param, sizeof beta);
      const V slope = -rstd * gamma, offset = beta + lo * slope;
      std::memcpy(hi + run.first, &mean, sizeof mean);
      std::memcpy(scale + run.first, &slope, sizeof slope);
      std::memcpy(shift + run.first, &offset, sizeof offset);
      run.stat += together * run.stat_stride;
      run.param += together * run.param_stride;
    }
  }

  void normalize_across(const Block& block, Index part, Index parts, Index ahead) const {
    if (t_.granule == 1) return put_across(block, block.hi, block.scale, block.shift, part, parts, ahead);
    alignas(kLine) PerCell<T> hi, scale, shift;
    for_each_run(t_.cells, block.cell, block.size(), [&](const Run& run) {
      for (Index k = 0, s = run.stat - block.stat; k < run.n; ++k, s += run.stat_stride) {
        const Index i = run.first + k;
        hi[i] = block.hi[s];
        scale[i] = block.scale[s];
        shift[i] = block.shift[s];
      }
    });
    put_across(block, hi, scale, shift, part, parts, ahead);
  }

  // The coefficients of xhat by cell.
  void put_across(const CellRange& cells, const T* hi, const T* scale, const T* shift, Index part, Index parts,
                  Index ahead) const {
    t_.visit_across(
        cells.group, cells.k0, cells.k1, part, parts, [&](const Tile& tile, Index i, const LineParams& params) {
          alignas(kLine) PerCell<T> gamma_buffer, beta_buffer;
          const T* const gamma = params.of(a_.gamma, gamma_buffer);
          const T* const beta = a_.beta == nullptr ? nullptr : params.of(a_.beta, beta_buffer);
          if (t_.walk.columns()) {
            put(PerColumn<T>{hi + i}, PerColumn<T>{scale + i}, PerColumn<T>{shift + i}, PerRowOrAll<T>{gamma},
                beta == nullptr ? every_row(kZero<T>) : PerRowOrAll<T>{beta}, tile, ahead);
          } else {
            put(PerRow<T>{hi + i}, PerRow<T>{scale + i}, PerRow<T>{shift + i}, PerColumnOrAll<T>{gamma},
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
  const Traversal& t_;
  Cut cut_;
  bool streams_;
  alignas(kLine) PerCell<T> gamma_, beta_;  // written only where they are read
};

template <class Scalar>
void Forward<Scalar>::run(const Runner& runner) {
  cut_.share_among(t_.walk, t_.granule, runner.threads());
  align_parameters();
  if (cut_.parts > 1) {
    for (Index b = 0; b < cut_.blocks; ++b) run_in_parts(runner, b);
    return;
  }
  const FindStatistics<Scalar> statistics(a_, t_);
  const Index units = (std::min)(cut_.blocks, Cut::kUnits);
  runner.last(units, t_.plan.count(), [&](Index unit) {
    for (Index b = part_begin(cut_.blocks, unit, units); b < part_begin(cut_.blocks, unit + 1, units); ++b) {
      const CellRange range = cut_.block(b);
      if (range.size() == 0) continue;
      Block block(range, t_);
      const Index next = ahead(b);
      statistics.run(block, [&] { statistics.reduce(block, 0, t_.walk.line(), next, block.sum_d, block.sum_d2); });
      normalize(block, 0, 1, next);
    }
    if (streams_) finish_streaming();
  });
}

}  // namespace core
}  // namespace tensornorm
