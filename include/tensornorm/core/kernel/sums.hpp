// What both shapes of a reduction sum.
#pragma once

#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/kernel/operand.hpp"
#include "tensornorm/core/plan/partition.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

// No float accumulator takes many more adds than this before its lanes go to double: the squares of quantized data
// round with a bias (worst error of y: 32 adds 7e-7, 64 adds 1e-6, 256 adds 3.5e-6).
constexpr Index kFloatAdds = Partition::kFloatAdds;

template <class V>
struct Sums {
  V p{}, pq{};

  TENSORNORM_INLINE void add(const V& a, const V& b) {
    V ab;
    multiply(a, b, ab);
    p += a;
    pq += ab;
  }
  TENSORNORM_INLINE void add(const Sums& other) {
    p += other.p;
    pq += other.pq;
  }
};

// to[i] = the sum of n rows of doubles, rounded once.
template <class T>
struct RoundSums {
  const double* sums;
  Index n, stride, count;
  T* to;

  template <class Isa>
  bool fills() const {
    return fill_vectors<Isa, T>(count);
  }

  template <class Isa>
  TENSORNORM_INLINE void run() const {
    constexpr int lanes = kLanes<Isa, T>;
    Index i = 0;
    for (; i + lanes <= count; i += lanes) {
      Vec<T, lanes> rounded;
      if constexpr (std::is_same<T, double>::value) {
        add<lanes>(i, rounded);
      } else {
        Vec<double, lanes / 2> low, high;
        add<lanes / 2>(i, low);
        add<lanes / 2>(i + lanes / 2, high);
        VectorOps<Isa>::narrow(low, high, rounded);
      }
      std::memcpy(to + i, &rounded, sizeof rounded);
    }
    for (; i < count; ++i) {
      double sum = sums[i];
      for (Index r = 1; r < n; ++r) sum += sums[r * stride + i];
      to[i] = static_cast<T>(sum);
    }
  }

 private:
  template <int lanes>
  TENSORNORM_INLINE void add(Index i, Vec<double, lanes>& sum) const {
    std::memcpy(&sum, sums + i, sizeof sum);
    for (Index r = 1; r < n; ++r) {
      Vec<double, lanes> v;
      std::memcpy(&v, sums + r * stride + i, sizeof v);
      sum += v;
    }
  }
};

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
