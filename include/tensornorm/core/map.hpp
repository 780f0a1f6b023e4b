// The map of a tile: one loop for both shapes, since an operand knows itself whether it runs along the row.
//
// Outputs that the cache could not keep go past it: writing a line then costs no reading of it first. Only whole lines
// in long runs pay (measured: runs of 49 floats cost 8.7 copies so, plain stores 0.9).
#pragma once

#include "tensornorm/core/operand.hpp"
#include "tensornorm/core/walk.hpp"

namespace tensornorm {
namespace core {

constexpr Index kLongRun = 16 * kLine;

// What a core may hope to keep in its last-level cache. What the processor says of itself counts the caches of all
// cores, under a hypervisor those of the whole host.
constexpr Index kLastLevelCache = Index{32} << 20;

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
  Functor functor;
  Index rows, cols;
  Scalar* y;
  Index stride;
  Destination to;

  // In place, the last vector of a row, which overlaps its neighbour, is computed before that one is stored; else not,
  // as reading a row's end before its start throws prefetchers off.
  template <class Isa>
  TENSORNORM_INLINE void run() const {
    constexpr int lanes = kLanes<Isa, ParamOf<Scalar>>;
    using V = Vec<ParamOf<Scalar>, lanes>;
    const Map k = *this;  // in registers: what is stored below cannot change it
    const bool streams = k.to.past_cache && k.cols * static_cast<Index>(sizeof(Scalar)) >= kLongRun;
    for (Index r = 0; r < k.rows; ++r) {
      typename Functor::template Row<V> row{};
      k.functor.template begin<Isa>(r, row);
      Scalar* const out = k.y + r * k.stride;
      V last{};
      if (k.cols < lanes) {
        const Some<Isa> some{0, static_cast<int>(k.cols)};
        k.functor.value(row, some, last);
        some.store(out, last);
        continue;
      }
      const Whole<Isa> end{k.cols - lanes};
      if (k.to.in_place) k.functor.value(row, end, last);
      Index j = 0;
      if (streams) j = k.put_head<Isa, V>(row, out);
      if constexpr (Isa::unrolls) {
        for (; j + 4 * lanes <= k.cols; j += 4 * lanes) {
          V y0, y1, y2, y3;
          k.functor.value(row, Whole<Isa>{j}, y0);
          k.functor.value(row, Whole<Isa>{j, 1}, y1);
          k.functor.value(row, Whole<Isa>{j, 2}, y2);
          k.functor.value(row, Whole<Isa>{j, 3}, y3);
          if (streams) {
            if (k.to.ahead != 0) prefetch_lines<Scalar>(k.functor, r, j + k.to.ahead, 4 * lanes);
            Whole<Isa>{j}.stream(out, y0);
            Whole<Isa>{j, 1}.stream(out, y1);
            Whole<Isa>{j, 2}.stream(out, y2);
            Whole<Isa>{j, 3}.stream(out, y3);
          } else {
            Whole<Isa>{j}.store(out, y0);
            Whole<Isa>{j, 1}.store(out, y1);
            Whole<Isa>{j, 2}.store(out, y2);
            Whole<Isa>{j, 3}.store(out, y3);
          }
        }
      }
      for (; j + lanes <= k.cols; j += lanes) {
        V y0;
        k.functor.value(row, Whole<Isa>{j}, y0);
        if (streams && lanes * sizeof(Scalar) == kLine) {
          Whole<Isa>{j}.stream(out, y0);
        } else {
          Whole<Isa>{j}.store(out, y0);
        }
      }
      if (j == k.cols) continue;
      if (!k.to.in_place) k.functor.value(row, end, last);
      end.store(out, last);
    }
  }

 private:
  // The values before the first whole line, and where that begins.
  template <class Isa, class V, class Row>
  TENSORNORM_INLINE Index put_head(const Row& row, Scalar* out) const {
    constexpr Index size = static_cast<Index>(sizeof(Scalar));
    constexpr Index lanes = kLanes<Isa, ParamOf<Scalar>>;
    const Index head = (kLine - reinterpret_cast<std::intptr_t>(out) % kLine) % kLine / size;
    for (Index j = 0; j < head; j += lanes) {
      V v;
      functor.value(row, Whole<Isa>{j}, v);
      Some<Isa>{j, static_cast<int>((std::min)(lanes, head - j))}.store(out, v);
    }
    return head;
  }
};

// y[r][c] = functor(r, c) over a tile that lies in y as in the functor's tensors; y is the tensor itself.
template <class Functor>
void map(const Functor& functor, const Tile& tile, typename Functor::Scalar* y, const Destination& to = {}) {
  run(Map<Functor>{functor, tile.rows, tile.cols, y + tile.offset, tile.stride, to});
}

}  // namespace core
}  // namespace tensornorm
