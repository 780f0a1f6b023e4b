// The row shape of a reduction: lanes run along one bin.
#pragma once

#include "tensornorm/core/kernel/sums.hpp"

namespace tensornorm {
namespace core {

template <class Functor>
struct RowReduce {
  using T = LaneOf<typename Functor::Scalar>;
  Functor functor;
  Index rows, cols, next;
  double *sum_p, *sum_pq;

  template <class Isa>
  bool fills() const {
    return fill_vectors<Isa, T>(cols);
  }

  template <class Isa>
  TENSORNORM_INLINE void run() const {
    constexpr int lanes = kLanes<Isa, T>;
    const RowReduce k = *this;  // in registers: what is stored below cannot change it
    if constexpr (Isa::is_baseline) {
      if (k.cols < lanes) return k.add_narrow_rows<Isa>();
    }
    const LaneMask<T, lanes> rest(lanes - static_cast<int>(k.cols % lanes), lanes);
    if constexpr (Isa::unrolls) {
      if (k.cols <= kFewVectors * lanes) return k.add_short_rows<Isa>(rest);
    }
    for (Index r = 0; r < k.rows; ++r) {
      typename Functor::template Row<Vec<T, lanes>> row{};
      k.functor.template begin<Isa>(r, row);
      Sums<Vec<T, lanes>> sums;
      Index j = k.add_stretch<Isa>(r, row, 0, rest, sums);
      WideSum<Isa, T> wide_p(sums.p), wide_pq(sums.pq);
      while (j < k.cols) {
        sums = {};
        j = k.add_stretch<Isa>(r, row, j, rest, sums);
        wide_p.add(sums.p);
        wide_pq.add(sums.pq);
      }
      k.sum_p[r] += wide_p.total();
      k.sum_pq[r] += wide_pq.total();
    }
  }

 private:
  // Rows of few vectors, four at a time: what comes before and after a row takes longer than the row.
  template <class Isa>
  TENSORNORM_INLINE void add_short_rows(const LaneMask<T, kLanes<Isa, T>>& rest) const {
    Vec<double, kLanes<Isa, double>> p[4], pq[4];
    Index r = 0;
    for (; r + 4 <= rows; r += 4) {
      for (Index i = 0; i < 4; ++i) sum_short_row<Isa>(r + i, rest, p[i], pq[i]);
      VectorOps<Isa>::add_sums_of_lanes(p[0], p[1], p[2], p[3], sum_p + r);
      VectorOps<Isa>::add_sums_of_lanes(pq[0], pq[1], pq[2], pq[3], sum_pq + r);
    }
    for (; r < rows; ++r) {
      sum_short_row<Isa>(r, rest, p[0], pq[0]);
      sum_p[r] += sum_lanes<double, kLanes<Isa, double>>(p[0]);
      sum_pq[r] += sum_lanes<double, kLanes<Isa, double>>(pq[0]);
    }
  }

  // In two sums of float each.
  template <class Isa, class Wide>
  TENSORNORM_INLINE void sum_short_row(Index r, const LaneMask<T, kLanes<Isa, T>>& rest, Wide& wide_p,
                                       Wide& wide_pq) const {
    constexpr int lanes = kLanes<Isa, T>;
    typename Functor::template Row<Vec<T, lanes>> row{};
    functor.template begin<Isa>(r, row);
    if (next != 0) prefetch_lines<typename Functor::Scalar>(functor, r, next, cols);
    Sums<Vec<T, lanes>> sums, odd;
    Index j = 0;
    for (; j + 2 * lanes <= cols; j += 2 * lanes) {
      step(row, FullVector<Isa>{j}, sums);
      step(row, FullVector<Isa>{j, 1}, odd);
    }
    if (j + lanes <= cols) {
      step(row, FullVector<Isa>{j}, sums);
      j += lanes;
    }
    sums.add(odd);
    if (j < cols) {
      Vec<T, lanes> p, q;
      functor.factors(row, FullVector<Isa>{cols - lanes}, p, q);
      rest.keep(p);
      rest.keep(q);
      sums.add(p, q);
    }
    WideSum<Isa, T>(sums.p).fold(wide_p);
    WideSum<Isa, T>(sums.pq).fold(wide_pq);
  }

  // Sums the columns from j on, as many as float sums may take, and returns where it stopped.
  template <class Isa, class Row, class V>
  TENSORNORM_INLINE Index add_stretch(Index r, const Row& row, Index j, const LaneMask<T, kLanes<Isa, T>>& rest,
                                      Sums<V>& sums) const {
    constexpr int lanes = kLanes<Isa, T>;
    constexpr int together = Isa::unrolls ? 4 * lanes : lanes;
    const Index stop = (std::min)(j + kFloatAdds * together, cols - together + 1);
    if constexpr (Isa::unrolls) {
      Sums<V> s1, s2, s3;
      for (; j < stop; j += together) {
        step(row, FullVector<Isa>{j}, sums);
        step(row, FullVector<Isa>{j, 1}, s1);
        step(row, FullVector<Isa>{j, 2}, s2);
        step(row, FullVector<Isa>{j, 3}, s3);
        if (next != 0) prefetch_lines<typename Functor::Scalar>(functor, r, j + next, together);
      }
      sums.add(s1);
      s2.add(s3);
      sums.add(s2);
    } else {
      for (; j < stop; j += lanes) step(row, FullVector<Isa>{j}, sums);
    }
    if (j + together <= cols) return j;
    if (next != 0) prefetch_lines<typename Functor::Scalar>(functor, r, j + next, cols - j);
    for (; j + lanes <= cols; j += lanes) step(row, FullVector<Isa>{j}, sums);
    if (j < cols) {  // the row's last vector, without the lanes that are summed already
      V p, q;
      functor.factors(row, FullVector<Isa>{cols - lanes}, p, q);
      rest.keep(p);
      rest.keep(q);
      sums.add(p, q);
    }
    return cols;
  }

  // Rows narrower than a vector: q may be infinite where there is nothing.
  template <class Isa>
  TENSORNORM_INLINE void add_narrow_rows() const {
    constexpr int lanes = kLanes<Isa, T>;
    const PartialVector<Isa> at{0, static_cast<int>(cols)};
    for (Index r = 0; r < rows; ++r) {
      typename Functor::template Row<Vec<T, lanes>> row{};
      functor.template begin<Isa>(r, row);
      Vec<T, lanes> p, q;
      functor.factors(row, at, p, q);
      keep_lanes<T, lanes>(0, at.n, p);
      keep_lanes<T, lanes>(0, at.n, q);
      sum_p[r] += WideSum<Isa, T>(p).total();
      sum_pq[r] += WideSum<Isa, T>(p * q).total();
    }
  }

  template <class Row, class At, class V>
  TENSORNORM_INLINE void step(const Row& row, const At& at, Sums<V>& sums) const {
    V p, q;
    functor.factors(row, at, p, q);
    sums.add(p, q);
  }
};

// sum_p[r] += sum of p, sum_pq[r] += sum of p * q over the columns of each row of a tile.
// Reads `ahead` elements ahead of itself; where that is 0, as the tile says.
// @pre the tile is not empty
// @post the same cols give the same bits, whatever the alignment of the rows
template <class Functor>
void row_reduce(const Functor& functor, const Tile& tile, double* sum_p, double* sum_pq, Index ahead = 0) {
  dispatch(RowReduce<Functor>{functor, tile.rows, tile.cols, ahead != 0 ? ahead : tile.next, sum_p, sum_pq});
}

}  // namespace core
}  // namespace tensornorm
