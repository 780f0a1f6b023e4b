// RunningWhitening: what batches, or a fit, leave behind for inference by whitening.
#pragma once

#include <cstdint>
#include <optional>

#include "tensornorm/core/group_whitening.hpp"

namespace tensornorm {
namespace core {

struct RunningWhitening {
  Eigen::ArrayXd mean, lo;    // lo is 0
  Eigen::MatrixXd whitening;  // of the groups, below one another
  Eigen::MatrixXd coloring;   // of the last fit; of size 0 when these are not the statistics of a fit
  std::int64_t num_batches_tracked = 0;

  // Until there is a batch, x is taken as it is.
  RunningWhitening(Index channels, Index k)
      : mean(Eigen::ArrayXd::Zero(channels)), lo(Eigen::ArrayXd::Zero(channels)),
        whitening(Eigen::MatrixXd::Identity(k, k).replicate(channels / k, 1)) {}

  SplitMean split_mean() const { return {mean.data(), lo.data()}; }

  // As RunningStatistics::update: nullopt is the cumulative average; weight 0 leaves a running value alone and 1
  // replaces it, NaN or not.
  void update(const WhiteningStatistics& batch, std::optional<double> momentum) {
    const double count = static_cast<double>(++num_batches_tracked);
    const double weight = momentum ? *momentum : 1 / count;
    coloring.resize(0, 0);
    if (weight == 0) return;
    if (weight == 1) {
      mean = batch.mean;
      whitening = batch.whitening;
      return;
    }
    mean += weight * (batch.mean - mean);
    whitening += weight * (batch.whitening - whitening);
  }

  void replace(WhiteningStatistics& fitted, Eigen::MatrixXd& fitted_coloring) {
    mean.swap(fitted.mean);
    whitening.swap(fitted.whitening);
    coloring.swap(fitted_coloring);
    num_batches_tracked = 1;
  }

  WhiteningStatistics frozen() const {
    WhiteningStatistics s;
    s.mean = mean;
    s.lo = lo;
    s.whitening = whitening;
    return s;
  }
};

}  // namespace core
}  // namespace tensornorm
