// The map of a tile: one loop for both shapes, since an operand knows itself whether it runs along the row.
//
// Outputs that the cache could not keep go past it: writing a line then costs no reading of it first. Only whole lines
// pay, in long runs or where no run has others (measured: runs of 49 floats cost 8.7 copies so, plain stores 0.9).
#pragma once

#include <algorithm>
#include <utility>

#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/kernel/held_vector.hpp"
#include "tensornorm/core/kernel/lines.hpp"
#include "tensornorm/core/kernel/operand.hpp"
#include "tensornorm/core/plan/walk.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

// What a core may hope to keep in its last-level cache. What the processor says of itself counts the caches of all
// cores, under a hypervisor those of the whole host.
constexpr Index kLastLevelCache = Index{16} << 20;

// Bytes from where a map writes to the lines of y that it prefetches.
constexpr Index kWriteAhead = 2 << 10;

// Where a map's values go: into the cache or past it, perhaps in place of an operand; and how far ahead, in elements,
// it prefetches its operands. `streams`, which map() finds: past the cache, and the rows have whole lines to go there.
struct StoreMode {
  bool past_cache = false, in_place = true;
  Index ahead = 0;
  bool streams = false;
};

// A pass that reads and writes so many bytes leaves nothing of its output in the cache anyway.
inline bool outgrows_cache(Index bytes) { return bytes >= kLastLevelCache; }

// What went past the cache becomes visible to other threads. Comes before a thread says that it is done.
inline void finish_streaming() {
#if defined(__x86_64__)
  _mm_sfence();
#endif
}

template <class Functor>
struct Map {
  using Scalar = typename Functor::Scalar;
  using T = ParamOf<Scalar>;
  Functor functor;
  Index rows, cols;
  Scalar* y;
  Index stride;
  StoreMode to;

  template <class Isa>
  bool fills() const {
    return fill_vectors<Isa, T>(cols);
  }

  template <class Isa>
  TENSORNORM_INLINE void run() const {
    const Map k = *this;  // in registers: what is stored below cannot change it
    k.put_rows<Isa>();
  }

  // Whether the rows of y are long, or whole lines from end to end, or follow each other and are not too short.
  bool has_lines() const {
    constexpr Index size = sizeof(Scalar);
    if (stride == cols && rows > 1 && cols * size >= kJoinedRun) return true;
    return cols * size >= kLongRun || are_whole_lines();
  }

 private:
  // A vector of 16-bit numbers is half as wide as the sums it comes from: 1.1 times as slow past the cache as into it.
  template <class Isa>
  static constexpr bool can_stream = Isa::unrolls && sizeof(Scalar) > 2;

  bool are_whole_lines() const {
    constexpr Index size = sizeof(Scalar);
    return cols * size % kCacheLine == 0 && stride * size % kCacheLine == 0 && head_of(y) == 0;
  }

  static constexpr Index kLineSize = kCacheLine / static_cast<Index>(sizeof(Scalar));

  template <class Isa>
  TENSORNORM_INLINE void put_rows() const {
    constexpr int lanes = kLanes<Isa, T>;
    if constexpr (kMostHeld<Isa> != 0) {
      if (put_held_rows<Isa>()) return;
    }
    if constexpr (Isa::unrolls) {
      if (cols >= lanes && cols <= kFewVectors * lanes && (to.in_place || to.streams || !is_long_row<Scalar>(cols))) {
        const bool are_few = to.ahead == 0 || Functor::inputs == 1;  // lines that are read side by side
        if (!to.past_cache && are_few && (!to.in_place || cols % lanes == 0)) return put_short_rows<Isa, false>();
        if constexpr (can_stream<Isa> && takes_fours<Isa> && Functor::inputs == 1) {
          const bool is_short = stride == cols && cols <= kFewVectorsPastCache * lanes;
          if (to.streams && is_short && are_whole_lines()) return put_short_rows<Isa, true>();
        }
      }
    }
    Seam seam;
    for (Index r = 0; r < rows; ++r) {
      typename Functor::template Row<Vec<T, lanes>> row{};
      functor.template begin<Isa>(r, row);
      Scalar* const out = y + r * stride;
      if constexpr (Isa::is_baseline) {
        if (cols < lanes) {
          put<false>(row, PartialVector<Isa>{0, static_cast<int>(cols)}, out);
          continue;
        }
      }
      put_row<Isa>(r, row, out, seam);
    }
  }

