// A program compiled with -ffast-math: statistics keep their digits, and NaN and infinity are noticed. Header-only, so
// that the passes have these flags too.
#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <tensornorm/tensornorm.hpp>

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm_test {
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN(), kInfinity = std::numeric_limits<double>::infinity();
}  // namespace tensornorm_test
TENSORNORM_IEEE_MATH_END

namespace tensornorm_test {
namespace {

using namespace tensornorm;
using core::is_finite;
using core::is_nan;
using Rows = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

#if !defined(__FAST_MATH__)
#error "compile this test with -ffast-math"
#endif

/// The row 1, 2, 3, 4 normalized.
constexpr float kOneToFour[] = {-1.3416408f, -0.4472136f, 0.4472136f, 1.3416408f};

Rows normalized(const Rows& x) {
  LayerNormOptions options;
  options.eps = 0;
  LayerNorm<float> norm({x.cols()}, options);
  Rows y;
  norm.forward(x, y);
  return y;
}

TEST(FastMath, RowsKeepTheirDigits) {
  for (const float scale : {1.0f, 1e30f, 1e-30f}) {
    for (const float offset : {0.0f, 1e5f}) {
      const bool was_rounded = offset > 0 && scale != 1.0f;  // x itself, to some 6e-3 of its deviation
      Rows x(1, 4);
      x << 1, 2, 3, 4;
      const Rows y = normalized(scale * (x.array() + offset).matrix());
      for (int i = 0; i < 4; ++i) EXPECT_NEAR(y(0, i), kOneToFour[i], was_rounded ? 2e-2 : 8e-7) << scale << ", " << i;
    }
  }
}

TEST(FastMath, LongRowsFarFrom0KeepTheirDigits) {
  Rows x(1, 4096);
  for (int i = 0; i < 4096; ++i) x(0, i) = 1e6f + float(i % 4);
  const Rows y = normalized(x);
  for (int i = 0; i < 4096; ++i) EXPECT_NEAR(y(0, i), kOneToFour[i % 4], 8e-7) << i;
}

TEST(FastMath, ColumnsFarFrom0KeepTheirDigits) {
  Rows x(400, 37), y, dx;
  for (int i = 0; i < 400; ++i) x.row(i).setConstant(1e6f + float(i % 4));
  BatchNormOptions options;
  options.eps = 0;
  BatchNorm<float> norm(37, options);
  norm.forward(x, y);
  for (int i = 0; i < 400; ++i) {
    for (int c = 0; c < 37; ++c) EXPECT_NEAR(y(i, c), kOneToFour[i % 4], 8e-7) << i << ", " << c;
  }
  norm.backward(x, Rows(Rows::Ones(400, 37)), dx);
  EXPECT_LT(dx.cwiseAbs().maxCoeff(), 1e-6);
}

TEST(FastMath, WhatIsNoNumberStaysInItsRow) {
  for (const double bad : {kNaN, kInfinity, -kInfinity}) {
    Rows x(3, 40);
    for (int i = 0; i < 120; ++i) x.data()[i] = float(i % 7);
    x(1, 11) = float(bad);
    const Rows y = normalized(x);
    for (int i = 0; i < 40; ++i) {
      EXPECT_TRUE(is_finite(y(0, i)) && is_nan(y(1, i)) && is_finite(y(2, i))) << bad << ", " << i;
    }
  }
}

TEST(FastMath, WhatIsNoNumberStaysInItsGroupOfWhitening) {
  for (const double bad : {kNaN, kInfinity}) {
    Eigen::MatrixXf x = Eigen::MatrixXf::Random(50, 4), y;
    x(7, 1) = float(bad);
    WhiteningOptions options;
    options.groups = 2;
    Whitening<float> norm(4, options);
    norm.forward(x, y);
    for (int i = 0; i < 50; ++i) EXPECT_TRUE(is_nan(y(i, 0)) && is_nan(y(i, 1)) && is_finite(y(i, 2))) << bad << i;
  }
}

TEST(FastMath, GradientsThatAreNotFiniteAreNotScaled) {
  for (const double bad : {kNaN, kInfinity, -kInfinity}) {
    Eigen::VectorXf g = Eigen::VectorXf::Constant(70, 2);
    g(33) = float(bad);
    EXPECT_THROW(clip_grad_norm(1.0, g), std::range_error);
    EXPECT_EQ(g(0), 2);
    const double norm = clip_grad_norm(1.0, ClipGradNormOptions{NormType::kTwo, false}, g);
    EXPECT_TRUE(is_nan(bad) ? is_nan(norm) : !is_finite(norm) && !is_nan(norm));
    EXPECT_EQ(g(69), 2);
  }
  Eigen::VectorXf g = Eigen::VectorXf::Constant(4, 2);
  EXPECT_EQ(clip_grad_norm(1.0, g), 4);
  EXPECT_EQ(g(3), 0.5f);
  clip_grad_value(kInfinity, g);
  EXPECT_EQ(g(3), 0.5f);
}

TEST(FastMath, ArgumentsThatAreNoNumbersAreRefused) {
  for (const double bad : {kNaN, kInfinity}) {
    LayerNormOptions options;
    options.eps = bad;
    EXPECT_THROW(LayerNorm<float>({4}, options), std::invalid_argument);
  }
  BatchNormOptions options;
  options.momentum = kNaN;
  EXPECT_THROW(BatchNorm<float>(4, options), std::invalid_argument);
  Eigen::VectorXf g = Eigen::VectorXf::Ones(4);
  EXPECT_THROW(clip_grad_norm(kNaN, g), std::invalid_argument);
  EXPECT_THROW(clip_grad_value(kNaN, g), std::invalid_argument);
  LayerNorm<float> norm(4);
  Rows y(2, 4);
  EXPECT_THROW(norm.forward(Rows(Rows::Random(2, 4)), then_clip(y, kNaN, 1)), std::invalid_argument);
  EXPECT_THROW(norm.forward(Rows(Rows::Random(2, 4)), then_clip(y, 0, kNaN)), std::invalid_argument);
}

}  // namespace
}  // namespace tensornorm_test
