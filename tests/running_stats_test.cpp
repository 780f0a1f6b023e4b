// Running statistics against a sequence computed by hand: running = (1 - momentum) running + momentum batch, or the
// average of all batches so far for std::nullopt, as in PyTorch.
#include <cmath>
#include <cstring>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

#include <tensornorm/batch_norm.hpp>
#include <tensornorm/instance_norm.hpp>

#include "sweep.hpp"

using namespace tensornorm;
using namespace tensornorm_test;

namespace {

std::string text_of(const std::optional<double>& momentum) {
  return momentum ? "momentum " + std::to_string(*momentum) : "the cumulative average";
}

struct Batch {
  Reals mean, var;
};

/// Mean and variance per channel as they enter the running statistics: of the statistics of all sets of a channel (one
/// for BatchNorm, one a sample for InstanceNorm) the average, the variance divided by n - 1 when unbiased.
Batch batch_statistics(const Values& x, const Sets& sets, bool unbiased) {
  const Statistics s = oracle_statistics(x, sets, 0);
  const auto channels = std::size_t(sets.params);
  Batch batch{Reals(channels, 0), Reals(channels, 0)};
  const Real share = Real(sets.params) / Real(sets.stats);
  for (std::size_t k = 0; k < s.n.size(); ++k) {
    batch.mean[k % channels] += share * s.mean(k);  // sets are row-major over (sample, channel)
    batch.var[k % channels] += share * s.var[k] * (unbiased ? s.n[k] / (s.n[k] - 1) : 1);
  }
  return batch;
}

template <class Scalar>
void expect_array(const std::string& what, const Values& got, const Reals& want) {
  Reals tolerance;
  for (const Real v : want) tolerance.push_back(8 * Precision<Scalar>::ulp(std::max(std::abs(v), Real(1))));
  expect_close(what, got, want, tolerance);
}

/// Five batches of varying sizes through a tracking layer, state by state; then eval and infer use the state.
template <class Scalar, int Layout, class Layer, class SetsOf>
void check(Layer layer, std::vector<Extents> batches, SetsOf sets_of, const std::string& name) {
  const auto momentum = layer.options().momentum;
  const std::string what = name + "<" + name_of<Scalar>() + "> " + layout_name(Layout) + ", " + text_of(momentum) +
                           (layer.options().unbiased_running_var ? "" : ", population variance");
  const auto channels = std::size_t(layer.running_mean().size());
  Reals mean(channels, 0), var(channels, 1);
  EXPECT_EQ(values_of(layer.running_mean()), Values(channels, 0)) << what << ": running_mean starts at 0";
  EXPECT_EQ(values_of(layer.running_var()), Values(channels, 1)) << what << ": running_var starts at 1";
  EXPECT_EQ(layer.num_batches_tracked(), 0) << what;
  draw_parameters(layer, 44);

  int tracked = 0;
  for (const Extents& extents : batches) {
    Guarded<Scalar, 3, Layout> x(extents, normal(count(extents), unsigned(41 + tracked), 3 - tracked, 1 + tracked));
    Guarded<Scalar, 3, Layout> y(extents);
    layer.forward(x.map(), y.map());
    ++tracked;
    const Batch batch = batch_statistics(x.values(), sets_of(extents), layer.options().unbiased_running_var);
    const Real m = momentum ? Real(*momentum) : Real(1) / tracked;
    for (std::size_t c = 0; c < channels; ++c) {
      mean[c] = (1 - m) * mean[c] + m * batch.mean[c];
      var[c] = (1 - m) * var[c] + m * batch.var[c];
    }
    const std::string after = what + " after " + std::to_string(tracked) + " batches";
    expect_array<Scalar>(after + " running_mean()", values_of(layer.running_mean()), mean);
    expect_array<Scalar>(after + " running_var()", values_of(layer.running_var()), var);
    EXPECT_EQ(layer.num_batches_tracked(), tracked) << after;
  }

  // infer and eval normalize by them, equal bit for bit, and change nothing.
  const Extents& extents = batches[0];
  Guarded<Scalar, 3, Layout> x(extents, normal(count(extents), 51, 1)), y(extents), inferred(extents);
  const Layer before = layer;
  before.infer(x.map(), inferred.map());
  layer.eval();
  EXPECT_FALSE(layer.training()) << what;
  layer.forward(x.map(), y.map());
  EXPECT_TRUE(inferred.same_bits(y)) << what << ": infer and eval differ";
  const Sets sets = batch_sets(extents, 1);
  const Values gamma = gamma_of(layer), beta = beta_of(layer);
  const Statistics stats =
      frozen_statistics(values_of(layer.running_mean()), values_of(layer.running_var()), layer.options().eps);
  const Normalized want = oracle_forward(x.values(), sets, stats, gamma, beta);
  expect_close(what + " y in eval mode", y.values(), want.y, y_tolerance<Scalar>(want, sets, gamma, beta));
  EXPECT_TRUE(same_bits(layer.running_mean(), before.running_mean())) << what << ": eval moved running_mean";
  EXPECT_TRUE(same_bits(layer.running_var(), before.running_var())) << what << ": eval moved running_var";
  EXPECT_EQ(layer.num_batches_tracked(), tracked) << what << ": eval counted";
  layer.train();
  EXPECT_TRUE(layer.training()) << what;
  layer.forward(x.map(), y.map());
  EXPECT_EQ(layer.num_batches_tracked(), tracked + 1) << what;
}

const std::vector<Extents> kBatches = {{4, 5, 7}, {2, 5, 3}, {1, 5, 17}, {9, 5, 2}, {3, 5, 40}};
const std::optional<double> kMomenta[] = {0.1, 0., 1., 0.75, std::nullopt};

template <class Scalar>
class RunningStats : public testing::Test {};
using Scalars = testing::Types<float, double, Eigen::half, Eigen::bfloat16>;
TYPED_TEST_SUITE(RunningStats, Scalars, ScalarNames);

TYPED_TEST(RunningStats, OfBatchNorm) {
  const auto sets = [](const Extents& extents) { return batch_sets(extents, 1); };
  for (const auto& momentum : kMomenta) {
    for (const bool unbiased : {true, false}) {
      BatchNormOptions options;
      options.momentum = momentum;
      options.unbiased_running_var = unbiased;
      const BatchNorm<TypeParam> layer(5, options);
      check<TypeParam, Eigen::RowMajor>(layer, kBatches, sets, "BatchNorm");
      check<TypeParam, Eigen::ColMajor>(layer, kBatches, sets, "BatchNorm");
    }
  }
}

TYPED_TEST(RunningStats, OfInstanceNormAverageOverTheSamples) {
  const auto sets = [](const Extents& extents) { return instance_sets(extents, 1); };
  for (const auto& momentum : kMomenta) {
    for (const bool unbiased : {true, false}) {
      InstanceNormOptions options;
      options.momentum = momentum;
      options.unbiased_running_var = unbiased;
      options.track_running_stats = true;
      options.affine = true;
      const InstanceNorm<TypeParam> layer(5, options);
      check<TypeParam, Eigen::RowMajor>(layer, kBatches, sets, "InstanceNorm");
      check<TypeParam, Eigen::ColMajor>(layer, kBatches, sets, "InstanceNorm");
    }
  }
}

TEST(RunningStats, DefaultsAreThoseOfPyTorch) {
  EXPECT_EQ(BatchNormOptions{}.momentum, 0.1);
  EXPECT_EQ(InstanceNormOptions{}.momentum, 0.1);
  EXPECT_TRUE(BatchNormOptions{}.track_running_stats && BatchNormOptions{}.unbiased_running_var);
  EXPECT_FALSE(InstanceNormOptions{}.track_running_stats);
  EXPECT_TRUE(InstanceNormOptions{}.unbiased_running_var);
  EXPECT_TRUE(BatchNorm<float>(3).training());
}

TEST(RunningStats, AreEmptyWhenNotTrackedAndEvalUsesTheStatisticsOfX) {
  const Extents extents{4, 5, 7};
  BatchNormOptions options;
  options.track_running_stats = false;
  BatchNorm<float> batch(5, options);
  InstanceNorm<float> instance(5);
  Guarded<float, 3, Eigen::RowMajor> x(extents, normal(count(extents), 61, 5)), in_train(extents), in_eval(extents);
  Guarded<float, 3, Eigen::RowMajor> inferred(extents);
  const auto compare = [&](auto& layer) {
    EXPECT_EQ(layer.running_mean().size(), 0);
    EXPECT_EQ(layer.running_var().size(), 0);
    layer.forward(x.map(), in_train.map());
    layer.eval();
    layer.forward(x.map(), in_eval.map());
    layer.infer(x.map(), inferred.map());
    EXPECT_TRUE(in_eval.same_bits(in_train));
    EXPECT_TRUE(inferred.same_bits(in_train));
    EXPECT_EQ(layer.num_batches_tracked(), 0);
  };
  compare(batch);
  compare(instance);
}

TEST(RunningStats, AnEmptyBatchLeavesThemAndTheCounter) {
  BatchNorm<float> layer(3);
  Guarded<float, 2, Eigen::RowMajor> x({6, 3}, normal(18, 62)), y({6, 3}), nothing({0, 3}), none({0, 3});
  layer.forward(x.map(), y.map());
  const BatchNorm<float> before = layer;
  layer.forward(nothing.map(), none.map());
  EXPECT_TRUE(same_bits(layer.running_mean(), before.running_mean()));
  EXPECT_TRUE(same_bits(layer.running_var(), before.running_var()));
  EXPECT_EQ(layer.num_batches_tracked(), 1);
}

TEST(RunningStats, KeepTheirDigitsFarFromZero) {
  BatchNormOptions options;
  options.momentum = 1;
  BatchNorm<float> layer(3, options);
  const Extents extents{500, 3};
  Guarded<float, 2, Eigen::RowMajor> x(extents, normal(count(extents), 63, 1e5)), y(extents);
  layer.forward(x.map(), y.map());
  const Batch batch = batch_statistics(x.values(), batch_sets(extents, 1), true);
  for (std::size_t c = 0; c < 3; ++c) {
    EXPECT_NEAR(double(layer.running_mean()[Index(c)]), double(batch.mean[c]), 0.004);  // half a spacing at 1e5
    EXPECT_NEAR(double(layer.running_var()[Index(c)]), double(batch.var[c]), 4e-7);
  }
}

// The sums of squares of all instances together would not fit a double.
TEST(RunningStats, HoldVariancesOfInstancesNearTheLargest) {
  InstanceNormOptions options;
  options.track_running_stats = true;
  options.momentum = 1;
  InstanceNorm<double> layer(1, options);
  Eigen::Tensor<double, 3, Eigen::RowMajor> x(8, 1, 100), y;
  for (Eigen::Index i = 0; i < x.size(); ++i) x.data()[i] = i % 2 == 0 ? 1e153 : -1e153;
  layer.forward(x, y);
  EXPECT_NEAR(layer.running_var()(0), 1e306 / 99 * 100, 1e292);
}

TEST(RunningStats, HoldNoVarianceBelowZero) {
  BatchNormOptions options;
  options.momentum = 1.0;
  for (Index n = 2; n <= 64; ++n) {
    Eigen::MatrixXf x = Eigen::MatrixXf::Random(1, 17).replicate(n, 1) * 1e-15F, y;
    BatchNorm<float> norm(17, options);
    norm.forward(x, y);
    for (Index c = 0; c < 17; ++c) EXPECT_FALSE(std::signbit(norm.running_var()[c])) << n << ", " << x(0, c);
  }
}

TEST(RunningStats, AreAssignableAsWhenLoaded) {
  BatchNorm<float> trained(3);
  Guarded<float, 2, Eigen::RowMajor> x({6, 3}, normal(18, 64, 2)), y({6, 3}), z({6, 3});
  trained.forward(x.map(), y.map());
  BatchNorm<float> loaded(3);
  loaded.gamma() = trained.gamma();
  loaded.beta() = trained.beta();
  loaded.running_mean() = trained.running_mean();
  loaded.running_var() = trained.running_var();
  loaded.num_batches_tracked() = trained.num_batches_tracked();
  trained.infer(x.map(), y.map());
  loaded.infer(x.map(), z.map());
  EXPECT_TRUE(y.same_bits(z));
  trained.forward(x.map(), y.map());
  loaded.forward(x.map(), z.map());
  EXPECT_TRUE(same_bits(trained.running_mean(), loaded.running_mean()));
  EXPECT_EQ(loaded.num_batches_tracked(), 2);
}

// What infer keeps of frozen statistics is never stale: a layer that never kept anything, with the same parameters,
// gives the same bits, through whatever door these came.
template <class Scalar>
void expect_never_stale(bool prepares) {
  constexpr Index channels = 19;
  using Tensor = Eigen::Tensor<Scalar, 2, Eigen::RowMajor>;
  Tensor x(40, channels), y, want;
  x.setRandom();
  BatchNorm<Scalar> layer(channels);
  const auto expect_fresh = [&](const char* door) {
    if (prepares) layer.prepare();
    BatchNorm<Scalar> fresh(channels);
    fresh.gamma() = layer.gamma();
    fresh.beta() = layer.beta();
    fresh.running_mean() = layer.running_mean();
    fresh.running_var() = layer.running_var();
    layer.infer(x, y);
    fresh.infer(x, want);
    const auto bytes = static_cast<std::size_t>(x.size()) * sizeof(Scalar);
    EXPECT_EQ(std::memcmp(y.data(), want.data(), bytes), 0) << name_of<Scalar>() << ", " << door;
  };
  expect_fresh("a new layer");
  layer.eval();
  expect_fresh("eval");
  layer.gamma()(18) = 3;
  expect_fresh("one gamma");
  layer.gamma().setConstant(-2);
  expect_fresh("all of gamma");
  layer.running_var()(0) = 7;
  expect_fresh("one variance");
  layer.running_var().setZero();
  layer.gamma().setZero();
  expect_fresh("zeros");
  layer.beta().setRandom();
  layer.running_mean().setRandom();
  expect_fresh("beta and mean");
  layer.train();
  layer.forward(x, y);
  expect_fresh("a batch");
  layer.eval();
  layer.forward(x, y);
  expect_fresh("forward in eval mode");
  BatchNorm<Scalar> other(channels);
  other.eval();
  other.gamma().setConstant(5);
  layer = other;
  expect_fresh("another layer's copy");
  other.running_var().setConstant(4);
  layer = std::move(other);
  expect_fresh("another layer");
  layer.running_var().setConstant(std::numeric_limits<typename BatchNorm<Scalar>::Param>::quiet_NaN());
  expect_fresh("NaN");
}

TEST(RunningStats, InferIsNeverStale) {
  for (const bool prepares : {false, true}) {
    expect_never_stale<float>(prepares);
    expect_never_stale<double>(prepares);
    expect_never_stale<Eigen::half>(prepares);
    expect_never_stale<Eigen::bfloat16>(prepares);
  }
}

TEST(RunningStats, PrepareLeavesWrongSizesToInfer) {
  BatchNorm<float> layer(3);
  layer.running_var().resize(2);
  layer.prepare();
  layer.eval();
  Eigen::MatrixXf x = Eigen::MatrixXf::Random(4, 3), y;
  EXPECT_THROW(layer.infer(x, y), std::invalid_argument);
}

}  // namespace