  // Rows of so many vectors at most are held: what all rows have alike stays in registers. 0: none are.
  template <class Isa>
  static constexpr int kMostHeld = !Isa::has_32_registers || Functor::by_column == 0 ? 0
                                   : Functor::by_column <= 3                         ? 8
                                                                                     : 4;

  // Rows of two to eight vectors, one row after the other. Two, four or eight vectors are taken, and the last ones
  // overlap. In place a row must have just as many: else the last one would read what was stored. Returns false for
  // other rows. (Measured on Zen 5 in a cache: infer of BatchNorm takes 0.41 to 0.65 of the time that it takes with
  // rows of 64 to 128 floats four at a time.)
  template <class Isa>
  TENSORNORM_INLINE bool put_held_rows() const {
    constexpr int lanes = kLanes<Isa, T>;
    if (cols <= lanes || cols > kMostHeld<Isa> * lanes || to.streams) return false;
    const int vectors = cols <= 2 * lanes ? 2 : cols <= 4 * lanes ? 4 : 8;
    if (to.in_place && cols != vectors * lanes) return false;
    if (vectors == 2) {
      put_held<Isa>(std::make_integer_sequence<int, 2>());
    } else if (vectors == 4) {
      put_held<Isa>(std::make_integer_sequence<int, 4>());
    } else if constexpr (kMostHeld<Isa> == 8) {
      put_held<Isa>(std::make_integer_sequence<int, 8>());
    }
    return true;
  }

  template <class Isa, int... vector>
  TENSORNORM_INLINE void put_held(std::integer_sequence<int, vector...>) const {
    constexpr int lanes = kLanes<Isa, T>;
    using V = Vec<T, lanes>;
    const Index last = cols - lanes;
    const HeldVector<Isa, V, Functor::by_column> held[] = {
        {functor, FullVector<Isa>{(std::min)(Index{vector * lanes}, last)}}...};
    for (Index r = 0; r < rows; ++r) {
      typename Functor::template Row<V> row{};
      functor.template begin<Isa>(r, row);
      Scalar* const out = y + r * stride;
      if (to.ahead != 0) prefetch_lines<Scalar>(functor, r, to.ahead, cols);
      if (to.past_cache) prefetch_output(out);
      (put_held_vector<V>(row, held[vector], out), ...);
    }
  }
  template <class V, class Row, class Held>
  TENSORNORM_INLINE void put_held_vector(const Row& row, const Held& held, Scalar* out) const {
    V v;
    functor.value(row, held.place(), v);
    held.at.store(out, v);
  }

  // Rows of so many vectors at most are short: the map takes four of them at a time.
  static constexpr Index kFewVectors = 16;
  // Past the cache rows go four at a time if they have so many vectors at most, no gaps between them, and one input.
  // (Measured: others take 1.07 to 5 times as long so.)
  static constexpr Index kFewVectorsPastCache = 12;

  // Whether the values of four rows fit the registers.
  template <class Isa>
  static constexpr bool takes_fours = Isa::has_32_registers || !Functor::has_many_values;

  // Rows of few vectors: what starting a row takes, and the values of columns, are shared by four. @pre past the cache
  // go whole lines only
  template <class Isa, bool past>
  TENSORNORM_INLINE void put_short_rows() const {
    constexpr int lanes = kLanes<Isa, T>;
    Index r = 0;
    if constexpr (takes_fours<Isa>) {
      for (; r + 4 <= rows; r += 4) put_four_rows<Isa, past>(r);
    }
    for (; r < rows; ++r) {
      typename Functor::template Row<Vec<T, lanes>> row{};
      functor.template begin<Isa>(r, row);
      Scalar* const out = y + r * stride;
      for (Index j = 0; j + lanes <= cols; j += lanes) put<past>(row, FullVector<Isa>{j}, out);
      if (cols % lanes != 0) put<past>(row, FullVector<Isa>{cols - lanes}, out);
    }
  }

