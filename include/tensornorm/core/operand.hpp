// Operands of a tile: what a functor reads at a place in a row. `begin` takes a row's own values into registers.
#pragma once

#include "tensornorm/core/packet.hpp"

namespace tensornorm {
namespace core {

// A different value for each row of a tile, `stride` elements apart (0: one for all).
template <class T>
struct PerRow {
  const T* p;
  Index stride = 1;

  template <class V>
  struct Row {
    V value;
    template <class At>
    TENSORNORM_INLINE void get(const At&, V& v) const {
      v = value;
    }
  };
  template <class Isa, class V>
  TENSORNORM_INLINE void begin(Index r, Row<V>& row) const {
    Lower<Isa>::broadcast(p[r * stride], row.value);
  }
};

// A different value for each column, the same in every row.
template <class T>
struct PerColumn {
  const T* p;

  template <class V>
  struct Row {
    const T* p;
    template <class At>
    TENSORNORM_INLINE void get(const At& at, V& v) const {
      at.load(p, v);
    }
  };
  template <class Isa, class V>
  TENSORNORM_INLINE void begin(Index, Row<V>& row) const {
    row.p = p;
  }
};

// Rows of a tensor: x, dy.
template <class Scalar>
struct Rows {
  const Scalar* p;
  Index stride;

  template <class V>
  struct Row {
    const Scalar* p;
    template <class At>
    TENSORNORM_INLINE void get(const At& at, V& v) const {
      at.load(p, v);
    }
  };
  template <class Isa, class V>
  TENSORNORM_INLINE void begin(Index r, Row<V>& row) const {
    row.p = p + r * stride;
  }
};

template <class Operand, class V>
using RowOf = typename Operand::template Row<V>;

}  // namespace core
}  // namespace tensornorm
