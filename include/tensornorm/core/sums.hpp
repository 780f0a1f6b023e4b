// What both shapes of a reduction sum.
#pragma once

#include "tensornorm/core/operand.hpp"
#include "tensornorm/core/walk.hpp"

namespace tensornorm {
namespace core {

// No float accumulator takes many more adds than this before its lanes go to double: the squares of quantized data
// round with a bias (worst error of y: 32 adds 7e-7, 64 adds 1e-6, 256 adds 3.5e-6).
constexpr Index kFloatAdds = 16;

template <class V>
struct Sums {
  V p{}, pq{};

  TENSORNORM_INLINE void add(const V& a, const V& b) {
    p += a;
    pq += a * b;
  }
  TENSORNORM_INLINE void add(const Sums& other) {
    p += other.p;
    pq += other.pq;
  }
};

}  // namespace core
}  // namespace tensornorm
