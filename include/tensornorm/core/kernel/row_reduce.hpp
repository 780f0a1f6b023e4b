// The row shape of a reduction: lanes run along one bin.
#pragma once

#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/kernel/sums.hpp"

TENSORNORM_IEEE_MATH_BEGIN
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
    const RowReduce k = *this;  // in registers: what is stored below cannot change it
    if constexpr (Isa::is_baseline) {
      k.add_rows_in_passes<Isa>();
    } else {
      k.add_rows<Isa>();
    }
  }

 private:
  // A row is summed in windows of kWindow lanes, whatever vectors the machine has. Windows go in turn to two sums of as
  // many lanes, so that one need not wait for the other; each lane takes about kFloatAdds numbers. Then the second sum
  // is added to the first, the upper half of the lanes to the lower half, and what is left goes to double. What remains
  // of a row is the end of its last window, added to the first sum after the second. A row shorter than a window has
  // windows of half or a quarter of the lanes; a lane beyond the row's end holds 0.
  static constexpr int kWindow = 64 / static_cast<int>(sizeof(T));
  static constexpr int kHalf = kWindow / 2, kPair = 2 * kWindow;
  static constexpr Index kStretch = kFloatAdds * kPair;  // elements that float sums may take

  // ---- AVX2 and AVX-512: vectors of half a window, or of a whole one

  template <class Isa>
  static constexpr int lanes = kLanes<Isa, T>;
  // The set whose vectors are half a window.
  template <class Isa>
  using HalfIsa = std::conditional_t<lanes<Isa> == kWindow, HalfOf<Isa>, Isa>;
  using FourDoubles = Vec<double, 4>;

  // Which lanes remain of a row's last window: in its last vector, and in the one before.
  template <class Isa>
  struct Rest {
    LaneMask<T, lanes<Isa>> last, before;
    TENSORNORM_INLINE explicit Rest(int n)
        : last((std::max)(lanes<Isa> - n, 0), lanes<Isa>),
          before((std::max)((std::min)(2 * lanes<Isa> - n, lanes<Isa>), 0), lanes<Isa>) {}
  };

  template <class Isa>
  TENSORNORM_INLINE void add_rows() const {
    const Rest<Isa> rest(static_cast<int>(cols % kWindow));
    Index r = cols <= kShort ? add_short_rows<Isa>(rest) : 0;
    for (; r < rows; ++r) {
      typename Functor::template Row<Vec<T, lanes<Isa>>> row{};
      functor.template begin<Isa>(r, row);
      if constexpr (lanes<Isa> == kHalf) {
        if (cols < kWindow) {
          FourDoubles p, pq;
          sum_half_window<Isa>(row, rest, p, pq);
          sum_p[r] += sum_lanes<double, 4>(p);
          sum_pq[r] += sum_lanes<double, 4>(pq);
          continue;
        }
      }
      WideSum<HalfIsa<Isa>, T> wide_p(Vec<T, kHalf>{}), wide_pq(Vec<T, kHalf>{});
      for (Index j = 0; j < cols;) {
        Sums<Vec<T, kHalf>> half;
        j = add_stretch<Isa>(r, row, j, rest, half);
        wide_p.add(half.p);
        wide_pq.add(half.pq);
      }
      sum_p[r] += wide_p.total();
      sum_pq[r] += wide_pq.total();
    }
  }

  // Rows of so many columns at most are one stretch each, and taken four at a time: what comes before and after a short
  // row takes longer than the row. What is left of them goes the way of long rows, with the same bits.
  static constexpr Index kShort = (std::min)(Index{256}, kStretch);

  // Returns how many rows it took.
  template <class Isa>
  TENSORNORM_INLINE Index add_short_rows(const Rest<Isa>& rest) const {
    FourDoubles p[4], pq[4];
    Index r = 0;
    for (; r + 4 <= rows; r += 4) {
      for (Index i = 0; i < 4; ++i) sum_short_row<Isa>(r + i, rest, p[i], pq[i]);
      VectorOps<HalfIsa<Isa>>::add_sums_of_lanes(p[0], p[1], p[2], p[3], sum_p + r);
      VectorOps<HalfIsa<Isa>>::add_sums_of_lanes(pq[0], pq[1], pq[2], pq[3], sum_pq + r);
    }
    return r;
  }

  template <class Isa>
  TENSORNORM_INLINE void sum_short_row(Index r, const Rest<Isa>& rest, FourDoubles& p, FourDoubles& pq) const {
    typename Functor::template Row<Vec<T, lanes<Isa>>> row{};
    functor.template begin<Isa>(r, row);
    if (next != 0) prefetch_lines<typename Functor::Scalar>(functor, r, next, cols);
    if constexpr (lanes<Isa> == kHalf) {
      if (cols < kWindow) return sum_half_window<Isa>(row, rest, p, pq);
    }
    RowSums<Isa> sums;
    Sums<Vec<T, kHalf>> half;
    Index j = 0;
    for (; j + kPair <= cols; j += kPair) add_pair<Isa>(row, j, sums);
    add_rest<Isa>(row, j, rest, sums);
    sums.fold(half);
    WideSum<HalfIsa<Isa>, T>(half.p).fold(p);
    WideSum<HalfIsa<Isa>, T>(half.pq).fold(pq);
  }

  // A row shorter than a window.
  template <class Isa, class Row>
  TENSORNORM_INLINE void sum_half_window(const Row& row, const Rest<Isa>& rest, FourDoubles& p, FourDoubles& pq) const {
    Sums<Vec<T, kHalf>> sums;
    step(row, FullVector<Isa>{0}, sums);
    if (cols > kHalf) add_kept(row, FullVector<Isa>{cols - kHalf}, rest.before, sums);
    widen_half<Isa>(sums.p, p);
    widen_half<Isa>(sums.pq, pq);
  }
  template <class Isa>
  static TENSORNORM_INLINE void widen_half(const Vec<T, kHalf>& v, FourDoubles& wide) {
    if constexpr (kHalf == 4) {
      wide = v;
    } else {
      Vec<T, 4> low, high;
      split(v, low, high);
      low += high;
      VectorOps<Isa>::widen(low, wide);
    }
  }

  // The lanes of a window: of one vector, or low and high of two; those of the second sum are `odd`. A member that
  // nothing uses would keep GCC from having the others in registers.
  template <class Isa>
  struct RowSums {
    struct None {};
    using Low = Sums<Vec<T, lanes<Isa>>>;
    using High = std::conditional_t<lanes<Isa> == kHalf, Low, None>;
    Low low, odd_low;
    High high, odd_high;

    TENSORNORM_INLINE void add_odd() {
      low.add(odd_low);
      if constexpr (lanes<Isa> == kHalf) high.add(odd_high);
    }
    TENSORNORM_INLINE void fold(Sums<Vec<T, kHalf>>& half) const {
      if constexpr (lanes<Isa> == kWindow) {
        Sums<Vec<T, kHalf>> upper;
        split(low.p, half.p, upper.p);
        split(low.pq, half.pq, upper.pq);
        half.add(upper);
      } else {
        half = low;
        half.add(high);
      }
    }
  };

  // Sums the columns from j on, as many as float sums may take, to half a window; returns where it stopped.
  template <class Isa, class Row>
  TENSORNORM_INLINE Index add_stretch(Index r, const Row& row, Index j, const Rest<Isa>& rest,
                                      Sums<Vec<T, kHalf>>& half) const {
    const Index stop = (std::min)(j + kStretch, cols - kPair + 1);
    RowSums<Isa> sums;
    for (; j < stop; j += kPair) {
      add_pair<Isa>(row, j, sums);
      if (next != 0) prefetch_lines<typename Functor::Scalar>(functor, r, j + next, kPair);
    }
    if (j + kPair <= cols) {
      sums.add_odd();
    } else {
      if (next != 0) prefetch_lines<typename Functor::Scalar>(functor, r, j + next, cols - j);
      add_rest<Isa>(row, j, rest, sums);
      j = cols;
    }
    sums.fold(half);
    return j;
  }

  template <class Isa, class Row>
  TENSORNORM_INLINE void add_pair(const Row& row, Index j, RowSums<Isa>& sums) const {
    add_window<Isa>(row, j, sums.low, sums.high);
    add_window<Isa>(row, j + kWindow, sums.odd_low, sums.odd_high);
  }
  // What remains of a row: less than two windows.
  template <class Isa, class Row>
  TENSORNORM_INLINE void add_rest(const Row& row, Index j, const Rest<Isa>& rest, RowSums<Isa>& sums) const {
    if (j + kWindow <= cols) {
      add_window<Isa>(row, j, sums.low, sums.high);
      j += kWindow;
    }
    sums.add_odd();
    if (j == cols) return;
    if constexpr (lanes<Isa> == kWindow) {
      add_kept(row, FullVector<Isa>{cols - kWindow}, rest.last, sums.low);
    } else {
      if (cols - j > kHalf) add_kept(row, FullVector<Isa>{cols - kWindow}, rest.before, sums.low);
      add_kept(row, FullVector<Isa>{cols - kHalf}, rest.last, sums.high);
    }
  }
  template <class Isa, class Row, class Low, class High>
  TENSORNORM_INLINE void add_window(const Row& row, Index j, Low& first, High& second) const {
    step(row, FullVector<Isa>{j}, first);
    if constexpr (lanes<Isa> == kHalf) step(row, FullVector<Isa>{j, 1}, second);
  }

  // ---- the baseline: vectors of a quarter of a window, two of a window's at a time

  template <class Isa>
  TENSORNORM_INLINE void add_rows_in_passes() const {
    using V = Vec<T, lanes<Isa>>;
    if (cols < kHalf) return add_quarter_windows<Isa>();
    const int n = cols >= kWindow ? 4 : 2;  // vectors of a window
    for (Index r = 0; r < rows; ++r) {
      typename Functor::template Row<V> row{};
      functor.template begin<Isa>(r, row);
      WideSum<Isa, T> p(V{}), pq(V{});
      for (int pass = 0; pass < n / 2; ++pass) {
        WideSum<Isa, T> pass_p(V{}), pass_pq(V{});
        add_pass<Isa>(r, row, n, pass, pass_p, pass_pq);
        p.merge(pass_p);
        pq.merge(pass_pq);
      }
      sum_p[r] += p.total();
      sum_pq[r] += pq.total();
    }
  }

  template <class Isa>
  TENSORNORM_INLINE void add_quarter_windows() const {
    using V = Vec<T, lanes<Isa>>;
    for (Index r = 0; r < rows; ++r) {
      typename Functor::template Row<V> row{};
      functor.template begin<Isa>(r, row);
      Sums<V> sums;
      sum_quarter_window<Isa>(row, sums);
      sum_p[r] += WideSum<Isa, T>(sums.p).total();
      sum_pq[r] += WideSum<Isa, T>(sums.pq).total();
    }
  }

  template <class Isa, class Row, class V>
  TENSORNORM_INLINE void sum_quarter_window(const Row& row, Sums<V>& sums) const {
    const int rest = static_cast<int>(cols) - lanes<Isa>;
    if (rest < 0) {  // q may be infinite where there is nothing
      add_kept(row, PartialVector<Isa>{0, static_cast<int>(cols)}, LaneMask<T, lanes<Isa>>(0, static_cast<int>(cols)),
               sums);
      return;
    }
    step(row, FullVector<Isa>{0}, sums);
    if (rest > 0) add_kept(row, FullVector<Isa>{rest}, LaneMask<T, lanes<Isa>>(lanes<Isa> - rest, lanes<Isa>), sums);
  }

  // Vectors `first` and first + n / 2 of windows of n.
  template <class Isa, class Row>
  TENSORNORM_INLINE void add_pass(Index r, const Row& row, int n, int first, WideSum<Isa, T>& p,
                                  WideSum<Isa, T>& pq) const {
    const Index window = n * lanes<Isa>, low = first * lanes<Isa>, high = low + window / 2;
    Index j = 0;
    while (j < cols) {
      const Index stop = (std::min)(j + kFloatAdds * 2 * window, cols - 2 * window + 1);
      Sums<Vec<T, lanes<Isa>>> s0, s1, s2, s3;
      for (; j < stop; j += 2 * window) {
        const Index second = j + window;
        step(row, FullVector<Isa>{j + low}, s0);
        step(row, FullVector<Isa>{j + high}, s1);
        step(row, FullVector<Isa>{second + low}, s2);
        step(row, FullVector<Isa>{second + high}, s3);
        if (next != 0 && first == 0) prefetch_lines<typename Functor::Scalar>(functor, r, j + next, 2 * window);
      }
      const bool is_end = j + 2 * window > cols;
      if (is_end && j + window <= cols) {
        step(row, FullVector<Isa>{j + low}, s0);
        step(row, FullVector<Isa>{j + high}, s1);
        j += window;
      }
      s0.add(s2);
      s1.add(s3);
      if (is_end && j < cols) {
        add_end<Isa>(row, window, low, cols - j, s0);
        add_end<Isa>(row, window, high, cols - j, s1);
        j = cols;
      }
      s0.add(s1);
      p.add(s0.p);
      pq.add(s0.pq);
    }
  }

  // The vector at lane `at` of a row's last window, of which so many columns remain.
  template <class Isa, class Row, class V>
  TENSORNORM_INLINE void add_end(const Row& row, Index window, Index at, Index remain, Sums<V>& sums) const {
    const int skipped = static_cast<int>((std::max)(window - remain - at, Index{0}));
    if (skipped >= lanes<Isa>) return;
    add_kept(row, FullVector<Isa>{cols - window + at}, LaneMask<T, lanes<Isa>>(skipped, lanes<Isa>), sums);
  }

  // ---- a vector

  // Without the lanes that are summed already.
  template <class Row, class At, class Mask, class V>
  TENSORNORM_INLINE void add_kept(const Row& row, const At& at, const Mask& mask, Sums<V>& sums) const {
    V p, q;
    functor.factors(row, at, p, q);
    mask.keep(p);
    mask.keep(q);
    sums.add(p, q);
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
TENSORNORM_IEEE_MATH_END
