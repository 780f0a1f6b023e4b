// The map of a tile: one loop for both shapes, since an operand knows itself whether it runs along the row.
#pragma once

#include "tensornorm/core/packet.hpp"

namespace tensornorm {
namespace core {

template <class Functor>
struct Map {
  using Scalar = typename Functor::Scalar;
  Functor functor;
  Index rows, cols;
  Scalar* y;
  Index stride;

  // y may be x: the last vector of a row, which overlaps its neighbour, is computed before that one is stored.
  template <class Isa>
  TENSORNORM_INLINE void run() const {
    constexpr int lanes = kLanes<Isa, ParamOf<Scalar>>;
    using V = Vec<ParamOf<Scalar>, lanes>;
    for (Index r = 0; r < rows; ++r) {
      typename Functor::template Row<V> row{};
      functor.template begin<Isa>(r, row);
      Scalar* out = y + r * stride;
      V last;
      if (cols < lanes) {
        const Some<Isa> some{0, static_cast<int>(cols)};
        functor.value(row, some, last);
        some.store(out, last);
        continue;
      }
      const Whole<Isa> end{cols - lanes};
      functor.value(row, end, last);
      Index j = 0;
      for (; j + 4 * lanes <= cols; j += 4 * lanes) {
        V y0, y1, y2, y3;
        functor.value(row, Whole<Isa>{j}, y0);
        functor.value(row, Whole<Isa>{j + lanes}, y1);
        functor.value(row, Whole<Isa>{j + 2 * lanes}, y2);
        functor.value(row, Whole<Isa>{j + 3 * lanes}, y3);
        Whole<Isa>{j}.store(out, y0);
        Whole<Isa>{j + lanes}.store(out, y1);
        Whole<Isa>{j + 2 * lanes}.store(out, y2);
        Whole<Isa>{j + 3 * lanes}.store(out, y3);
      }
      for (; j + lanes <= cols; j += lanes) {
        V y0;
        functor.value(row, Whole<Isa>{j}, y0);
        Whole<Isa>{j}.store(out, y0);
      }
      end.store(out, last);
    }
  }
};

// y[r][c] = functor(r, c) over a tile whose rows are `stride` elements apart.
template <class Functor>
void map(const Functor& functor, Index rows, Index cols, typename Functor::Scalar* y, Index stride) {
  run(Map<Functor>{functor, rows, cols, y, stride});
}

}  // namespace core
}  // namespace tensornorm