  template <class Isa, bool past>
  TENSORNORM_INLINE void put_four_rows(Index r) const {
    constexpr int lanes = kLanes<Isa, T>;
    typename Functor::template Row<Vec<T, lanes>> r0{}, r1{}, r2{}, r3{};
    functor.template begin<Isa>(r, r0);
    functor.template begin<Isa>(r + 1, r1);
    functor.template begin<Isa>(r + 2, r2);
    functor.template begin<Isa>(r + 3, r3);
    Scalar *const out = y + r * stride, *const out1 = out + stride, *const out2 = out1 + stride,
                  *const out3 = out2 + stride;
    if (to.ahead != 0) {
      for (Index i = r; i < r + 4; ++i) prefetch_lines<Scalar>(functor, i, to.ahead, cols);
    }
    for (Index j = 0; j < cols; j += lanes) {
      const FullVector<Isa> at{(std::min)(j, cols - lanes)};
      Vec<T, lanes> y0, y1, y2, y3;
      functor.value(r0, at, y0);
      functor.value(r1, at, y1);
      functor.value(r2, at, y2);
      functor.value(r3, at, y3);
      store<past>(at, out, y0);
      store<past>(at, out1, y1);
      store<past>(at, out2, y2);
      store<past>(at, out3, y3);
    }
  }

  // A line that two rows share, put together before it is stored, with room on both sides for what vectors have there.
  struct Seam {
    alignas(kCacheLine) Scalar values[static_cast<std::size_t>(3 * kLineSize)];
    Scalar* line() { return values + kLineSize; }
  };

  // The part of a row that goes past the cache: whole lines, also those that two rows share. At either end of a tile,
  // and of rows with gaps, a line that a vector touches stays out of it: one that is written both ways costs two
  // (measured: rows of 777 floats took 1.7 times as long).
  struct Lines {
    bool follows, is_followed;  // whether another row begins where this one ends
    Index head, begin, end;
  };
  template <int lanes>
  TENSORNORM_INLINE Lines lines_of(Index r, const Scalar* out) const {
    const bool follows = stride == cols && r > 0, is_followed = stride == cols && r + 1 < rows;
    const Index head = head_of(out), tail = (cols - head) % kLineSize;
    return {follows, is_followed, head, head + (follows || head == 0 || head >= lanes ? 0 : kLineSize),
            cols - tail - (is_followed || tail == 0 || tail >= lanes ? 0 : kLineSize)};
  }

  // A row's last vector overlaps the one before. In place it is computed before that one is stored; else not, as
  // reading a row's end before its start throws prefetchers off. Out of place the first vector of a long row overlaps
  // the second one, and the others begin with vectors of memory. (Measured on Zen 5 in a cache, tensors as malloc
  // aligns large ones: LayerNorm and BatchNorm of features take 0.8 to 1.0 of the time.) In place the second vector
  // would read what the first one stored.
  template <class Isa, class Row>
  TENSORNORM_INLINE void put_row(Index r, const Row& row, Scalar* out, Seam& seam) const {
    constexpr int lanes = kLanes<Isa, T>;
    if constexpr (can_stream<Isa>) {
      if (to.streams) return stream_row<Isa>(r, row, out, seam);
    }
    const FullVector<Isa> end{cols - lanes};
    Vec<T, lanes> last{};
    if (to.past_cache) prefetch_output(out);
    if (to.in_place && cols % lanes != 0) functor.value(row, end, last);
    Index j = 0;
    if (!to.in_place && is_long_row<Scalar>(cols)) {
      j = head_of(out) % lanes;
      if (j != 0) put<false>(row, FullVector<Isa>{0}, out);
    }
    put_vectors<Isa, false>(r, row, cols, out, j);
    if (j == cols) return;
    if (!to.in_place) functor.value(row, end, last);
    end.store(out, last);
  }

  // Never in place.
  template <class Isa, class Row>
  TENSORNORM_INLINE void stream_row(Index r, const Row& row, Scalar* out, Seam& seam) const {
    const Lines lines = lines_of<kLanes<Isa, T>>(r, out);
    begin_lines<Isa>(row, lines, out, seam);
    Index j = lines.begin;
    put_vectors<Isa, true>(r, row, lines.end, out, j);
    put_run<Isa>(row, lines.end, cols, lines.is_followed ? seam.line() : out + lines.end);
  }

