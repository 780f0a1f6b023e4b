// Functors of what is done to another functor's value before it is stored.
#pragma once

#include <limits>

#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/kernel/operand.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

// y = x.
template <class S>
struct Element {
  using Scalar = S;
  static constexpr int inputs = 1, by_column = 0;
  Rows<S> x;

  TENSORNORM_INLINE void prefetch(Index r, Index j) const { x.prefetch(r, j); }

  template <class V>
  using Row = RowOf<Rows<S>, V>;
  template <class Isa, class V>
  TENSORNORM_INLINE void begin(Index r, Row<V>& row) const {
    x.template begin<Isa>(r, row);
  }
  template <class V, class At>
  TENSORNORM_INLINE void value(const Row<V>& row, const At& at, V& y) const {
    row.get(at, y);
  }
};

// What becomes of a value and of z beside it.
struct TimesZ {
  template <class V>
  static TENSORNORM_INLINE void apply(V& value, const V& z) {
    value *= z;
  }
};
struct PlusZ {
  template <class V>
  static TENSORNORM_INLINE void apply(V& value, const V& z) {
    value = z + value;
  }
};

// y = Operation of value and z.
template <class Value, class Operation>
struct WithTensor {
  using Scalar = typename Value::Scalar;
  static constexpr int inputs = Value::inputs + 1, by_column = Value::by_column;
  static constexpr bool has_many_values = true;
  Value of;
  Rows<Scalar> z;

  TENSORNORM_INLINE void prefetch(Index r, Index j) const {
    of.prefetch(r, j);
    z.prefetch(r, j);
  }

  template <class V>
  struct Row {
    RowOf<Value, V> of;
    RowOf<Rows<Scalar>, V> z;
  };
  template <class Isa, class V>
  TENSORNORM_INLINE void begin(Index r, Row<V>& row) const {
    of.template begin<Isa>(r, row.of);
    z.template begin<Isa>(r, row.z);
  }
  template <class V, class At>
  TENSORNORM_INLINE void value(const Row<V>& row, const At& at, V& y) const {
    V other;
    of.value(row.of, at, y);
    row.z.get(at, other);
    Operation::apply(y, other);
  }
};
template <class Value>
using Gated = WithTensor<Value, TimesZ>;
template <class Value>
using Accumulated = WithTensor<Value, PlusZ>;

// Puts y between low and high; NaN, which compares with nothing, stays.
template <class V>
TENSORNORM_INLINE void clip(const V& low, const V& high, V& y) {
  y = y > high ? high : y;
  y = y < low ? low : y;
}

// y = value between low and high.
template <class Value>
struct Clipped {
  using Scalar = typename Value::Scalar;
  using Bound = PerRowOrAll<ParamOf<Scalar>>;
  static constexpr int inputs = 1, by_column = Value::by_column;
  static constexpr bool has_many_values = true;
  Value of;
  Bound low, high;

  TENSORNORM_INLINE void prefetch(Index r, Index j) const { of.prefetch(r, j); }

  template <class V>
  struct Row {
    RowOf<Value, V> of;
    RowOf<Bound, V> low, high;
  };
  template <class Isa, class V>
  TENSORNORM_INLINE void begin(Index r, Row<V>& row) const {
    of.template begin<Isa>(r, row.of);
    low.template begin<Isa>(r, row.low);
    high.template begin<Isa>(r, row.high);
  }
  template <class V, class At>
  TENSORNORM_INLINE void value(const Row<V>& row, const At& at, V& y) const {
    of.value(row.of, at, y);
    clip(row.low.value, row.high.value, y);
  }
};

// y = dy where value lies between low and high, else 0.
template <class Value>
struct ClipGradient {
  using Scalar = typename Value::Scalar;
  using Bound = PerRowOrAll<ParamOf<Scalar>>;
  static constexpr int inputs = 2, by_column = Value::by_column;
  static constexpr bool has_many_values = true;
  Value of;
  Bound low, high;
  Rows<Scalar> dy;

  TENSORNORM_INLINE void prefetch(Index r, Index j) const {
    of.prefetch(r, j);
    dy.prefetch(r, j);
  }

  template <class V>
  struct Row {
    RowOf<Value, V> of;
    RowOf<Bound, V> low, high;
    RowOf<Rows<Scalar>, V> dy;
  };
  template <class Isa, class V>
  TENSORNORM_INLINE void begin(Index r, Row<V>& row) const {
    of.template begin<Isa>(r, row.of);
    low.template begin<Isa>(r, row.low);
    high.template begin<Isa>(r, row.high);
    dy.template begin<Isa>(r, row.dy);
  }
  template <class V, class At>
  TENSORNORM_INLINE void value(const Row<V>& row, const At& at, V& y) const {
    // By the signs of the distances: GCC lowers a choice between vectors before it knows the instruction set. A NaN of
    // either sign is no distance. Adding the bits of a mantissa carries out of the sign of a negative NaN, and changes
    // the sign of no other negative number.
    using T = ParamOf<Scalar>;
    constexpr int lanes = sizeof(V) / sizeof(T), sign = 8 * sizeof(T) - 1;
    using Unsigned = std::make_unsigned_t<typename LaneMasks<T, lanes>::Int>;
    using Bits = Vec<Unsigned, lanes>;
    constexpr Unsigned mantissa = (Unsigned{1} << (std::numeric_limits<T>::digits - 1)) - 1;
    V v;
    of.value(row.of, at, v);
    row.dy.get(at, y);
    Bits above, below, bits;
    copy_bits(V(row.low.value - v), above);
    copy_bits(V(v - row.high.value), below);
    copy_bits(y, bits);
    bits &= 0 - ((above & (above + mantissa) & below & (below + mantissa)) >> sign);
    copy_bits(bits, y);
  }
};

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
