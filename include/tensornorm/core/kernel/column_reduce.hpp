// The column shape of a reduction: each lane owns a bin.
#pragma once

#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/kernel/sums.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

// Strips of a few vectors, whose sums are in registers, go down as many rows as float sums may take. What no cache near
// the core holds is prefetched: on the way down a strip, what lies kColumnsAhead bytes to its right in the same rows,
// or there in the rows below. (Measured on Zen 3, against rows one after the other with their sums in memory:
// BatchNorm's backward takes 0.62 to 0.87 of the time in the cache, 0.80 to 0.92 past it; on Zen 5 0.8 to 0.95 in the
// cache and 1.0 to 1.15 past it, wherever what is prefetched lies.)
constexpr Index kColumnsAhead = 1 << 10;
constexpr Index kNearCache = 512 << 10;  // bytes of columns, with what lies between their rows, that need no prefetch

template <class Functor>
struct ColumnReduce {
  using Scalar = typename Functor::Scalar;
  using T = LaneOf<Scalar>;
  Functor functor;
  Index rows, cols;
  double *sum_p, *sum_pq;
  bool prefetches;

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
  template <class Isa>
  TENSORNORM_INLINE void add_rows(Index r, Index stop) const {
    constexpr int lanes = kLanes<Isa, T>;
    if constexpr (Isa::is_baseline) {
      if (cols < lanes) return add_some<lanes>(r, stop, PartialVector<Isa>{0, static_cast<int>(cols)});
    }
    Index j = 0;
    if constexpr (Isa::unrolls) {
      for (; j + 4 * lanes <= cols; j += 4 * lanes) {
        const Place ahead = place_ahead(j);
        Sums<Vec<T, lanes>> s0, s1, s2, s3;
        for (Index i = r; i < stop; ++i) {
          typename Functor::template Row<Vec<T, lanes>> row{};
          functor.template begin<Isa>(i, row);
          if (prefetches) prefetch_lines<Scalar>(functor, i + ahead.rows, ahead.column, 4 * lanes);
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
      const Place ahead = place_ahead(j);
      Sums<Vec<T, lanes>> s0, s1;
      for (Index i = r; i < stop; ++i) {
        typename Functor::template Row<Vec<T, lanes>> row{};
        functor.template begin<Isa>(i, row);
        if (prefetches) prefetch_lines<Scalar>(functor, i + ahead.rows, ahead.column, 2 * lanes);
        add(row, FullVector<Isa>{j}, s0);
        add(row, FullVector<Isa>{j, 1}, s1);
      }
      add_wide<Isa>(s0, sum_p + j, sum_pq + j);
      add_wide<Isa>(s1, sum_p + j + lanes, sum_pq + j + lanes);
    }
    for (; j < cols; j += lanes) add_last<Isa>(r, stop, j, (std::min)(j + lanes, cols));
  }

  // What is prefetched on the way down the strip at j: so many rows below, from that column on.
  struct Place {
    Index rows, column;
  };
  TENSORNORM_INLINE Place place_ahead(Index j) const {
    const Index ahead = j + (std::min)(cols, kColumnsAhead / static_cast<Index>(sizeof(Scalar)));
    return ahead < cols ? Place{0, ahead} : Place{kFloatAdds, ahead - cols};
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

// sum_p[c] += sum of p, sum_pq[c] += sum of p * q over the rows of each column of a tile.
// @pre the tile is not empty
template <class Functor>
void column_reduce(const Functor& functor, const Tile& tile, double* sum_p, double* sum_pq) {
  const Index bytes = tile.span * static_cast<Index>(sizeof(typename Functor::Scalar));
  dispatch(ColumnReduce<Functor>{functor, tile.rows, tile.cols, sum_p, sum_pq, bytes > kNearCache});
}

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
