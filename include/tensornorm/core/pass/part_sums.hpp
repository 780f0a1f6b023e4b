// PartSums: the sums of the parts of a block's lines.
#pragma once

#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/plan/axis.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

// The sums of the parts of a block's lines, to be added in order.
class PartSums {
 public:
  // In memory for doubles(parts, bins).
  PartSums(double* memory, Index parts, Index bins) : bins_(bins), p_(memory), pq_(memory + parts * bins) {}

  static constexpr Index doubles(Index parts, Index bins) { return 2 * parts * bins; }

  // Those of the bins from `first` on, with zeros for n of them.
  double* clear_p(Index part, Index first, Index n) { return cleared(p_ + part * bins_ + first, n); }
  double* clear_pq(Index part, Index first, Index n) { return cleared(pq_ + part * bins_ + first, n); }

  const double* p(Index part) const { return p_ + part * bins_; }
  const double* pq(Index part) const { return pq_ + part * bins_; }

  void add_to(Index parts, double* p, double* pq) const {
    for (Index part = 0; part < parts; ++part) {
      for (Index i = 0; i < bins_; ++i) p[i] += p_[part * bins_ + i];
      for (Index i = 0; i < bins_; ++i) pq[i] += pq_[part * bins_ + i];
    }
  }

 private:
  static double* cleared(double* sums, Index n) {
    std::fill_n(sums, n, 0.0);
    return sums;
  }

  Index bins_;
  double *p_, *pq_;
};

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
