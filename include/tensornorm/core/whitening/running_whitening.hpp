// RunningWhitening: what batches, or a fit, leave behind for inference by whitening.
#pragma once

#include <cstdint>
#include <cstring>
#include <optional>

#include "tensornorm/core/whitening/group_whitening.hpp"

namespace tensornorm {
namespace core {

// What a fit found, and what takes y back to x - mean.
struct FittedWhitening {
  Eigen::ArrayXd mean;
  Eigen::MatrixXd whitening;
  Matrix coloring;
};

struct RunningWhitening {
  Eigen::ArrayXd mean, lo;    // lo is 0
  Eigen::MatrixXd whitening;  // of the groups, below one another; the user's too, in Eigen's default order
  FittedWhitening fitted;     // by the last fit; of size 0 without
  std::int64_t num_batches_tracked = 0;

  // Until there is a batch, x is taken as it is.
  RunningWhitening(Index channels, Index k)
      : mean(Eigen::ArrayXd::Zero(channels)), lo(Eigen::ArrayXd::Zero(channels)),
        whitening(Eigen::MatrixXd::Identity(k, k).replicate(channels / k, 1)) {}

  // By a fit.
  RunningWhitening(const WhiteningStatistics& s, const Matrix& coloring)
      : mean(s.mean), lo(Eigen::ArrayXd::Zero(s.mean.size())),
        whitening(s.whitening), fitted{s.mean, s.whitening, coloring}, num_batches_tracked(1) {}

  SplitMean split_mean() const { return {mean.data(), lo.data()}; }

  // As RunningStatistics::update: nullopt is the cumulative average; weight 0 leaves a running value alone and 1
  // replaces it, NaN or not.
  void update(const WhiteningStatistics& batch, std::optional<double> momentum) {
    const double count = static_cast<double>(++num_batches_tracked);
    const double weight = momentum ? *momentum : 1 / count;
    if (!(weight > 0)) return;
    if (weight >= 1) {
      mean = batch.mean;
      whitening = batch.whitening;
      return;
    }
    mean += weight * (batch.mean - mean);
    whitening += weight * (batch.whitening - whitening);
  }

  // Whether these are still the statistics of the last fit, bit for bit: they can be assigned to.
  bool is_fitted() const { return same_bits(mean, fitted.mean) && same_bits(whitening, fitted.whitening); }

  WhiteningStatistics frozen() const {
    WhiteningStatistics s;
    s.mean = mean;
    s.lo = lo;
    s.whitening = whitening;
    return s;
  }

 private:
  template <class Dense>
  static bool same_bits(const Dense& a, const Dense& b) {
    return a.size() == b.size() &&
           std::memcmp(a.data(), b.data(), static_cast<std::size_t>(a.size()) * sizeof(double)) == 0;
  }
};

}  // namespace core
}  // namespace tensornorm
