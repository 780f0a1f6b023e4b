// The tutorial's worked example, number by number: normalize [1, 2, 3, 4].
//
//   mean      (1 + 2 + 3 + 4) / 4                              =  2.5
//   variance  (1.5^2 + 0.5^2 + 0.5^2 + 1.5^2) / 4              =  1.25        population: divided by n, not n - 1
//   x_hat     (x - 2.5) / sqrt(1.25)                           = [-1.342, -0.447, 0.447, 1.342]
//   y         2 x_hat + 1, gamma = 2, beta = 1                 = [-1.683,  0.106, 1.894, 3.683]
//
// The tutorial prints x_hat = [-1.118, -0.447, 0.447, 1.118] and y = [-1.236, 0.106, 1.894, 3.236]. Its outer values
// are misprints: 1.118 is sqrt(1.25), the divisor, not 1.5 / sqrt(1.25) = 1.342; 3.236 = 2 * 1.118 + 1 follows from it.
// Its x_hat would have variance 0.725 instead of 1. The inner values, the mean and the variance are right.
#include <cmath>
#include <cstdio>
#include <string>

#include <gtest/gtest.h>

#include <tensornorm/tensornorm.hpp>

#include "oracle.hpp"

using namespace tensornorm;
using namespace tensornorm_test;

