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
      const Index stop = (std::min)(r + kFloatAdds, rows);
      if (cols < lanes) {
        add_some<T, lanes>(r, stop, Some<Isa>{0, static_cast<int>(cols)});
        continue;
      }
      Index j = 0;
      for (; j + lanes <= cols; j += lanes) {
        Sums<Vec<T, lanes>> sums;
        sum_rows<Isa>(r, stop, Whole<Isa>{j}, sums);
        add_wide<Isa, T>(sums, sum_p + j, sum_pq + j);
      }
      if (j < cols) add_last<T, lanes>(r, stop, Whole<Isa>{cols - lanes}, static_cast<int>(j - (cols - lanes)));
    }
  }

 private:
  template <class Isa, class At, class V>
  TENSORNORM_INLINE void sum_rows(Index r, Index stop, const At& at, Sums<V>& sums) const {
    for (; r < stop; ++r) {
      typename Functor::template Row<V> row{};
      V p, q;
      functor.template begin<Isa>(r, row);
      functor.factors(row, at, p, q);
      sums.add(p, q);
    }
  }

  // The last whole vector, but for its first lanes, which the one before it has.
  template <class T, int lanes, class Isa>
  TENSORNORM_INLINE void add_last(Index r, Index stop, const Whole<Isa>& at, int first) const {
    Sums<Vec<T, lanes>> sums;
    sum_rows<Isa>(r, stop, at, sums);
    keep_lanes<T, lanes>(first, lanes, sums.p);
    keep_lanes<T, lanes>(first, lanes, sums.pq);
    add_wide<Isa, T>(sums, sum_p + at.j, sum_pq + at.j);
  }

  template <class T, int lanes, class Isa>
  TENSORNORM_INLINE void add_some(Index r, Index stop, const Some<Isa>& at) const {
    Sums<Vec<T, lanes>> sums;
    sum_rows<Isa>(r, stop, at, sums);
    double p[lanes] = {}, pq[lanes] = {};
    add_wide<Isa, T>(sums, p, pq);
    for (int i = 0; i < at.n; ++i) {
      sum_p[i] += p[i];
      sum_pq[i] += pq[i];
    }
  }

  template <class Isa, class T, class V>
  static TENSORNORM_INLINE void add_wide(const Sums<V>& sums, double* out_p, double* out_pq) {
    WideSum<Isa, T> p, pq;
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
