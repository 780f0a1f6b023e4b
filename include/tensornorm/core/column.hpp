// The column shape of a reduction: each lane owns a statistic.
#pragma once

#include "tensornorm/core/sums.hpp"

namespace tensornorm {
namespace core {

// A tile is walked in panels: as many rows as float sums may take adds, and columns enough for long runs of memory but
// so few that a panel, 8 KiB of x or 16 of x and dy, fits the first-level cache beside the next one. A strip of two
// vectors goes down a panel's rows; meanwhile the next panel is asked for in the order of memory, since rows side by
// side are more streams than the processor's own prefetcher follows (measured: 2.0 times as long without).
constexpr Index kPanelBytes = 512;

template <class Functor>
struct ColumnReduce {
  using Scalar = typename Functor::Scalar;
  using T = ParamOf<Scalar>;
  Functor functor;
  Index rows, cols;
  bool is_cached;
  double *sum_p, *sum_pq;

  template <class Isa>
  bool fills() const {
    return fill_vectors<Isa, T>(cols);
  }

  template <class Isa>
  TENSORNORM_INLINE void run() const {
    constexpr Index panel_cols = kPanelBytes / static_cast<Index>(sizeof(Scalar));
    const ColumnReduce k = *this;
    for (Index r = 0; r < k.rows; r += kFloatAdds) {
      const Index stop = (std::min)(r + kFloatAdds, k.rows);
      for (Index c = 0; c < k.cols; c += panel_cols) {
        const Index end = (std::min)(c + panel_cols, k.cols);
        const bool last = end == k.cols;
        k.add_panel<Isa>(r, stop, c, end, Ahead{last ? stop : r, last ? 0 : end});
      }
    }
  }

 private:
  // The panel that comes next: asked for line by line.
  struct Ahead {
    Index r, c, line = 0;
  };

  template <class Isa>
  TENSORNORM_INLINE void add_panel(Index r, Index stop, Index c, Index end, Ahead ahead) const {
    constexpr int lanes = kLanes<Isa, T>;
    Index j = c;
    for (; j + 2 * lanes <= end; j += 2 * lanes) {
      if (!is_cached) prefetch(ahead, stop - r, end - c, 2 * lanes);
      Sums<Vec<T, lanes>> s0, s1;
      for (Index i = r; i < stop; ++i) {
        typename Functor::template Row<Vec<T, lanes>> row{};
        Vec<T, lanes> p, q;
        functor.template begin<Isa>(i, row);
        functor.factors(row, Whole<Isa>{j}, p, q);
        s0.add(p, q);
        functor.factors(row, Whole<Isa>{j, 1}, p, q);
        s1.add(p, q);
      }
      add_wide<Isa>(s0, sum_p + j, sum_pq + j);
      add_wide<Isa>(s1, sum_p + j + lanes, sum_pq + j + lanes);
    }
    if constexpr (Isa::is_baseline) {
      if (cols < lanes) return add_some<lanes>(r, stop, Some<Isa>{0, static_cast<int>(cols)});
    }
    for (; j < end; j += lanes) {  // what is left, but for lanes that the vector before has
      const Whole<Isa> at{(std::min)(j, end - lanes)};
      const int first = static_cast<int>(j - at.j);
      Sums<Vec<T, lanes>> sums;
      sum_rows(r, stop, at, sums);
      keep_lanes<T, lanes>(first, lanes, sums.p);
      keep_lanes<T, lanes>(first, lanes, sums.pq);
      add_wide<Isa>(sums, sum_p + at.j, sum_pq + at.j);
    }
  }

  // Asks for the next panel's lines, as large a part of them as `done` columns are of this one's.
  TENSORNORM_INLINE void prefetch(Ahead& ahead, Index panel_rows, Index panel_cols, Index done) const {
    constexpr Index line = kLine / static_cast<Index>(sizeof(Scalar));
    for (Index n = panel_rows * done / line; n > 0; --n) {
      functor.prefetch(ahead.r, ahead.c + ahead.line);
      ahead.line += line;
      if (ahead.line < panel_cols) continue;
      ahead.line = 0;
      ++ahead.r;
    }
  }

  template <template <class> class At, class Isa, class V>
  TENSORNORM_INLINE void sum_rows(Index r, Index stop, const At<Isa>& at, Sums<V>& sums) const {
    for (; r < stop; ++r) {
      typename Functor::template Row<V> row{};
      V p, q;
      functor.template begin<Isa>(r, row);
      functor.factors(row, at, p, q);
      sums.add(p, q);
    }
  }

  template <int lanes, class Isa>
  TENSORNORM_INLINE void add_some(Index r, Index stop, const Some<Isa>& at) const {
    Sums<Vec<T, lanes>> sums;
    sum_rows(r, stop, at, sums);
    double p[lanes] = {}, pq[lanes] = {};
    add_wide<Isa>(sums, p, pq);
    for (int i = 0; i < at.n; ++i) {
      sum_p[i] += p[i];
      sum_pq[i] += pq[i];
    }
  }

  template <class Isa, class V>
  static TENSORNORM_INLINE void add_wide(const Sums<V>& sums, double* out_p, double* out_pq) {
    WideSum<Isa, T>(sums.p).add_to(out_p);
    WideSum<Isa, T>(sums.pq).add_to(out_pq);
  }
};

// sum_p[c] += sum of p, sum_pq[c] += sum of p * q over the rows of each column of a tile, which may be cached already.
template <class Functor>
void column_reduce(const Functor& functor, const Tile& tile, double* sum_p, double* sum_pq, bool is_cached = false) {
  run(ColumnReduce<Functor>{functor, tile.rows, tile.cols, is_cached, sum_p, sum_pq});
}

}  // namespace core
}  // namespace tensornorm
