// The row shape of a reduction: lanes run along one statistic.
#pragma once

#include "tensornorm/core/packet.hpp"

namespace tensornorm {
namespace core {

// No float accumulator takes more adds than this before its lanes go to double: the squares of quantized data round
// with a bias (worst error of y: 32 adds 7e-7, 64 adds 1e-6, 256 adds 3.5e-6).
constexpr Index kFloatAdds = 16;

template <class V>
struct Sums {
  V p{}, pq{};

  TENSORNORM_INLINE void add(const V& a, const V& b) {
    p += a;
    pq += a * b;
  }
  TENSORNORM_INLINE void add(const Sums& other) {
    p += other.p;
    pq += other.pq;
  }
};

template <class Functor>
struct RowReduce {
  Functor functor;
  Index rows, cols;
  double *sum_p, *sum_pq;

  template <class Isa>
  TENSORNORM_INLINE void run() const {
    using T = ParamOf<typename Functor::Scalar>;
    constexpr int lanes = kLanes<Isa, T>;
    using V = Vec<T, lanes>;
    for (Index r = 0; r < rows; ++r) {
      typename Functor::template Row<V> row{};
      functor.template begin<Isa>(r, row);
      WideSum<Isa, T> wide_p, wide_pq;
      Index j = 0;
      while (j + 4 * lanes <= cols) {
        Sums<V> s0, s1, s2, s3;
        const Index stop = (std::min)(j + kFloatAdds * 4 * lanes, cols - 4 * lanes + 1);
        for (; j < stop; j += 4 * lanes) {
          step(row, Whole<Isa>{j}, s0);
          step(row, Whole<Isa>{j + lanes}, s1);
          step(row, Whole<Isa>{j + 2 * lanes}, s2);
          step(row, Whole<Isa>{j + 3 * lanes}, s3);
        }
        s0.add(s1);
        s2.add(s3);
        s0.add(s2);
        wide_p.add(s0.p);
        wide_pq.add(s0.pq);
      }
      Sums<V> rest;
      for (; j + lanes <= cols; j += lanes) step(row, Whole<Isa>{j}, rest);
      if (j < cols) last_step<T, lanes>(row, j, Whole<Isa>{cols - lanes}, rest);
      wide_p.add(rest.p);
      wide_pq.add(rest.pq);
      sum_p[r] += wide_p.total();
      sum_pq[r] += wide_pq.total();
    }
  }

 private:
  template <class Row, class At, class V>
  TENSORNORM_INLINE void step(const Row& row, const At& at, Sums<V>& sums) const {
    V p, q;
    functor.factors(row, at, p, q);
    sums.add(p, q);
  }
  // The row's end: its last whole vector without the lanes already summed, or all there is of a short row.
  template <class T, int lanes, class Row, class Isa, class V>
  TENSORNORM_INLINE void last_step(const Row& row, Index j, const Whole<Isa>& last, Sums<V>& sums) const {
    V p, q;
    if (last.j >= 0) {
      functor.factors(row, last, p, q);
      keep_lanes<T, lanes>(static_cast<int>(j - last.j), lanes, p);
    } else {
      const Some<Isa> some{j, static_cast<int>(cols - j)};
      functor.factors(row, some, p, q);
      keep_lanes<T, lanes>(0, some.n, p);
    }
    sums.add(p, q);
  }
};

// sum_p[r] += sum of p, sum_pq[r] += sum of p * q over the columns of each row of a tile.
// @pre the same cols give the same bits, whatever the alignment of the rows
template <class Functor>
void row_reduce(const Functor& functor, Index rows, Index cols, double* sum_p, double* sum_pq) {
  run(RowReduce<Functor>{functor, rows, cols, sum_p, sum_pq});
}

}  // namespace core
}  // namespace tensornorm
