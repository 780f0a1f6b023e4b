// The column shape of a reduction: each lane owns a bin.
#pragma once

#include "tensornorm/core/kernel/sums.hpp"

namespace tensornorm {
namespace core {

// A tile is walked in panels: as many rows as float sums may take adds, and columns whose sums, 8 KiB of float, stay
// near the core. Rows come one after the other, in the order of memory, which the processor reads ahead by itself, and
// what lies a little further is prefetched (measured on Zen 5 past the cache: strips down the rows of a panel take 1.3
// times as long, rows side by side 1.5 times, and without prefetches 1.2 times). What a cache holds needs no order, and
// in narrow rows each sum would wait for the one before to be stored: strips of vectors, whose sums are in registers,
// go down their rows (rows of four, with 32 registers: BatchNorm's backward takes 0.93 of the time that it does with
// panels of four such rows side by side).
constexpr Index kPanelCols = 1024;
constexpr Index kColumnsAhead = 4 << 10;  // bytes

// Values of T that the sums of a panel take: both kinds, the second in other sets of the first-level cache.
template <class T>
constexpr Index panel_size(Index cols) {
  return 2 * Arena::bytes<T>((std::min)(cols, kPanelCols)) / static_cast<Index>(sizeof(T));
}

// `panels`: whether there may be memory for them; without, the cache holds the tile.
template <class Functor, bool panels>
struct ColumnReduce {
  using Scalar = typename Functor::Scalar;
  using T = LaneOf<Scalar>;
  Functor functor;
  Index rows, cols;
  double *sum_p, *sum_pq;
  T* panel = nullptr;  // memory for panel_size(cols) values, or null

  // How far ahead it asks: so many rows and columns.
  static constexpr Index kAhead = kColumnsAhead / static_cast<Index>(sizeof(Scalar));
  Index rows_ahead = panel == nullptr ? 0 : kAhead / cols, cols_ahead = panel == nullptr ? 0 : kAhead % cols;

  template <class Isa>
  bool fills() const {
    return fill_vectors<Isa, T>(cols);
  }

  template <class Isa>
  TENSORNORM_INLINE void run() const {
    const ColumnReduce k = *this;
    for (Index r = 0; r < k.rows; r += kFloatAdds) k.add_rows<Isa>(r, (std::min)(r + kFloatAdds, k.rows));
  }

 private:
  // Sums of a panel, by column.
  struct Panel {
    T *p, *pq;

    template <class At, class V>
    TENSORNORM_INLINE void load(const At& at, Sums<V>& sums) const {
      at.load(p, sums.p);
      at.load(pq, sums.pq);
    }
  };

  template <class Isa>
  TENSORNORM_INLINE void add_rows(Index r, Index stop) const {
    constexpr int lanes = kLanes<Isa, T>;
    if constexpr (Isa::is_baseline) {
      if (cols < lanes) return add_some<lanes>(r, stop, PartialVector<Isa>{0, static_cast<int>(cols)});
    }
    if constexpr (panels && Isa::unrolls) {
      if (panel != nullptr && cols > (Isa::has_32_registers ? 4 : 3) * lanes) {
        for (Index c = 0; c < cols; c += kPanelCols) add_panel<Isa>(r, stop, c, (std::min)(c + kPanelCols, cols));
        return;
      }
    }
    add_strips<Isa>(r, stop);
  }

  template <class Isa>
  TENSORNORM_INLINE void add_panel(Index r, Index stop, Index c, Index end) const {
    constexpr int lanes = kLanes<Isa, T>;
    const Index whole = c + (end - c) / lanes * lanes;
    const Panel by_column{panel, panel + panel_size<T>(cols) / 2};
    std::fill_n(by_column.p, whole - c, T(0));
    std::fill_n(by_column.pq, whole - c, T(0));
    for (Index i = r; i < stop; ++i) add_row<Isa>(i, c, whole, by_column);
    for (Index j = c; j < whole; j += lanes) {
      Sums<Vec<T, lanes>> sums;
      by_column.load(FullVector<Isa>{j - c}, sums);
      add_wide<Isa>(sums, sum_p + j, sum_pq + j);
    }
    if (whole < end) add_last<Isa>(r, stop, whole, end);
  }

  template <class Isa>
  TENSORNORM_INLINE void add_row(Index i, Index c, Index whole, const Panel& by_column) const {
    constexpr int lanes = kLanes<Isa, T>;
    typename Functor::template Row<Vec<T, lanes>> row{};
    functor.template begin<Isa>(i, row);
    Index j = c;
    for (; j + 4 * lanes <= whole; j += 4 * lanes) {
      prefetch(i, j, 4 * lanes);
      add(row, FullVector<Isa>{j}, by_column, j - c);
      add(row, FullVector<Isa>{j, 1}, by_column, j - c + lanes);
      add(row, FullVector<Isa>{j, 2}, by_column, j - c + 2 * lanes);
      add(row, FullVector<Isa>{j, 3}, by_column, j - c + 3 * lanes);
    }
    if (j < whole) prefetch(i, j, whole - j);
    for (; j < whole; j += lanes) add(row, FullVector<Isa>{j}, by_column, j - c);
  }