  // Whole vectors from j on, up to `stop` at most.
  template <class Isa, bool past, class Row>
  TENSORNORM_INLINE void put_vectors(Index r, const Row& row, Index stop, Scalar* out, Index& j) const {
    constexpr int lanes = kLanes<Isa, T>;
    using V = Vec<T, lanes>;
    if constexpr (Isa::unrolls) {
      for (const Index most = stop - 4 * lanes; j <= most; j += 4 * lanes) {
        V y0, y1, y2, y3;
        functor.value(row, FullVector<Isa>{j}, y0);
        functor.value(row, FullVector<Isa>{j, 1}, y1);
        functor.value(row, FullVector<Isa>{j, 2}, y2);
        functor.value(row, FullVector<Isa>{j, 3}, y3);
        if (to.ahead != 0) prefetch_lines<Scalar>(functor, r, j + to.ahead, 4 * lanes);
        store<past>(FullVector<Isa>{j}, out, y0);
        store<past>(FullVector<Isa>{j, 1}, out, y1);
        store<past>(FullVector<Isa>{j, 2}, out, y2);
        store<past>(FullVector<Isa>{j, 3}, out, y3);
      }
    }
    if (to.ahead != 0) prefetch_lines<Scalar>(functor, r, j + to.ahead, cols - j);
    for (; j + lanes <= stop; j += lanes) {
      V v;
      functor.value(row, FullVector<Isa>{j}, v);
      store<past>(FullVector<Isa>{j}, out, v);
    }
  }

  // What comes before the lines: to the one that the row before left half done, or as usual.
  template <class Isa, class Row>
  TENSORNORM_INLINE void begin_lines(const Row& row, const Lines& lines, Scalar* out, Seam& seam) const {
    if (!lines.is_followed) prefetch_ends(out);
    if (!lines.follows) return put_run<Isa>(row, 0, lines.begin, out);
    if (lines.head == 0) return;
    put_run<Isa>(row, 0, lines.head, seam.line() + kLineSize - lines.head);
    stream_line<Isa>(seam, out + lines.head - kLineSize);
  }

  template <class Isa>
  static TENSORNORM_INLINE void stream_line(Seam& seam, Scalar* out) {
    typename Conversion<Isa, Scalar>::Packed packed;
    for (Index j = 0; j < kLineSize; j += kLanes<Isa, Scalar>) {
      std::memcpy(&packed, seam.line() + j, sizeof packed);
      store_past_cache<Isa>(out + j, packed);
    }
  }

  // Columns [from, end) to `out` on, in vectors, the last one ending with them where it can. Shorter runs than a vector
  // write beyond: @pre to a seam, which has room.
  template <class Isa, class Row>
  TENSORNORM_INLINE void put_run(const Row& row, Index from, Index end, Scalar* out) const {
    constexpr int lanes = kLanes<Isa, T>;
    const Index last = (std::max)(end - lanes, Index{0});
    for (Index j = from; j < end; j += lanes) {
      const Index at = (std::min)(j, last);
      Vec<T, lanes> v;
      functor.value(row, FullVector<Isa>{at}, v);
      FullVector<Isa>{at - from}.store(out, v);
    }
  }

  // The lines at a row's end, where the next row may begin.
  TENSORNORM_INLINE void prefetch_ends(const Scalar* out) const {
    for (Index j = cols - kLineSize; j <= cols + kLineSize; j += kLineSize) __builtin_prefetch(out + j, 1);
  }

  // Lines of y where none go past the cache but none are in it: else each would be waited for (measured: runs of 49 to
  // 196 floats take 0.85 to 0.97 of the time).
  TENSORNORM_INLINE void prefetch_output(const Scalar* out) const {
    for (Index j = 0; j < cols; j += kLineSize) __builtin_prefetch(out + j + kWriteAhead / kCacheLine * kLineSize, 1);
  }

  template <bool past, class At, class V>
  static TENSORNORM_INLINE void store(const At& at, Scalar* out, const V& v) {
    if constexpr (past) {
      at.stream(out, v);
    } else {
      at.store(out, v);
    }
  }

  template <bool past, class Row, class At>
  TENSORNORM_INLINE void put(const Row& row, const At& at, Scalar* out) const {
    typename At::template Vector<T> v;
    functor.value(row, at, v);
    store<past>(at, out, v);
  }
};

// y[r][c] = functor(r, c) over a tile, whose rows lie `stride` apart from y on.
template <class Functor>
void map(const Functor& functor, const Tile& tile, typename Functor::Scalar* y, Index stride,
         const StoreMode& to = {}) {
  Map<Functor> kernel{functor, tile.rows, tile.cols, y, stride, to};
  kernel.to.streams = to.past_cache && kernel.has_lines();
  dispatch(kernel);
}

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
