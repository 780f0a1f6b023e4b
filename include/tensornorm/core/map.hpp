// The map of a tile: one loop for both shapes, since an operand knows itself whether it runs along the row.
//
// Outputs that the cache could not keep go past it: writing a line then costs no reading of it first. Only whole lines
// pay, in long runs or where no run has others (measured: runs of 49 floats cost 8.7 copies so, plain stores 0.9). A
// vector of 16-bit numbers is half as wide as the sums it comes from: 1.1 times as slow past the cache as into it.
#pragma once

#include "tensornorm/core/operand.hpp"
#include "tensornorm/core/walk.hpp"

namespace tensornorm {
namespace core {

constexpr Index kLongRun = 16 * kLine;

// What a core may hope to keep in its last-level cache. What the processor says of itself counts the caches of all
// cores, under a hypervisor those of the whole host.
constexpr Index kLastLevelCache = Index{16} << 20;

// Bytes from where a map writes to the lines it asks for.
constexpr Index kWriteAhead = 2 << 10;

// Where a map's values go: into the cache or past it, perhaps in place of an operand; and how far ahead, in elements,
// it asks for its operands.
struct Destination {
  bool past_cache = false, in_place = true;
  Index ahead = 0;
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
  Destination to;

  template <class Isa>
  bool fills() const {
    return fill_vectors<Isa, T>(cols);
  }

  template <class Isa>
  TENSORNORM_INLINE void run() const {
    const Map k = *this;  // in registers: what is stored below cannot change it
    if constexpr (Isa::unrolls && sizeof(Scalar) > 2) {
      if (k.to.past_cache && k.has_lines()) return k.put_rows<Isa, true>();
    }
    k.put_rows<Isa, false>();
  }

 private:
  // Whether the rows of y are long, or whole lines from end to end.
  bool has_lines() const {
    constexpr Index size = sizeof(Scalar);
    return cols * size >= kLongRun || (cols * size % kLine == 0 && stride * size % kLine == 0 && head_of(y) == 0);
  }

  template <class Isa, bool streams>
  TENSORNORM_INLINE void put_rows() const {
    constexpr int lanes = kLanes<Isa, T>;
    for (Index r = 0; r < rows; ++r) {
      typename Functor::template Row<Vec<T, lanes>> row{};
      functor.template begin<Isa>(r, row);
      Scalar* const out = y + r * stride;
      if constexpr (Isa::is_baseline) {
        if (cols < lanes) {
          put(row, Some<Isa>{0, static_cast<int>(cols)}, out);
          continue;
        }
      }
      put_row<Isa, streams>(r, row, out);
    }
  }

  // A row's last vector overlaps the one before. In place it is computed before that one is stored; else not, as
  // reading a row's end before its start throws prefetchers off.
  template <class Isa, bool streams, class Row>
  TENSORNORM_INLINE void put_row(Index r, const Row& row, Scalar* out) const {
    constexpr int lanes = kLanes<Isa, T>;
    using V = Vec<T, lanes>;
    const Whole<Isa> end{cols - lanes};
    V last{};
    Index j = 0, stop = cols;
    if constexpr (streams) {  // never in place
      const Lines lines = lines_of<lanes>(out);
      if (lines.end != cols) prefetch_ends(out);
      for (; j + lanes <= lines.begin; j += lanes) put(row, Whole<Isa>{j}, out);
      if (j < lines.begin) put(row, Whole<Isa>{lines.begin - lanes}, out);
      j = lines.begin;
      stop = lines.end;
    } else {
      if (to.past_cache) prefetch_output(out);
      if (to.in_place && cols % lanes != 0) functor.value(row, end, last);
    }
    if constexpr (Isa::unrolls) {
      for (; j + 4 * lanes <= stop; j += 4 * lanes) {
        V y0, y1, y2, y3;
        functor.value(row, Whole<Isa>{j}, y0);
        functor.value(row, Whole<Isa>{j, 1}, y1);
        functor.value(row, Whole<Isa>{j, 2}, y2);
        functor.value(row, Whole<Isa>{j, 3}, y3);
        if (to.ahead != 0) prefetch_lines<Scalar>(functor, r, j + to.ahead, 4 * lanes);
        store<streams>(Whole<Isa>{j}, out, y0);
        store<streams>(Whole<Isa>{j, 1}, out, y1);
        store<streams>(Whole<Isa>{j, 2}, out, y2);
        store<streams>(Whole<Isa>{j, 3}, out, y3);
      }
    }
    if (to.ahead != 0) prefetch_lines<Scalar>(functor, r, j + to.ahead, cols - j);
    for (; j + lanes <= stop; j += lanes) {
      V v;
      functor.value(row, Whole<Isa>{j}, v);
      store<streams>(Whole<Isa>{j}, out, v);
    }
    if constexpr (streams) {
      for (; j + lanes <= cols; j += lanes) put(row, Whole<Isa>{j}, out);
    }
    if (j == cols) return;
    if (streams || !to.in_place) functor.value(row, end, last);
    end.store(out, last);
  }

  // The part of a row that goes past the cache: whole lines, none of which a vector at either end touches (measured:
  // lines written both ways cost rows of 777 floats half their speed).
  struct Lines {
    Index begin, end;
  };
  template <int lanes>
  TENSORNORM_INLINE Lines lines_of(const Scalar* out) const {
    constexpr Index line = kLine / static_cast<Index>(sizeof(Scalar));
    const Index head = head_of(out), tail = (cols - head) % line;
    return {head > 0 && head < lanes ? head + line : head, cols - tail - (tail > 0 && tail < lanes ? line : 0)};
  }

  // The lines at a row's end, where the next row begins.
  TENSORNORM_INLINE void prefetch_ends(const Scalar* out) const {
    constexpr Index line = kLine / static_cast<Index>(sizeof(Scalar));
    for (Index j = cols - line; j <= cols + line; j += line) __builtin_prefetch(out + j, 1);
  }

  // Lines of y where none go past the cache but none are in it: else each would be waited for (measured: runs of 49 to
  // 196 floats take 0.85 to 0.97 of the time).
  TENSORNORM_INLINE void prefetch_output(const Scalar* out) const {
    constexpr Index line = kLine / static_cast<Index>(sizeof(Scalar));
    for (Index j = 0; j < cols; j += line) __builtin_prefetch(out + j + kWriteAhead / kLine * line, 1);
  }

  template <bool streams, class At, class V>
  static TENSORNORM_INLINE void store(const At& at, Scalar* out, const V& v) {
    if constexpr (streams) {
      at.stream(out, v);
    } else {
      at.store(out, v);
    }
  }

  template <class Row, class At>
  TENSORNORM_INLINE void put(const Row& row, const At& at, Scalar* out) const {
    typename At::template Vector<T> v;
    functor.value(row, at, v);
    at.store(out, v);
  }

  // Elements before the first whole line.
  static TENSORNORM_INLINE Index head_of(const Scalar* out) {
    const auto address = reinterpret_cast<std::uintptr_t>(out);
    return static_cast<Index>(-address % kLine / sizeof(Scalar));
  }
};

// y[r][c] = functor(r, c) over a tile that lies in y as in the functor's tensors; y is the tensor itself.
template <class Functor>
void map(const Functor& functor, const Tile& tile, typename Functor::Scalar* y, const Destination& to = {}) {
  run(Map<Functor>{functor, tile.rows, tile.cols, y + tile.offset, tile.stride, to});
}

}  // namespace core
}  // namespace tensornorm
