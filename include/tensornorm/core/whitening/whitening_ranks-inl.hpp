// Bodies of whitening_ranks.hpp.
#pragma once

#include "tensornorm/core/compiled.hpp"
#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/kernel/rounding.hpp"
#include "tensornorm/core/whitening/whitening_ranks.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

TENSORNORM_BODY Index WhiteningRanks::merge(const AllGather& all_gather, Index n, WhiteningStatistics& s) {
  const Index doubles = of_forward(channels_, k_), of_channel = 2 + k_;
  double* to = messages_.mine() + 1;
  *to++ = static_cast<double>(n);
  for (Index c = 0; c < channels_; ++c) {
    *to++ = s.mean[c];
    *to++ = s.lo[c];
    for (Index j = 0; j < k_; ++j) *to++ = s.covariance(c, j);
  }
  messages_.gather(doubles, all_gather, "forward");

  Index total = 0;
  Vector step(k_);
  for (Index rank = 0; rank < messages_.size(); ++rank) {
    const double* const message = messages_.of(rank, doubles);
    const Index other = static_cast<Index>(message[1]);
    if (other == 0) continue;
    const double share = static_cast<double>(other) / static_cast<double>(total + other);
    const double weight = share * static_cast<double>(total) / static_cast<double>(total + other);
    for (Index from = 0; from < channels_; from += k_) {
      for (Index i = 0; i < k_; ++i) {
        const Index c = from + i;
        const double* const values = message + 2 + c * of_channel;
        if (total == 0) {
          s.mean[c] = values[0];
          s.lo[c] = values[1];
        }
        step[i] = (values[0] - s.mean[c]) + (values[1] - s.lo[c]);
        s.lo[c] += product(share, step[i]);
      }
      for (Index i = 0; i < k_; ++i) {
        const double* const values = message + 2 + (from + i) * of_channel + 2;
        for (Index j = 0; j < k_; ++j) {
          double& covariance = s.covariance(from + i, j);
          // Means of products: the first rank's as they are, so that of one rank no bit changes.
          if (total == 0) {
            covariance = values[j];
          } else {
            covariance += product(share, values[j] - covariance) + product(weight * step[i], step[j]);
          }
        }
      }
    }
    total += other;
  }
  check_that(total != 1, "batch statistics need more than 1 value per channel but the x of ", messages_.size(),
             " ranks have 1 in all for each of ", channels_, " channels");
  for (Index c = 0; c < channels_ && total > 0; ++c) {
    const double mean = s.mean[c] + s.lo[c];
    s.lo[c] = (s.mean[c] - mean) + s.lo[c];
    s.mean[c] = mean;
  }
  return total;
}

TENSORNORM_BODY void WhiteningRanks::add(const AllGather& all_gather, Eigen::ArrayXd* sum_dy, Matrix* products) {
  const Index doubles = of_backward(channels_, k_);
  double* to = messages_.mine() + 1;
  for (Index c = 0; c < channels_; ++c) {
    *to++ = sum_dy == nullptr ? 0 : (*sum_dy)[c];
    for (Index j = 0; j < k_; ++j) *to++ = products == nullptr ? 0 : (*products)(c, j);
  }
  messages_.gather(doubles, all_gather, "backward");
  if (sum_dy == nullptr) return;
  sum_dy->setZero();
  products->setZero();
  for (Index rank = 0; rank < messages_.size(); ++rank) {
    const double* from = messages_.of(rank, doubles) + 1;
    for (Index c = 0; c < channels_; ++c) {
      (*sum_dy)[c] += *from++;
      for (Index j = 0; j < k_; ++j) (*products)(c, j) += *from++;
    }
  }
}

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
