// Normalizer: y from x and the coefficients of its bins, y = (hi - x) * scale + shift.
#pragma once

#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/kernel/map.hpp"
#include "tensornorm/core/kernel/map_arithmetic.hpp"
#include "tensornorm/core/kernel/run_values.hpp"
#include "tensornorm/core/pass/forward_arguments.hpp"
#include "tensornorm/core/plan/plan.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

// What a map is given of a tile: y = (hi - x) * scale + shift, times gamma plus beta.
template <class Scalar>
struct NormalizedTile {
  using T = ParamOf<Scalar>;

  bool columns;
  const Scalar* x;
  Scalar* y;
  const T *hi, *scale, *shift;  // by bin of the tile
  const T *gamma, *beta;        // along its lines; null: 1 and 0
  const Tile& tile;
  StoreMode to;

  // Calls use(functor) with one for any tile.
  template <class Use>
  void visit(const Use& use) const {
    if (columns) {
      use(Normalize<Scalar, PerColumn<T>, PerRowOrAll<T>>{
          xhat<PerColumn<T>>(), gamma == nullptr ? every_row(kOne<T>) : PerRowOrAll<T>{gamma},
          beta == nullptr ? every_row(no_beta()) : PerRowOrAll<T>{beta}});
    } else {
      use(Normalize<Scalar, PerRow<T>, PerColumnOrAll<T>>{
          xhat<PerRow<T>>(), gamma == nullptr ? every_column(kOne<T>) : PerColumnOrAll<T>{gamma},
          beta == nullptr ? every_column(no_beta()) : PerColumnOrAll<T>{beta}});
    }
  }
  // The same value without a post-op: with no gamma, it is xhat.
  void put() const {
    if (gamma != nullptr || beta != nullptr) return visit([this](const auto& functor) { this->put(functor); });
    columns ? put(xhat<PerColumn<T>>()) : put(xhat<PerRow<T>>());
  }

  // What changes no xhat, or makes a result of -0 one of 0.
  const Constant<T>& no_beta() const { return gamma == nullptr ? kMinusZero<T> : kZero<T>; }

  template <class Stat>
  Xhat<Scalar, Stat> xhat() const {
    return {{{x + tile.offset, tile.stride}, {hi}, {scale}}, {shift}};
  }
  template <class Functor>
  void put(const Functor& functor) const {
    map(functor, tile, y + tile.y_offset, tile.y_stride, to);
  }
  // Of a tensor that lies as y.
  Rows<Scalar> beside(const Scalar* z) const { return {z + tile.y_offset, tile.y_stride}; }
};

template <class Scalar>
class Normalizer {
 public:
  using T = ParamOf<Scalar>;

  // By bin.
  struct Coefficients {
    const T *hi, *scale, *shift;
  };
  struct CoefficientArrays {
    T *hi, *scale, *shift;

    operator Coefficients() const { return {hi, scale, shift}; }  // NOLINT(google-explicit-constructor)
  };

  // Both outlive this. `may_stream`: whether nobody reads y soon.
  Normalizer(const ForwardArguments<Scalar>& arguments, const Plan& plan, bool may_stream = true)
      : a_(arguments), plan_(plan),
        outgrows_cache_(core::outgrows_cache(2 * plan_.elements * static_cast<Index>(sizeof(Scalar)))),
        streams_(may_stream && !a_.is_in_place() && outgrows_cache_) {}

  // Whether y goes past the cache where it can.
  bool streams() const { return streams_; }
  // Where arrays begin that the map reads beside y.
  Index in_line() const { return in_line_beside(a_.y, plan_.map_walk, streams_, a_.is_in_place()); }

  // How far ahead of themselves the sums and the map of block b read.
  Index ahead(const Partition& partition, Index b) const {
    return outgrows_cache_ ? partition.ahead(plan_.walk, b) : 0;
  }
  // The same of the map alone. Where it writes past the cache, the next block finds room there (measured on Zen 5:
  // BatchNorm, InstanceNorm and GroupNorm of images take 0.77 to 0.95 of the time; maps in place up to 1.18, those that
  // read parameters along the rows 1.2, and backward up to 1.25).
  Index map_ahead(const Partition& partition, Index b) const {
    const Index to_next = streams_ && !plan_.params_apart ? partition.ahead_to_next_block(plan_.walk, b) : 0;
    return to_next != 0 ? to_next : ahead(partition, b);
  }

