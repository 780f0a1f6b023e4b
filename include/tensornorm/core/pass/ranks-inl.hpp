// Bodies of ranks.hpp.
#pragma once

#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/kernel/finish_sums.hpp"
#include "tensornorm/core/pass/ranks.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

template <class T>
void Ranks<T>::merge(const AllGather& all_gather, double eps, bool allows_one) {
  double* to = messages_.mine() + 1;
  *to++ = static_cast<double>(values());
  for (const Moments& m : moments_) {
    for (const double value : {m.estimate, m.correction, m.m2, m.m2_lo}) *to++ = value;
  }
  messages_.gather(of_forward(channels_), all_gather, "forward");
  std::fill_n(moments(), channels_, Moments{});
  for (Index rank = 0; rank < messages_.size(); ++rank) {
    for (Index c = 0; c < channels_; ++c) moments()[c] = core::merge(moments()[c], received(rank, c));
  }
  check_that(values() != 1 || allows_one, "batch statistics need more than 1 value per channel but the x of ",
             messages_.size(), " ranks have 1 in all for each of ", channels_, " channels");
  for (std::size_t c = 0; c < moments_.size() && values() > 0; ++c) {
    const Moments& m = moments_[c];
    Statistic<T> s = finish<T>(m, quotient(DoubleDouble{m.m2, m.m2_lo}, static_cast<double>(m.n)), eps);
    round_ties_up(m, s);
    hi_[c] = s.hi;
    lo_[c] = s.lo;
    rstd_[c] = s.rstd;
    m2_[c] = m.m2;
  }
}

template <class T>
void Ranks<T>::add(const AllGather& all_gather, double* sum_g, double* sum_gx) {
  const Index n = of_backward(channels_);
  double* to = messages_.mine() + 1;
  for (Index c = 0; c < channels_; ++c) {
    for (const double* const sums : {sum_g, sum_gx}) *to++ = sums == nullptr ? 0 : sums[c];
  }
  messages_.gather(n, all_gather, "backward");
  for (Index c = 0; c < channels_ && sum_g != nullptr; ++c) {
    sum_g[c] = sum_gx[c] = 0;
    for (Index rank = 0; rank < messages_.size(); ++rank) {
      const double* const sums = messages_.of(rank, n) + 1 + 2 * c;
      sum_g[c] += sums[0];
      sum_gx[c] += sums[1];
    }
  }
}

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
