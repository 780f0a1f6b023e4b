#include <tensornorm/batch_norm.hpp>

#include "sweep.hpp"

using namespace tensornorm_test;
using tensornorm::BatchNorm;
using tensornorm::BatchNormOptions;

namespace {

std::string name_at(int axis) { return "BatchNorm, channel axis " + std::to_string(axis); }

template <class Scalar, int... Ranks>
void check(const Extents& extents, int axis, const Data& data = {}, bool affine = true) {
  BatchNormOptions options;
  options.channel_axis = axis;
  options.affine = affine;
  const BatchNorm<Scalar> layer(extents[std::size_t(axis)], options);
  in_both_layouts<Ranks...>(extents, [&](auto rank, auto layout) {
    expect_oracle<Scalar, rank, layout>(layer, extents, batch_sets(extents, axis), data, name_at(axis));
  });
}

/// Running statistics as eval mode uses them, forward and backward.
template <class Scalar>
void check_eval(const Extents& extents, int axis, const Data& data = {}) {
  BatchNormOptions options;
  options.channel_axis = axis;
  BatchNorm<Scalar> layer(extents[std::size_t(axis)], options);
  draw_parameters(layer, 13);
  assign(layer.running_mean(), normal(layer.running_mean().size(), 21, data.mean));
  Values var = normal(layer.running_var().size(), 22);
  for (double& v : var) v = 0.5 + v * v;
  assign(layer.running_var(), var);
  const Values frozen[] = {values_of(layer.running_mean()), values_of(layer.running_var())};
  layer.eval();
  in_both_layouts<2, 4>(extents, [&](auto rank, auto layout) {
    expect_oracle_with<Scalar, rank, layout>(layer, extents, batch_sets(extents, axis), data, frozen,
                                             name_at(axis) + " in eval mode");
  });
  EXPECT_EQ(values_of(layer.running_mean()), frozen[0]) << "eval mode moved running_mean";
  EXPECT_EQ(values_of(layer.running_var()), frozen[1]) << "eval mode moved running_var";
  EXPECT_EQ(layer.num_batches_tracked(), 0);
}

const Index kLanes[] = {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33};

TEST(BatchNorm, ColumnsOfEveryLaneCount) {
  for (const Index n : {2, 3, 4, 5, 8, 9, 16, 17, 33, 65}) {
    for (const Index c : kLanes) check<float, 2>({n, c}, 1);
  }
}

TEST(BatchNorm, RowsOfEveryLaneCount) {
  for (const Index s : kLanes) {
    for (const Index c : {1, 3, 8, 17}) check<float, 3>({2, c, s}, 1);
  }
}

TEST(BatchNorm, EveryChannelAxisOfEveryRank) {
  const Extents shapes[] = {{33, 17}, {5, 7, 9}, {2, 3, 5, 7}, {3, 6, 17, 5}, {2, 3, 4, 5, 7}, {3, 1, 2, 1, 5}};
  for (const Extents& extents : shapes) {
    for (int axis = 0; axis < int(extents.size()); ++axis) {
      check<float, 2, 3, 4, 5>(extents, axis, {0.5, 1, axis % 2});
      check<float, 2, 3, 4, 5>(extents, axis, {0.5, 1, 3}, false);
    }
  }
}

TEST(BatchNorm, LargerShapes) {
  for (const int axis : {0, 1}) {
    for (const Extents& extents : {Extents{33, 257}, {1000, 17}, {300, 8}, {4, 640}, {5000, 2}, {2, 5000}}) {
      check<float, 2>(extents, axis, {-1, 1, axis});
    }
  }
  for (const int axis : {1, 3}) {
    for (const Extents& extents : {Extents{2, 64, 7, 7}, {5, 96, 1, 3}, {8, 7, 7, 64}, {3, 5, 31, 37}}) {
      check<float, 4>(extents, axis, {2, 3, 1});
    }
  }
}

TEST(BatchNorm, OutgrowsTheCaches) {
  for (const int axis : {0, 1, 3}) check<float, 4>({3, 40, 63, 65}, axis);
  for (const Extents& extents : {Extents{2, 64, 31, 33}, {4, 31, 33, 32}}) {
    for (const int axis : {1, 3}) {
      BatchNormOptions options;
      options.channel_axis = axis;
      expect_oracle_of_repeats(BatchNorm<float>(extents[std::size_t(axis)], options), extents, 40,
                               batch_sets(extents, axis), name_at(axis));
    }
  }
}

TEST(BatchNorm, KeepsItsDigitsAtAnyOffset) {
  for (const double mean : {0., -100., 1e4, 1e6}) {
    for (const int axis : {0, 1, 3}) {
      check<float, 4>({3, 20, 9, 19}, axis, {mean});
      check<float, 4>({3, 20, 9, 19}, axis, {mean}, false);
      check<double, 4>({3, 20, 9, 19}, axis, {mean}, false);
    }
    check<float, 2>({500, 33}, 1, {mean}, false);
    check<double, 2>({500, 33}, 1, {mean}, false);
  }
}

template <class Scalar>
class BatchNormOf : public testing::Test {};
using OtherScalars = testing::Types<double, Eigen::half, Eigen::bfloat16>;
TYPED_TEST_SUITE(BatchNormOf, OtherScalars, ScalarNames);

TYPED_TEST(BatchNormOf, EveryScalar) {
  for (const Index n : {2, 5, 17, 40}) {
    for (const Index c : {1, 3, 4, 8, 15, 16, 17, 33}) check<TypeParam, 2>({n, c}, 1, {0, 1, n % 3}, c % 2 == 0);
  }
  for (const int axis : {0, 1, 2, 3}) {
    for (const Extents& extents : {Extents{2, 3, 5, 7}, {3, 6, 17, 5}, {2, 64, 7, 7}}) {
      check<TypeParam, 4>(extents, axis);
      check<TypeParam, 4>(extents, axis, {100, 3, 1}, false);
    }
  }
}

TYPED_TEST(BatchNormOf, EvalModeUsesTheRunningStatistics) {
  for (const int axis : {0, 1, 3}) check_eval<TypeParam>({3, 6, 17, 5}, axis, {1});
  check_eval<TypeParam>({1, 33}, 1);
}

TEST(BatchNorm, EvalModeUsesTheRunningStatistics) {
  for (const double mean : {0., 100., 1e6}) {
    for (const int axis : {0, 1, 2, 3}) check_eval<float>({3, 6, 17, 5}, axis, {mean, 1, axis});
    for (const Index n : {1, 2, 9}) check_eval<float>({n, 33}, 1, {mean});
  }
}

/// Beta where 1 / sqrt(var + eps) is 0, NaN where it is not a number; the other channels keep their bits.
TEST(BatchNorm, UnfitRunningVarianceIsItsChannelsOwn) {
  BatchNormOptions options;
  options.eps = 0;
  for (const Index channels : {1, 3, 4, 7, 16, 37}) {
    BatchNorm<float> layer(channels, options);
    draw_parameters(layer, 13);
    assign(layer.running_var(), [&] {
      Values var = normal(channels, 22);
      for (double& v : var) v = 0.5 + v * v;
      return var;
    }());
    const Extents extents = {3, channels};
    Guarded<float, 2, Eigen::RowMajor> x(extents, normal(count(extents), 51, 1));
    Guarded<float, 2, Eigen::RowMajor> fit(extents), y(extents);
    layer.infer(x.map(), fit.map());
    const Values want = fit.values();
    for (Index at = 0; at < channels; ++at) {
      const float was = layer.running_var()[at];
      for (const double unfit : {0., double(INFINITY), double(NAN), -1.}) {
        layer.running_var()[at] = float(unfit);
        layer.infer(x.map(), y.map());
        const Values is = y.values();
        for (std::size_t i = 0; i < is.size(); ++i) {
          if (Index(i) % channels != at) {
            EXPECT_EQ(is[i], want[i]) << unfit << " at " << at << " of " << channels;
          } else if (unfit >= 0) {
            EXPECT_EQ(is[i], double(layer.beta()[at])) << unfit << " at " << at << " of " << channels;
          } else {
            EXPECT_TRUE(std::isnan(is[i])) << unfit << " at " << at << " of " << channels;
          }
        }
      }
      layer.running_var()[at] = was;
    }
  }
}

TEST(BatchNorm, EmptyTensors) {
  for (const Extents& extents : {Extents{0, 3}, {0, 3, 4}, {2, 3, 0}, {0, 3, 4, 5}, {2, 3, 4, 0}}) {
    in_both_layouts<2, 3, 4>(
        extents, [&](auto rank, auto layout) { expect_empty<rank, layout>(BatchNorm<float>(3), extents, name_at(1)); });
  }
}

}  // namespace