  // y = (hi - x) * scale + shift for the bins of a run, from the statistics at run.stat on; a null lo counts as 0.
  void fold(const T* hi, const T* lo, const T* rstd, BinRun run, const CoefficientArrays& c) const {
    const bool is_one = run.stat_stride == 0 && run.param_stride == 0;
    const Index first = run.first, n = run.n;
    if (is_one) run.n = 1;
    if (run.stat_stride <= 1 && run.param_stride == 1) fold_each<Vec<T, kTogether>, kTogether>(hi, lo, rstd, run, c);
    fold_each<T, 1>(hi, lo, rstd, run, c);
    if (!is_one) return;
    for (T* const array : {c.hi, c.scale, c.shift}) fill_run(array + first, n, array[first]);
  }

  // The map bins [c0, c1) of a group over the positions [p0, p1) of their lines.
  void put_map_bins(const BinRange& bins, Index c0, Index c1, Index p0, Index p1, const Coefficients& c,
                    Index ahead) const {
    plan_.map_walk.visit(bins.group, c0, c1, p0, p1, [&](const Tile& tile) { put_map_tile(c, tile, ahead); });
  }
  void put_map_tile(const Coefficients& c, const Tile& tile, Index ahead) const {
    put(plan_.map_walk.columns(), c, nullptr, nullptr, tile, ahead);
  }

  // Where parameters are apart, part `part` of `parts` of the lines of some bins, by the coefficients of xhat. `most`
  // parameters at a time are copied where they must be, to `memory`.
  void put_params_apart(const BinRange& bins, const Coefficients& c, Index part, Index parts, Index ahead, Index most,
                        Arena memory) const {
    const bool copies = LineParams::contiguous_run(plan_.line_params) == 0;
    T* const gamma_buffer = copies ? memory.take<T>(most) : nullptr;
    T* const beta_buffer = copies ? memory.take<T>(most) : nullptr;
    plan_.visit_params_apart(bins.group, bins.k0, bins.k1, part, parts, most,
                             [&](const Tile& tile, Index i, const LineParams& params) {
                               const T* const gamma = params.of(a_.gamma, gamma_buffer);
                               const T* const beta = a_.beta == nullptr ? nullptr : params.of(a_.beta, beta_buffer);
                               put_tile_apart({c.hi + i, c.scale + i, c.shift + i}, gamma, beta, tile, ahead);
                             });
  }
  // The parameters of a tile's line, beta or null.
  void put_tile_apart(const Coefficients& c, const T* gamma, const T* beta, const Tile& tile, Index ahead) const {
    put(plan_.walk.columns(), c, gamma, beta, tile, ahead);
  }

 private:
  static constexpr Index kTogether = 16 / sizeof(T);  // fit a register of any instruction set

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
      V mean, root, gamma = T(1) - V{}, beta{};
      load(hi, mean);
      load(rstd, root);
      if (a_.gamma != nullptr) std::memcpy(&gamma, a_.gamma + run.param, sizeof gamma);
      if (a_.beta != nullptr) std::memcpy(&beta, a_.beta + run.param, sizeof beta);
      const V slope = -root * gamma;
      if (lo != nullptr) {
        V low;
        load(lo, low);
        multiply(low, slope, low);
        beta += low;
      }
      std::memcpy(c.hi + run.first, &mean, sizeof mean);
      std::memcpy(c.scale + run.first, &slope, sizeof slope);
      std::memcpy(c.shift + run.first, &beta, sizeof beta);
      run.stat += together * run.stat_stride;
      run.param += together * run.param_stride;
    }
  }

  void put(bool columns, const Coefficients& c, const T* gamma, const T* beta, const Tile& tile, Index ahead) const {
    const NormalizedTile<Scalar> t{columns, a_.x,  a_.y, c.hi, c.scale,
                                   c.shift, gamma, beta, tile, {streams_, a_.is_in_place(), ahead}};
    if (a_.post_op != nullptr) return a_.post_op->put(*a_.post_op, t);
    t.put();
  }

  const ForwardArguments<Scalar>& a_;
  const Plan& plan_;
  bool outgrows_cache_, streams_;
};

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
