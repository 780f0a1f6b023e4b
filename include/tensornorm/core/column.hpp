// The column shape of a reduction: each lane owns a statistic.
#pragma once

#include "tensornorm/core/row.hpp"

namespace tensornorm {
namespace core {

template <class Functor>
struct ColumnReduce {
  Functor functor;
  Index rows, cols;
  double *sum_p, *sum_pq;

  // Blocks of rows walk side by side: as many streams as float sums may take adds, each read from start to end.
  template <class Isa>
  TENSORNORM_INLINE void run() const {
    using T = ParamOf<typename Functor::Scalar>;
    constexpr int lanes = kLanes<Isa, T>;
    for (Index r = 0; r < rows; r += kFloatAdds) {
      const Index stop = std::min(r + kFloatAdds, rows);
      Index j = 0;
      for (; j + lanes <= cols; j += lanes) add<T, lanes>(r, stop, Whole<Isa>{j}, 0, lanes);
      if (j == cols) continue;
      if (cols >= lanes) {
        const Index last = cols - lanes;
        add<T, lanes>(r, stop, Whole<Isa>{last}, static_cast<int>(j - last), lanes);
      } else {
        add_some<T, lanes>(r, stop, Some<Isa>{j, static_cast<int>(cols - j)});
      }
    }
  }

 private:
  template <class V, class T, int lanes, class At>
  TENSORNORM_INLINE void sum_rows(Index r, Index stop, const At& at, int first, int last, Sums<V>& sums) const {
    Sums<V> odd;
    typename Functor::template Row<V> row{};
    V p, q;
    for (; r + 2 <= stop; r += 2) {
      functor.begin(r, row);
      functor.factors(row, at, p, q);
      if (first > 0 || last < lanes) keep_lanes<T, lanes>(first, last, p);
      sums.add(p, q);
      functor.begin(r + 1, row);
      functor.factors(row, at, p, q);
      if (first > 0 || last < lanes) keep_lanes<T, lanes>(first, last, p);
      odd.add(p, q);
    }
    if (r < stop) {
      functor.begin(r, row);
      functor.factors(row, at, p, q);
      if (first > 0 || last < lanes) keep_lanes<T, lanes>(first, last, p);
      sums.add(p, q);
    }
    sums.add(odd);
  }

  template <class T, int lanes, class At>
  TENSORNORM_INLINE void add(Index r, Index stop, const At& at, int first, int last) const {
    Sums<Vec<T, lanes>> sums;
    sum_rows<Vec<T, lanes>, T, lanes>(r, stop, at, first, last, sums);
    add_wide<T, lanes>(sums, sum_p + at.j, sum_pq + at.j);
  }

  template <class T, int lanes, class Isa>
  TENSORNORM_INLINE void add_some(Index r, Index stop, const Some<Isa>& at) const {
    Sums<Vec<T, lanes>> sums;
    sum_rows<Vec<T, lanes>, T, lanes>(r, stop, at, 0, at.n, sums);
    double p[lanes] = {}, pq[lanes] = {};
    add_wide<T, lanes>(sums, p, pq);
    for (int i = 0; i < at.n; ++i) {
      sum_p[at.j + i] += p[i];
      sum_pq[at.j + i] += pq[i];
    }
  }

  template <class T, int lanes, class V>
  static TENSORNORM_INLINE void add_wide(const Sums<V>& sums, double* out_p, double* out_pq) {
    WideSum<T, lanes> p, pq;
    p.add(sums.p);
    pq.add(sums.pq);
    p.add_to(out_p);
    pq.add_to(out_pq);
  }
};

// sum_p[c] += sum of p, sum_pq[c] += sum of p * q over the rows of each column of a tile.
template <class Functor>
void column_reduce(const Functor& functor, Index rows, Index cols, double* sum_p, double* sum_pq) {
  run(ColumnReduce<Functor>{functor, rows, cols, sum_p, sum_pq});
}

}  // namespace core
}  // namespace tensornorm
