// Bodies of ranks.hpp.
#pragma once

#include "tensornorm/core/kernel/finish_sums.hpp"
#include "tensornorm/core/pass/ranks.hpp"

namespace tensornorm {
namespace core {

template <class T>
void Ranks<T>::merge(const AllGather& all_gather, double eps, bool allows_one) {
  double* to = messages_.mine();
  for (const Moments& m : moments_) {
    for (const double value : {0.0, static_cast<double>(m.n), m.estimate, m.correction, m.m2}) *to++ = value;
  }
  messages_.gather(channels_ * kOfForward, all_gather, "forward");
  for (Index c = 0; c < channels_; ++c) {
    Moments& m = moments_[static_cast<std::size_t>(c)];
    m = received(0, c);
    for (Index rank = 1; rank < messages_.size(); ++rank) m = core::merge(m, received(rank, c));
  }
  check_that(values() != 1 || allows_one, "batch statistics need more than 1 value per channel but the x of ",
             messages_.size(), " ranks have 1 in all for each of ", channels_, " channels");
  for (std::size_t c = 0; c < moments_.size() && values() > 0; ++c) {
    const double var = product(moments_[c].m2, 1 / static_cast<double>(moments_[c].n));
    const Statistic<T> s = finish<T>(moments_[c], var, eps);
    hi_[c] = s.hi;
    lo_[c] = s.lo;
    rstd_[c] = s.rstd;
    m2_[c] = moments_[c].m2;
  }
}

template <class T>
void Ranks<T>::add(const AllGather& all_gather, double* sum_g, double* sum_gx) {
  const Index n = channels_ * kOfBackward;
  double* to = messages_.mine();
  for (Index c = 0; c < channels_; ++c) {
    for (const double value : {0.0, sum_g == nullptr ? 0 : sum_g[c], sum_gx == nullptr ? 0 : sum_gx[c]}) *to++ = value;
  }
  messages_.gather(n, all_gather, "backward");
  for (Index c = 0; c < channels_ && sum_g != nullptr; ++c) {
    sum_g[c] = sum_gx[c] = 0;
    for (Index rank = 0; rank < messages_.size(); ++rank) {
      const double* const sums = messages_.of(rank, n) + c * kOfBackward;
      sum_g[c] += sums[1];
      sum_gx[c] += sums[2];
    }
  }
}

}  // namespace core
}  // namespace tensornorm