  template <class Isa, class V>
  TENSORNORM_INLINE void add(const typename Functor::template Row<V>& row, const FullVector<Isa>& at,
                             const Panel& by_column, Index column) const {
    Sums<V> sums;
    V p, q;
    const FullVector<Isa> place{column};
    by_column.load(place, sums);
    functor.factors(row, at, p, q);
    sums.add(p, q);
    place.store(by_column.p, sums.p);
    place.store(by_column.pq, sums.pq);
  }

  template <class Isa>
  TENSORNORM_INLINE void add_strips(Index r, Index stop) const {
    constexpr int lanes = kLanes<Isa, T>;
    Index j = 0;
    if constexpr (Isa::has_32_registers) {
      for (; j + 4 * lanes <= cols; j += 4 * lanes) {
        Sums<Vec<T, lanes>> s0, s1, s2, s3;
        for (Index i = r; i < stop; ++i) {
          typename Functor::template Row<Vec<T, lanes>> row{};
          functor.template begin<Isa>(i, row);
          add(row, FullVector<Isa>{j}, s0);
          add(row, FullVector<Isa>{j, 1}, s1);
          add(row, FullVector<Isa>{j, 2}, s2);
          add(row, FullVector<Isa>{j, 3}, s3);
        }
        add_wide<Isa>(s0, sum_p + j, sum_pq + j);
        add_wide<Isa>(s1, sum_p + j + lanes, sum_pq + j + lanes);
        add_wide<Isa>(s2, sum_p + j + 2 * lanes, sum_pq + j + 2 * lanes);
        add_wide<Isa>(s3, sum_p + j + 3 * lanes, sum_pq + j + 3 * lanes);
      }
    }
    for (; j + 2 * lanes <= cols; j += 2 * lanes) {
      Sums<Vec<T, lanes>> s0, s1;
      for (Index i = r; i < stop; ++i) {
        typename Functor::template Row<Vec<T, lanes>> row{};
        functor.template begin<Isa>(i, row);
        add(row, FullVector<Isa>{j}, s0);
        add(row, FullVector<Isa>{j, 1}, s1);
      }
      add_wide<Isa>(s0, sum_p + j, sum_pq + j);
      add_wide<Isa>(s1, sum_p + j + lanes, sum_pq + j + lanes);
    }
    for (; j < cols; j += lanes) add_last<Isa>(r, stop, j, (std::min)(j + lanes, cols));
  }

  template <class Row, class At, class V>
  TENSORNORM_INLINE void add(const Row& row, const At& at, Sums<V>& sums) const {
    V p, q;
    functor.factors(row, at, p, q);
    sums.add(p, q);
  }

  // Columns [j, end), at most a vector that ends with them, without the lanes that are summed already.
  template <class Isa>
  TENSORNORM_INLINE void add_last(Index r, Index stop, Index j, Index end) const {
    constexpr int lanes = kLanes<Isa, T>;
    const FullVector<Isa> at{end - lanes};
    const int first = static_cast<int>(j - at.j);
    Sums<Vec<T, lanes>> sums;
    sum_rows(r, stop, at, sums);
    keep_lanes<T, lanes>(first, lanes, sums.p);
    keep_lanes<T, lanes>(first, lanes, sums.pq);
    add_wide<Isa>(sums, sum_p + at.j, sum_pq + at.j);
  }

  // Prefetches n elements a little further on than (i, j), in this row or one of the next.
  TENSORNORM_INLINE void prefetch(Index i, Index j, Index n) const {
    Index r = i + rows_ahead, column = j + cols_ahead;
    if (column >= cols) {
      column -= cols;
      ++r;
    }
    prefetch_lines<Scalar>(functor, r, column, n);
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
  TENSORNORM_INLINE void add_some(Index r, Index stop, const PartialVector<Isa>& at) const {
    Sums<Vec<T, lanes>> sums;
    sum_rows(r, stop, at, sums);
    double p[static_cast<std::size_t>(lanes)] = {}, pq[static_cast<std::size_t>(lanes)] = {};
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

// sum_p[c] += sum of p, sum_pq[c] += sum of p * q over the rows of each column of a tile, with memory for the sums of a
// panel.
// @pre the tile is not empty
template <class Functor>
void column_reduce(const Functor& functor, const Tile& tile, double* sum_p, double* sum_pq,
                   ParamOf<typename Functor::Scalar>* panel) {
  dispatch(ColumnReduce<Functor, true>{functor, tile.rows, tile.cols, sum_p, sum_pq, panel});
}

// The same of a tile that the cache holds.
template <class Functor>
void cached_column_reduce(const Functor& functor, const Tile& tile, double* sum_p, double* sum_pq) {
  dispatch(ColumnReduce<Functor, false>{functor, tile.rows, tile.cols, sum_p, sum_pq});
}

}  // namespace core
}  // namespace tensornorm
