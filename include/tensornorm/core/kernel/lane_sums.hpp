// LaneSums: sums over positions for groups of fewer channels than a vector has lanes, the positions side by side.
#pragma once

#include "tensornorm/core/kernel/packet.hpp"

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

  template <class Isa>
  TENSORNORM_INLINE void run() const {
    for (Index j = 0; j < (b == nullptr ? 1 : k); ++j) {
      for (Index i = is_lower ? j : 0; i < k; ++i) {
        Vec<double, kLanes<Isa, double>> sum{};
        const double *p = a + i * stride, *q = b + j * stride;
        if (b == nullptr) {
          add<Isa>(p, sum);
        } else {
          add_product<Isa>(p, q, sum);
        }
        to[i + j * k] += sum_lanes<double, kLanes<Isa, double>>(sum);
      }
    }
  }

 private:
  template <class Isa, class V>
  TENSORNORM_INLINE void add(const double* p, V& sum) const {
    for (Index r = 0; r < positions; r += kLanes<Isa, double>) {
      V v;
      std::memcpy(&v, p + r, sizeof v);
      sum += v;
    }
  }
  template <class Isa, class V>
  TENSORNORM_INLINE void add_product(const double* p, const double* q, V& sum) const {
    for (Index r = 0; r < positions; r += kLanes<Isa, double>) {
      V v, w;
      std::memcpy(&v, p + r, sizeof v);
      std::memcpy(&w, q + r, sizeof w);
      sum += v * w;
    }
  }
};

}  // namespace core
}  // namespace tensornorm