namespace {

const Values kX = {1, 2, 3, 4};
const Values kXhat = {-1.5 / std::sqrt(1.25), -0.5 / std::sqrt(1.25), 0.5 / std::sqrt(1.25), 1.5 / std::sqrt(1.25)};
const Values kY = {2 * kXhat[0] + 1, 2 * kXhat[1] + 1, 2 * kXhat[2] + 1, 2 * kXhat[3] + 1};

std::string printed(const Values& values) {
  std::string line;
  for (const double v : values) {
    char text[32];
    std::snprintf(text, sizeof text, "%s%.3f", line.empty() ? "" : ", ", std::round(v * 1000) / 1000 + 0.0);  // no -0
    line += text;
  }
  return line;
}

/// What the arithmetic may be off near values of 4, and the one rounding of a 16-bit result.
template <class Scalar>
constexpr double kTolerance = std::is_same_v<Scalar, double>        ? 2e-15
                              : std::is_same_v<Scalar, float>       ? 1e-6
                              : std::is_same_v<Scalar, Eigen::half> ? 0.001 + 1e-6
                                                                    : 0.008 + 1e-6;

template <class Scalar>
void expect_near(const Values& got, const Values& want, const std::string& what) {
  ASSERT_EQ(got.size(), want.size()) << what;
  for (std::size_t i = 0; i < want.size(); ++i) {
    EXPECT_NEAR(got[i], want[i], kTolerance<Scalar>) << what << "<" << name_of<Scalar>() << "> at " << i;
  }
  if (sizeof(Scalar) >= 4) {
    EXPECT_EQ(printed(got), printed(want)) << what;
  }
}

void expect_each(const Values& got, const Values& want, double tolerance, const std::string& what) {
  ASSERT_EQ(got.size(), want.size()) << what;
  for (std::size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(got[i], want[i], tolerance) << what << " at " << i;
}

struct Results {
  Values mean, rstd, xhat, y, dx_of_ones, dx_of_first, dgamma, dbeta;
};

/// The example through one layer whose only statistic is over the four values of a tensor of these extents.
template <int Layout, int Rank, class Scalar, class Layer>
Results results_of(Layer layer, const Extents& extents) {
  Guarded<Scalar, Rank, Layout> x(extents, kX), y(extents), dy(extents, Values(4, 1)), dx(extents);
  Results r;
  layer.forward(x.map(), y.map());
  r.mean = values_of(layer.mean());
  r.rstd = values_of(layer.rstd());
  r.xhat = y.values();
  layer.gamma().setConstant(2);
  layer.beta().setConstant(1);
  layer.forward(x.map(), y.map());
  r.y = y.values();
  layer.backward(x.map(), dy.map(), dx.map());
  r.dx_of_ones = dx.values();
  dy.assign({1, 0, 0, 0});
  layer.backward(x.map(), dy.map(), dx.map());
  r.dx_of_first = dx.values();
  r.dgamma = values_of(layer.dgamma());
  r.dbeta = values_of(layer.dbeta());
  return r;
}

template <class Scalar>
void expect_example(const Results& r, const Sets& sets, const std::string& what) {
  const double tolerance = std::is_same_v<Scalar, double> ? 1e-15 : 5e-7;  // of parameters and statistics
  EXPECT_EQ(r.mean, Values{2.5}) << what;
  expect_each(r.rstd, {1 / std::sqrt(1.25)}, tolerance, what + " 1 / sqrt(variance)");
  expect_near<Scalar>(r.xhat, kXhat, what + " x_hat");
  expect_near<Scalar>(r.y, kY, what + " y");

  // Backward. With dy = 1 every value rises alike and the normalization takes it back: dx = 0.
  expect_near<Scalar>(r.dx_of_ones, Values(4, 0), what + " dx of dy = 1");

  // With dy = (1, 0, 0, 0): dx_i = gamma rstd ([i = 0] - 1/4 - x_hat_i x_hat_0 / 4) = 2 rstd (0.3, -0.4, -0.1, 0.2).
  const double g = 2 / std::sqrt(1.25);
  expect_near<Scalar>(r.dx_of_first, {0.3 * g, -0.4 * g, -0.1 * g, 0.2 * g}, what + " dx of dy = (1, 0, 0, 0)");

  // dgamma = sum of dy x_hat, dbeta = sum of dy, over the values that share the parameter.
  Values dgamma(std::size_t(sets.params), 0), dbeta(std::size_t(sets.params), 0);
  dgamma[std::size_t(sets.param[0])] = kXhat[0];
  dbeta[std::size_t(sets.param[0])] = 1;
  expect_each(r.dgamma, dgamma, tolerance, what + " dgamma");
  expect_each(r.dbeta, dbeta, 0, what + " dbeta");
}

template <int Layout, int Rank, class Scalar, class Layer>
void work_through(const Layer& layer, const Extents& extents, const Sets& sets, const std::string& name) {
  expect_example<Scalar>(results_of<Layout, Rank, Scalar>(layer, extents), sets, name + " " + layout_name(Layout));
}

template <class Scalar>
class WorkedExample : public testing::Test {};
using Scalars = testing::Types<float, double, Eigen::half, Eigen::bfloat16>;
TYPED_TEST_SUITE(WorkedExample, Scalars, ScalarNames);

template <class Scalar, int Layout>
void through_every_layer() {
  BatchNormOptions batch;
  InstanceNormOptions instance;
  GroupNormOptions group;
  LayerNormOptions layer;
  batch.eps = instance.eps = group.eps = layer.eps = 0;  // the example divides by sqrt(variance), nothing added
  instance.affine = true;
  work_through<Layout, 2, Scalar>(BatchNorm<Scalar>(1, batch), {4, 1}, batch_sets({4, 1}, 1), "BatchNorm (4,1)");
  work_through<Layout, 4, Scalar>(BatchNorm<Scalar>(1, batch), {1, 1, 2, 2}, batch_sets({1, 1, 2, 2}, 1),
                                  "BatchNorm (1,1,2,2)");
  work_through<Layout, 2, Scalar>(LayerNorm<Scalar>({4}, layer), {1, 4}, row_sets({1, 4}, 1), "LayerNorm (1,4)");
  work_through<Layout, 1, Scalar>(LayerNorm<Scalar>({4}, layer), {4}, row_sets({4}, 1), "LayerNorm (4)");
  work_through<Layout, 3, Scalar>(InstanceNorm<Scalar>(1, instance), {1, 1, 4}, instance_sets({1, 1, 4}, 1),
                                  "InstanceNorm (1,1,4)");
  work_through<Layout, 2, Scalar>(GroupNorm<Scalar>(1, 4, group), {1, 4}, group_sets({1, 4}, 1, 1),
                                  "GroupNorm(1 group) (1,4)");
  work_through<Layout, 3, Scalar>(GroupNorm<Scalar>(1, 2, group), {1, 2, 2}, group_sets({1, 2, 2}, 1, 1),
                                  "GroupNorm(1 group) (1,2,2)");
}

TYPED_TEST(WorkedExample, ThroughEveryLayerRowMajor) { through_every_layer<TypeParam, Eigen::RowMajor>(); }
TYPED_TEST(WorkedExample, ThroughEveryLayerColMajor) { through_every_layer<TypeParam, Eigen::ColMajor>(); }

TEST(WorkedExample, PrintsWhatTheTutorialShould) {
  Eigen::Tensor<float, 2> x(4, 1);
  x.setValues({{1}, {2}, {3}, {4}});
  BatchNorm<float> layer(1);  // eps = 1e-5 does not show in three digits
  Eigen::Tensor<float, 2> y = layer(x);
  EXPECT_EQ(printed({y(0, 0), y(1, 0), y(2, 0), y(3, 0)}), "-1.342, -0.447, 0.447, 1.342");
  layer.gamma() << 2;
  layer.beta() << 1;
  y = layer(x);
  EXPECT_EQ(printed({y(0, 0), y(1, 0), y(2, 0), y(3, 0)}), "-1.683, 0.106, 1.894, 3.683");
  EXPECT_EQ(printed({layer.mean()[0]}), "2.500");
}

// The running variance is the other convention: 5 / 3 = 1.667, divided by n - 1, unless the population's is asked for.
TYPED_TEST(WorkedExample, RunningVarianceIsUnbiased) {
  Guarded<TypeParam, 2, Eigen::RowMajor> x({4, 1}, kX), y({4, 1});
  BatchNormOptions options;
  options.momentum = 1;
  BatchNorm<TypeParam> unbiased(1, options);
  options.unbiased_running_var = false;
  BatchNorm<TypeParam> population(1, options);
  unbiased.forward(x.map(), y.map());
  population.forward(x.map(), y.map());
  EXPECT_NEAR(double(unbiased.running_mean()[0]), 2.5, 1e-7);
  EXPECT_NEAR(double(unbiased.running_var()[0]), 5. / 3, 2e-7);
  EXPECT_NEAR(double(population.running_var()[0]), 1.25, 2e-7);
}

// RMSNorm subtracts no mean and has numbers of its own: the mean square is (1 + 4 + 9 + 16) / 4 = 7.5, x / sqrt(7.5) =
// [0.365, 0.730, 1.095, 1.461], with gamma = 2 [0.730, 1.461, 2.191, 2.921].
template <class Scalar, int Layout>
void through_rms_norm() {
  const std::string what = "RMSNorm (1,4) " + layout_name(Layout);
  RMSNormOptions options;
  options.eps = 0;
  RMSNorm<Scalar> layer({4}, options);
  Guarded<Scalar, 2, Layout> x({1, 4}, kX), y({1, 4}), dy({1, 4}, {1, 0, 0, 0}), dx({1, 4});
  const double rstd = 1 / std::sqrt(7.5);
  layer.forward(x.map(), y.map());
  expect_each(values_of(layer.rstd()), {rstd}, std::is_same_v<Scalar, double> ? 1e-15 : 1e-7, what + " rstd");
  expect_near<Scalar>(y.values(), {rstd, 2 * rstd, 3 * rstd, 4 * rstd}, what + " x_hat");
  if (sizeof(Scalar) >= 4) {
    EXPECT_EQ(printed(y.values()), "0.365, 0.730, 1.095, 1.461");
  }
  layer.gamma().setConstant(2);
  layer.forward(x.map(), y.map());
  expect_near<Scalar>(y.values(), {2 * rstd, 4 * rstd, 6 * rstd, 8 * rstd}, what + " y");

  // dx_i = gamma rstd ([i = 0] - x_hat_i x_hat_0 / 4), x_hat_i x_hat_0 / 4 = i / 30.
  layer.backward(x.map(), dy.map(), dx.map());
  const double g = 2 * rstd / 30;
  expect_near<Scalar>(dx.values(), {29 * g, -2 * g, -3 * g, -4 * g}, what + " dx");
  expect_each(values_of(layer.dgamma()), {rstd, 0, 0, 0}, 1e-7, what + " dgamma");
}

TYPED_TEST(WorkedExample, RmsNormHasItsOwnNumbers) {
  through_rms_norm<TypeParam, Eigen::RowMajor>();
  through_rms_norm<TypeParam, Eigen::ColMajor>();
}

// By hand, without the example's symmetry helping: BatchNorm's gradients of gamma and beta sum over the batch.
TYPED_TEST(WorkedExample, ParameterGradients) {
  BatchNormOptions options;
  options.eps = 0;
  BatchNorm<TypeParam> layer(1, options);
  Guarded<TypeParam, 2, Eigen::RowMajor> x({4, 1}, kX), dy({4, 1}, {1, 0, 0, 2}), y({4, 1}), dx({4, 1});
  layer.forward(x.map(), y.map());
  layer.backward(x.map(), dy.map(), dx.map());
  EXPECT_NEAR(double(layer.dgamma()[0]), kXhat[0] + 2 * kXhat[3], 5e-7);
  EXPECT_EQ(double(layer.dbeta()[0]), 3);
}

}  // namespace
