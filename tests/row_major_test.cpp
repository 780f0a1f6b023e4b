// Whitening where Eigen's default order of matrices is the other one, EIGEN_DEFAULT_TO_ROW_MAJOR: against plain loops,
// for groups of few, some and many channels.
#include <gtest/gtest.h>

#include <tensornorm/whitening.hpp>

#include <cmath>
#include <string>

static_assert(Eigen::MatrixXd::IsRowMajor, "this test is compiled with EIGEN_DEFAULT_TO_ROW_MAJOR");

namespace {

using namespace tensornorm;
using Method = WhiteningMethod;
using Samples = Eigen::MatrixXd;

constexpr Index kPositions = 150;
const Index kGroupChannels[] = {1, 3, 12, 70};

WhiteningOptions options_of(Method method, double eps) {
  WhiteningOptions options;
  options.method = method;
  options.eps = eps;
  options.groups = 2;
  return options;
}

/// Correlated with their neighbours.
Samples samples_of(Index channels) {
  Samples x = Samples::Random(kPositions, channels);
  for (Index c = 1; c < channels; ++c) x.col(c) += 0.5 * x.col(c - 1);
  x.array() += 3;
  return x;
}

/// W (x - mean) of each group.
Samples whitened(const Samples& x, const Eigen::ArrayXd& mean, const Samples& w) {
  Samples y = Samples::Zero(x.rows(), x.cols());
  const Index k = w.cols();
  for (Index p = 0; p < x.rows(); ++p) {
    for (Index c = 0; c < x.cols(); ++c) {
      for (Index j = 0; j < k; ++j) y(p, c) += w(c, j) * (x(p, c / k * k + j) - mean[c / k * k + j]);
    }
  }
  return y;
}

double distance(const Samples& a, const Samples& b) { return (a - b).cwiseAbs().maxCoeff(); }

TEST(RowMajor, FitInferInverse) {
  for (const Method method : {Method::kZca, Method::kNewton, Method::kPca, Method::kCholesky}) {
    for (const Index k : kGroupChannels) {
      const std::string what = "method " + std::to_string(int(method)) + ", " + std::to_string(k) + " channels";
      const bool is_near = method == Method::kNewton;
      const Samples x = samples_of(2 * k);
      Whitening<double> layer(2 * k, options_of(method, 0));
      layer.fit(x);
      const Samples y = layer.infer(x);
      EXPECT_LE(distance(y, whitened(x, layer.running_mean(), layer.running_whitening())), 1e-10) << what;
      for (Index from = 0; from < 2 * k && !is_near; from += k) {
        const Samples group = y.middleCols(from, k), covariance = group.transpose() * group / kPositions;
        EXPECT_LE(distance(covariance, Samples::Identity(k, k)), 1e-9) << what;
      }
      EXPECT_LE(distance(layer.inverse(y), x), 1e-8) << what;
      Samples in_place = x;
      layer.infer(in_place, in_place);
      EXPECT_EQ(distance(in_place, y), 0) << what;
    }
  }
}

/// dx and dgamma against the slope along a direction.
TEST(RowMajor, Gradients) {
  for (const Method method : {Method::kZca, Method::kNewton}) {
    for (const Index k : kGroupChannels) {
      for (const bool trains : {true, false}) {
        const Samples x = samples_of(2 * k), dy = Samples::Random(kPositions, 2 * k);
        const Samples direction = Samples::Random(kPositions, 2 * k);
        Whitening<double> layer(2 * k, options_of(method, 1e-2));
        layer.fit(x);
        if (!trains) {
          layer.running_whitening() += 0.1 * Samples::Random(2 * k, k);
          layer.eval();
        }
        layer.gamma().setRandom();
        Samples y = x, dx = x;
        const auto loss = [&](const Samples& at) {
          layer.forward(at, y);
          return y.cwiseProduct(dy).sum();
        };
        constexpr double kStep = 1e-5;
        const double slope = (loss(x + kStep * direction) - loss(x - kStep * direction)) / (2 * kStep);
        loss(x);
        layer.backward(x, dy, dx);
        const double scale = dx.cwiseProduct(direction).norm();
        EXPECT_NEAR(dx.cwiseProduct(direction).sum(), slope, 1e-5 * scale) << k << " channels";
        const Samples z = y.array().rowwise() / layer.gamma().transpose();
        for (Index c = 0; c < 2 * k; ++c) {
          EXPECT_NEAR(layer.dgamma()[c], z.col(c).dot(dy.col(c)), 1e-9 * dy.norm() * z.norm()) << k << " channels";
        }
      }
    }
  }
}

}  // namespace
