// What whitening finds of a batch, and what batches leave behind for inference.
#pragma once

#include <Eigen/Core>
#include <cstdint>
#include <cstring>
#include <optional>

#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/matrix.hpp"
#include "tensornorm/core/plan/axis.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {

/// Which W a Whitening uses, of the many with W Sigma W^T = I.
enum class WhiteningMethod {
  kZca,       ///< Sigma^(-1/2): symmetric, y stays closest to x.
  kNewton,    ///< Sigma^(-1/2) by a few iterations of Newton, not to convergence.
  kPca,       ///< Rows are principal directions, largest variance first, largest entry positive. For fit alone.
  kCholesky,  ///< Lower triangular: a channel of y is made of x's channels up to it. For fit alone.
};

/// Options of Whitening.
/// @headerfile whitening.hpp tensornorm/whitening.hpp
struct WhiteningOptions {
  WhiteningMethod method = WhiteningMethod::kZca;  ///< Which W.
  double eps = 1e-5;                               ///< Added to the diagonal of the covariance; 0 is allowed.
  Index groups = 1;                                ///< Groups of neighbouring channels; each is whitened by itself.
  int iterations = 5;                              ///< Iterations of kNewton.
  std::optional<double> momentum = 0.1;            ///< As BatchNormOptions::momentum.
  bool affine = true;                              ///< Whether there are gamma and beta.
  Index channel_axis = 1;                          ///< The axis of the channels; negative: from the end.
};

namespace core {

// A mean as hi + lo, by channel.
struct SplitMean {
  const double *hi, *lo;

  double centred(double x, Index c) const { return (x - hi[c]) - lo[c]; }
};

// How the groups' matrices are found.
struct WhiteningRule {
  WhiteningMethod method;
  Index k;  // channels of a group
  double eps;
  int iterations;
  double least;  // see least_variance

  bool trains() const { return method == WhiteningMethod::kZca || method == WhiteningMethod::kNewton; }
};

// What a pass over x leaves for the passes that follow: the mean as mean + lo, by channel, and the groups' matrices
// below one another, (channels, group_channels). `whitening` is the user's to read: in Eigen's default order.
struct WhiteningStatistics {
  Eigen::ArrayXd mean, lo;
  Eigen::MatrixXd whitening;
  Matrix covariance;  // with eps on its diagonal
  Matrix vectors;     // of kZca: see Spectrum
  Vector deviations;

  WhiteningStatistics() = default;
  WhiteningStatistics(Index channels, Index k)
      : mean(channels), lo(channels), whitening(channels, k), covariance(channels, k), vectors(channels, k),
        deviations(channels) {}

  SplitMean split_mean() const { return {mean.data(), lo.data()}; }
};

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
TENSORNORM_IEEE_MATH_END
