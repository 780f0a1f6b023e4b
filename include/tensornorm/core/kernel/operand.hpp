// Operands of a tile: what a functor reads at a place in a row. `begin` takes a row's own values into registers.
// `by_column`: how often an operand or a functor calls load_by_column at a place, always in one order.
#pragma once

#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/kernel/packet.hpp"
#include "tensornorm/core/memory.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

// Lanes of the four vectors that a loop takes at once, at most.
constexpr int kMostLanes = 4 * 64 / static_cast<int>(sizeof(float));

// A value for each row of a tile.
template <class T>
struct PerRow {
  static constexpr int by_column = 0;
  const T* p;

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
    VectorOps<Isa>::broadcast(static_cast<const LaneOf<T>&>(p[r]), row.value);
  }
};

// The same, or one value for all rows (`mask` is kNone).
template <class T>
struct PerRowOrAll {
  static constexpr int by_column = 0;
  const T* p;
  Index mask = kEach;

  template <class V>
  using Row = typename PerRow<T>::template Row<V>;

  template <class Isa, class V>
  TENSORNORM_INLINE void begin(Index r, Row<V>& row) const {
    VectorOps<Isa>::broadcast(p[r & mask], row.value);
  }
};

// A value for each column, the same in every row.
template <class T>
struct PerColumn {
  static constexpr int by_column = 1;
  const T* p;

  template <class V>
  struct Row {
    const T* p;
    template <class At>
    TENSORNORM_INLINE void get(const At& at, V& v) const {
      at.load_by_column(p, v);
    }
  };
  template <class Isa, class V>
  TENSORNORM_INLINE void begin(Index, Row<V>& row) const {
    row.p = p;
  }
};

// The same, or one value for all columns (`mask` is kNone), which p then holds kMostLanes times.
template <class T>
struct PerColumnOrAll {
  static constexpr int by_column = 1;
  const T* p;
  Index mask = kEach;

  template <class V>
  struct Row {
    const T* p;
    Index mask;
    template <class At>
    TENSORNORM_INLINE void get(const At& at, V& v) const {
      at.load_by_column(p, v, mask);
    }
  };
  template <class Isa, class V>
  TENSORNORM_INLINE void begin(Index, Row<V>& row) const {
    row = {p, mask};
  }
};

template <class T>
struct Constant {
  alignas(64) T values[kMostLanes];
  explicit constexpr Constant(T value) : values() {
    for (T& v : values) v = value;
  }
};
template <class T>
inline constexpr Constant<T> kZero{T(0)};
template <class T>
inline constexpr Constant<T> kMinusZero{T(-0.0)};
template <class T>
inline constexpr Constant<T> kOne{T(1)};

// What a null array of parameters stands for, in either shape.
template <class T>
constexpr PerColumnOrAll<T> every_column(const Constant<T>& constant) {
  return {constant.values, kNone};
}
template <class T>
constexpr PerRowOrAll<T> every_row(const Constant<T>& constant) {
  return {constant.values, kNone};
}

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
  // Prefetches the line that holds element (r, j), which need not exist. Always inlined, here and in the
  // functors: GCC drops calls of a function that does nothing else.
  TENSORNORM_INLINE void prefetch(Index r, Index j) const { __builtin_prefetch(p + r * stride + j); }
};

// Prefetches the lines that hold n elements from (r, j) on.
template <class Scalar, class Functor>
TENSORNORM_INLINE void prefetch_lines(const Functor& functor, Index r, Index j, Index n) {
  for (Index i = 0; i < n; i += kCacheLine / static_cast<Index>(sizeof(Scalar))) functor.prefetch(r, j + i);
}

template <class Operand, class V>
using RowOf = typename Operand::template Row<V>;

// x and one operand.
template <class S, class Operand>
struct WithOperand {
  using Scalar = S;
  static constexpr int inputs = 1, by_column = Operand::by_column;
  static constexpr bool has_many_values = false;
  Rows<S> x;
  Operand operand;

  TENSORNORM_INLINE void prefetch(Index r, Index j) const { x.prefetch(r, j); }

  template <class V>
  struct Row {
    RowOf<Rows<S>, V> x;
    RowOf<Operand, V> operand;
  };
  template <class Isa, class V>
  TENSORNORM_INLINE void begin(Index r, Row<V>& row) const {
    x.template begin<Isa>(r, row.x);
    operand.template begin<Isa>(r, row.operand);
  }
};

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
