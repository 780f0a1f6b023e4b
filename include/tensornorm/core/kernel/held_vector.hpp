// HeldVector: a vector of each row, with its operands by column in registers.
#pragma once

#include <cassert>
#include <cstddef>
#include <type_traits>

#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/kernel/packet.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

// A place in a row, and what operands by column have there, read once for all rows. A functor reads n of them, in one
// order in every row.
template <class Isa, class V, int n>
class HeldVector {
 public:
  // Runs the functor on row 0 to read them, and drops the result.
  template <class Functor>
  TENSORNORM_INLINE HeldVector(const Functor& functor, const FullVector<Isa>& place) : at(place) {
    typename Functor::template Row<V> row{};
    functor.template begin<Isa>(0, row);
    V unused;
    const Place<V> reader{at, values_};
    functor.value(row, reader, unused);
    assert(reader.next == n);
  }

  const FullVector<Isa> at;

  // The place as functors see it. `Value` is V where the values by column are read, and const V once they are held.
  template <class Value>
  struct Place {
    const FullVector<Isa>& at;
    Value* values;
    mutable int next = 0;

    template <class Scalar>
    TENSORNORM_INLINE void load(const Scalar* row, V& v) const {
      at.load(row, v);
    }
    template <class Scalar>
    TENSORNORM_INLINE void load_by_column(const Scalar* row, V& v, Index mask = kEach) const {
      if constexpr (!std::is_const<Value>::value) at.load(row, values[next], mask);
      v = values[next++];
    }
  };
  TENSORNORM_INLINE Place<const V> place() const { return {at, values_}; }

 private:
  V values_[static_cast<std::size_t>(n)];
};

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
