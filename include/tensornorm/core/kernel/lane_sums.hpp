// LaneSums: sums over positions for groups of fewer channels than a vector has lanes, the positions side by side.
#pragma once

#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/kernel/packet.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

// to[i + j * k] += the sum over positions of a_i * b_j, for all of k channels or, for a lower triangle, i >= j alone;
// without a b, to[i] += that of a_i. A channel's positions lie side by side, `stride` from those of the next.
struct LaneSums {
  const double *a, *b;
  Index stride, k, positions;  // @pre positions is a multiple of any vector's lanes
  double* to;
  bool is_lower = false;

  template <class Isa>
  bool fills() const {
    return true;
  }

  // In four lanes, of one vector or two: see dispatch_to_avx2.
  template <class Isa>
  TENSORNORM_INLINE void run() const {
    constexpr int lanes = kLanes<Isa, double>;
    static_assert(lanes <= 4, "tensornorm: more lanes would be another order of sums");
    for (Index j = 0; j < (b == nullptr ? 1 : k); ++j) {
      for (Index i = is_lower ? j : 0; i < k; ++i) {
        Vec<double, lanes> sum{};
        const double *const p = a + i * stride, *const q = b + j * stride;
        add_every_fourth<Isa>(p, q, 0, sum);
        if constexpr (lanes == 2) {
          Vec<double, lanes> high{};
          add_every_fourth<Isa>(p, q, lanes, high);
          sum += high;
        }
        to[i + j * k] += sum_lanes<double, lanes>(sum);
      }
    }
  }

 private:
  template <class Isa, class V>
  TENSORNORM_INLINE void add_every_fourth(const double* p, const double* q, Index first, V& sum) const {
    for (Index r = first; r < positions; r += 4) {
      V v, w;
      std::memcpy(&v, p + r, sizeof v);
      if (b != nullptr) {
        std::memcpy(&w, q + r, sizeof w);
        multiply(v, w, v);
      }
      sum += v;
    }
  }
};

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
