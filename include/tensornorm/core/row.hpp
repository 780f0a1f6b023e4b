// The row shape of a reduction: lanes run along one statistic.
#pragma once

#include "tensornorm/core/sums.hpp"

namespace tensornorm {
namespace core {

template <class Functor>
struct RowReduce {
  using T = ParamOf<typename Functor::Scalar>;
  Functor functor;
  Index rows, cols, next;
  double *sum_p, *sum_pq;

  template <class Isa>
  bool fills() const {
    return fill_vectors<Isa, T>(cols);
  }

  template <class Isa>
  TENSORNORM_INLINE void run() const {
    const RowReduce k = *this;  // in registers: what is stored below cannot change it
    for (Index r = 0; r < k.rows; ++r) {
      typename Functor::template Row<Vec<T, kLanes<Isa, T>>> row{};
      k.functor.template begin<Isa>(r, row);
      WideSum<Isa, T> wide_p, wide_pq;
      Index j = 0;
      do j = k.add_stretch<Isa>(r, row, j, wide_p, wide_pq);
      while (j < k.cols);
      k.sum_p[r] += wide_p.total();
      k.sum_pq[r] += wide_pq.total();
    }
  }

 private:
  // Sums the columns from j on, as many as float sums may take, and returns where it stopped.
  template <class Isa, class Row>
  TENSORNORM_INLINE Index add_stretch(Index r, const Row& row, Index j, WideSum<Isa, T>& wide_p,
                                      WideSum<Isa, T>& wide_pq) const {
    constexpr int lanes = kLanes<Isa, T>;
    constexpr int together = Isa::unrolls ? 4 * lanes : lanes;
    Sums<Vec<T, lanes>> s0;
    if constexpr (Isa::unrolls) {
      Sums<Vec<T, lanes>> s1, s2, s3;
      const Index stop = (std::min)(j + kFloatAdds * together, cols - together + 1);
      for (; j < stop; j += together) {
        step(row, Whole<Isa>{j}, s0);
        step(row, Whole<Isa>{j, 1}, s1);
        step(row, Whole<Isa>{j, 2}, s2);
        step(row, Whole<Isa>{j, 3}, s3);
        if (next != 0) prefetch_lines<typename Functor::Scalar>(functor, r, j + next, together);
      }
      s0.add(s1);
      s2.add(s3);
      s0.add(s2);
    }
    if (!Isa::unrolls || j + together > cols) j = add_end<Isa>(row, j, s0);
    wide_p.add(s0.p);
    wide_pq.add(s0.pq);
    return j;
  }

  // One vector at a time; the last one without the lanes that are summed already.
  template <class Isa, class Row, class V>
  TENSORNORM_INLINE Index add_end(const Row& row, Index j, Sums<V>& sums) const {
    constexpr int lanes = kLanes<Isa, T>;
    if constexpr (Isa::is_baseline) {
      if (cols < lanes) return add_all(row, Some<Isa>{0, static_cast<int>(cols)}, sums);
    }
    const Index stop = (std::min)(j + kFloatAdds * lanes, cols);
    for (; j < stop; j += lanes) {
      const Whole<Isa> at{(std::min)(j, cols - lanes)};
      V p, q;
      functor.factors(row, at, p, q);
      keep_lanes<T, lanes>(static_cast<int>(j - at.j), lanes, p);
      sums.add(p, q);
    }
    return (std::min)(j, cols);
  }

  // A row narrower than a vector: q may be infinite where there is nothing.
  template <class Row, class Isa, class V>
  TENSORNORM_INLINE Index add_all(const Row& row, const Some<Isa>& at, Sums<V>& sums) const {
    V p, q;
    functor.factors(row, at, p, q);
    keep_lanes<T, kLanes<Isa, T>>(0, at.n, p);
    keep_lanes<T, kLanes<Isa, T>>(0, at.n, q);
    sums.add(p, q);
    return cols;
  }

  template <class Row, class At, class V>
  TENSORNORM_INLINE void step(const Row& row, const At& at, Sums<V>& sums) const {
    V p, q;
    functor.factors(row, at, p, q);
    sums.add(p, q);
  }
};

// sum_p[r] += sum of p, sum_pq[r] += sum of p * q over the columns of each row of a tile.
// @pre the tile is not empty
// @post the same cols give the same bits, whatever the alignment of the rows
template <class Functor>
void row_reduce(const Functor& functor, const Tile& tile, double* sum_p, double* sum_pq) {
  run(RowReduce<Functor>{functor, tile.rows, tile.cols, tile.next, sum_p, sum_pq});
}

}  // namespace core
}  // namespace tensornorm
