#include <tensornorm/instance_norm.hpp>

#include "sweep.hpp"

using namespace tensornorm_test;
using tensornorm::InstanceNorm;
using tensornorm::InstanceNormOptions;

namespace {

std::string name_at(int axis) { return "InstanceNorm, channel axis " + std::to_string(axis); }

template <class Scalar, int... Ranks>
void check(const Extents& extents, int axis = 1, const Data& data = {}, bool affine = true) {
  InstanceNormOptions options;
  options.channel_axis = axis;
  options.affine = affine;
  const InstanceNorm<Scalar> layer(extents[std::size_t(axis)], options);
  in_both_layouts<Ranks...>(extents, [&](auto rank, auto layout) {
    expect_oracle<Scalar, rank, layout>(layer, extents, instance_sets(extents, axis), data, name_at(axis));
  });
}

/// Running statistics, one per channel for every sample, as eval mode uses them.
template <class Scalar>
void check_eval(const Extents& extents, int axis, const Data& data = {}) {
  InstanceNormOptions options;
  options.channel_axis = axis;
  options.affine = true;
  options.track_running_stats = true;
  InstanceNorm<Scalar> layer(extents[std::size_t(axis)], options);
  draw_parameters(layer, 13);
  assign(layer.running_mean(), normal(layer.running_mean().size(), 21, data.mean));
  Values var = normal(layer.running_var().size(), 22);
  for (double& v : var) v = 0.5 + v * v;
  assign(layer.running_var(), var);
  layer.eval();
  in_both_layouts<3, 4>(extents, [&](auto rank, auto layout) {
    const std::string what = name_at(axis) + " in eval mode <" + name_of<Scalar>() + "> " + text(extents) + " " +
                             layout_name(layout) + " mean " + std::to_string(data.mean);
    // Of one channel every element is normalized alike: BatchNorm's sets with the running statistics.
    const Sets sets = batch_sets(extents, axis);
    const Statistics stats =
        frozen_statistics(values_of(layer.running_mean()), values_of(layer.running_var()), options.eps);
    Guarded<Scalar, rank, layout> x(extents, normal(count(extents), 11, data.mean, data.sigma), data.misalign);
    Guarded<Scalar, rank, layout> dy(extents, normal(count(extents), 12, 0.1)), y(extents), dx(extents);
    const Values gamma = gamma_of(layer), beta = beta_of(layer);
    layer.forward(x.map(), y.map());
    const Normalized want = oracle_forward(x.values(), sets, stats, gamma, beta);
    expect_close(what + " y", y.values(), want.y, y_tolerance<Scalar>(want, sets, gamma, beta));
    layer.backward(x.map(), dy.map(), dx.map());
    const Gradients grads = oracle_backward(x.values(), dy.values(), sets, stats, gamma, Centred::kYes, true);
    expect_close(what + " dx", dx.values(), grads.dx, dx_tolerance<Scalar>(grads, sets, stats, dy.values(), gamma));
    expect_close(what + " dgamma()", values_of(layer.dgamma()), grads.dgamma,
                 sum_tolerance<Scalar>(grads.dgamma, sets, dy.values(), want.xhat));
    expect_close(what + " dbeta()", values_of(layer.dbeta()), grads.dbeta,
                 sum_tolerance<Scalar>(grads.dbeta, sets, dy.values(), {}));
    EXPECT_TRUE(y.guards_intact() && dx.guards_intact()) << what;
  });
}

TEST(InstanceNorm, RowsOfEveryLaneCount) {
  for (const Index s : {2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 65}) {
    for (const Index c : {1, 3, 8}) {
      for (const Index n : {1, 2, 9}) check<float, 3>({n, c, s}, 1, {0, 1, n % 2});
    }
  }
}

TEST(InstanceNorm, ColumnsOfEveryLaneCount) {
  for (const Index c : {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33}) {
    for (const Index s : {2, 5, 33}) check<float, 3>({2, s, c}, 2);
  }
}

TEST(InstanceNorm, EveryChannelAxisOfEveryRank) {
  const Extents shapes[] = {{5, 7, 9}, {2, 3, 5, 7}, {3, 6, 17, 5}, {2, 3, 4, 5, 7}, {3, 1, 2, 1, 5}};
  for (const Extents& extents : shapes) {
    for (int axis = 1; axis < int(extents.size()); ++axis) {
      if (count(extents) == extents[0] * extents[std::size_t(axis)]) continue;  // one element each: an error
      check<float, 3, 4, 5>(extents, axis, {0.5, 1, axis % 2});
      check<float, 3, 4, 5>(extents, axis, {0.5, 1, 3}, false);
    }
  }
}

TEST(InstanceNorm, LargerShapes) {
  for (const int axis : {1, 3}) {
    for (const Extents& extents : {Extents{2, 64, 7, 7}, {5, 96, 1, 3}, {2, 7, 7, 64}, {3, 5, 31, 37}}) {
      check<float, 4>(extents, axis, {2, 3, 1});
    }
  }
  check<float, 3>({1, 1, 5000});
  check<float, 3>({4, 1000, 17});
}

TEST(InstanceNorm, OutgrowsTheCaches) {
  for (const int axis : {1, 3}) check<float, 4>({3, 40, 63, 65}, axis);
  for (const int axis : {1, 3}) {
    const Extents extents{2, 64, 31, 33};
    InstanceNormOptions options;
    options.channel_axis = axis;
    options.affine = true;
    expect_oracle_of_repeats(InstanceNorm<float>(extents[std::size_t(axis)], options), extents, 40,
                             instance_sets(extents, axis), name_at(axis));
  }
}

TEST(InstanceNorm, KeepsItsDigitsAtAnyOffset) {
  for (const double mean : {0., -100., 1e4, 1e6}) {
    for (const bool affine : {false, true}) {
      for (const int axis : {1, 3}) {
        check<float, 4>({3, 20, 9, 19}, axis, {mean}, affine);
        check<double, 4>({3, 20, 9, 19}, axis, {mean}, affine);
      }
    }
  }
}

template <class Scalar>
class InstanceNormOf : public testing::Test {};
using OtherScalars = testing::Types<double, Eigen::half, Eigen::bfloat16>;
TYPED_TEST_SUITE(InstanceNormOf, OtherScalars, ScalarNames);

TYPED_TEST(InstanceNormOf, EveryScalar) {
  for (const Index s : {2, 3, 4, 8, 15, 16, 17, 33}) check<TypeParam, 3>({2, 5, s}, 1, {0, 1, s % 3});
  for (const int axis : {1, 2, 3}) {
    for (const Extents& extents : {Extents{2, 3, 5, 7}, {3, 6, 17, 5}, {2, 64, 7, 7}}) {
      check<TypeParam, 4>(extents, axis);
      check<TypeParam, 4>(extents, axis, {100, 3, 1}, false);
    }
  }
}

TYPED_TEST(InstanceNormOf, EvalModeUsesTheRunningStatistics) {
  for (const int axis : {1, 3}) check_eval<TypeParam>({3, 6, 17, 5}, axis, {1});
}

TEST(InstanceNorm, EvalModeUsesTheRunningStatistics) {
  for (const double mean : {0., 100., 1e6}) {
    for (const int axis : {1, 2, 3}) check_eval<float>({3, 6, 17, 5}, axis, {mean, 1, axis});
    check_eval<float>({2, 33, 1}, 1, {mean});  // one spatial element is fine here
  }
}

TEST(InstanceNorm, EmptyTensors) {
  InstanceNormOptions options;
  options.affine = true;
  for (const Extents& extents : {Extents{0, 3, 4}, {2, 3, 0}, {0, 3, 4, 5}, {2, 3, 4, 0}}) {
    in_both_layouts<3, 4>(extents, [&](auto rank, auto layout) {
      expect_empty<rank, layout>(InstanceNorm<float>(3, options), extents, name_at(1));
    });
  }
}

}  // namespace
