// The edges: statistics of one value, empty tensors, zero variance, NaN and Inf, momentum 0 and 1.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "every_layer.hpp"

namespace tensornorm_test {
namespace {

using namespace tensornorm;

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

// --- one value per statistic ---------------------------------------------------------------------------------------

// y is beta and dx is zero where all values of a statistic are one. rstd is an array per kept axis in the order of
// sets.
template <int Layout, class Scalar, class Layer>
void expect_beta(const std::string& name, Layer layer, const Sets& sets, const Extents& extents,
                 const Values& x_values) {
  using T = Guarded<Scalar, 3, Layout>;
  stir(layer);
  const std::string where = name + " of " + text(extents) + " " + layout_name(Layout) + " " + name_of<Scalar>();
  T x(extents, x_values), dy(extents, normal(count(extents), 2)), y(extents), dx(extents);
  layer.forward(x.map(), y.map());
  layer.backward(x.map(), dy.map(), dx.map());
  const Values ys = y.values(), dxs = dx.values(), dys = dy.values();
  Values dbeta(std::size_t(sets.params), 0);
  for (std::size_t i = 0; i < ys.size(); ++i) {
    dbeta[std::size_t(sets.param[i])] += dys[i];
    ASSERT_EQ(ys[i], to_double(from_double<Scalar>(beta_of(layer, sets.param[i])))) << where << " at " << i;
    // zero but for the rounding of its terms, which rstd scales
    const double term = double(layer.rstd()[sets.stat[i]]) * std::abs(double(layer.gamma()[sets.param[i]]) * dys[i]);
    ASSERT_NEAR(dxs[i], 0, 1e-6 * term) << where << ": dx at " << i;
  }
  for (Index p = 0; p < sets.params; ++p) {
    EXPECT_EQ(double(layer.dgamma()[p]), 0) << where << ": dgamma " << p;
    if constexpr (has_beta<Layer>) {
      EXPECT_NEAR(double(layer.dbeta()[p]), dbeta[std::size_t(p)], 1e-5) << where << ": dbeta " << p;
    }
  }
}

template <int Layout, class Scalar>
void one_value_per_group_or_row() {
  for (const Index n : {1, 2, 5}) {
    for (const Index c : {1, 3, 8, 17}) {
      const Extents extents{n, c, 1}, last{n, 1, c}, rows{n * c, 3, 1};
      expect_beta<Layout, Scalar>("GroupNorm", GroupNorm<Scalar>(c, c), group_sets(extents, 1, c), extents,
                                  normal(n * c, 1, 3, 2));
      GroupNormOptions options;
      options.channel_axis = -1;
      expect_beta<Layout, Scalar>("GroupNorm", GroupNorm<Scalar>(c, c, options), group_sets(last, 2, c), last,
                                  normal(n * c, 1, 3, 2));
      expect_beta<Layout, Scalar>("LayerNorm({1})", LayerNorm<Scalar>({1}), row_sets(rows, 1), rows,
                                  normal(n * c * 3, 1, 3, 2));
    }
  }
}

TEST(OneValue, GroupNormAndLayerNormGiveBeta) {
  one_value_per_group_or_row<kRow, float>();
  one_value_per_group_or_row<kCol, float>();
  one_value_per_group_or_row<kRow, double>();
  one_value_per_group_or_row<kRow, Eigen::half>();
}

// Every element is a statistic, of a tensor that goes past the cache.
TEST(OneValue, OutgrowsTheCaches) {
  constexpr Index kCount = Index{1} << 21;
  Eigen::Tensor<float, 2, Eigen::RowMajor> x(kCount, 1), y(kCount, 1), dx(kCount, 1);
  for (Index i = 0; i < kCount; ++i) x.data()[i] = static_cast<float>(i % 1001);
  LayerNorm<float> rows({1});
  rows.beta() = 0.25F;
  rows.forward(x, y);
  rows.backward(x, x, dx);
  for (Index i = 0; i < kCount; ++i) {
    ASSERT_EQ(y.data()[i], 0.25F) << i;
    ASSERT_NEAR(dx.data()[i], 0, 1e-6 * rows.rstd()[i] * x.data()[i]) << i;
  }

  const Eigen::TensorMap<Eigen::Tensor<float, 2, Eigen::RowMajor>> one_row(x.data(), 1, kCount);
  Eigen::TensorMap<Eigen::Tensor<float, 2, Eigen::RowMajor>> y_row(y.data(), 1, kCount);
  BatchNormOptions options;
  options.eps = 0;
  BatchNorm<float> channels(kCount, options);
  channels.running_mean().setConstant(3);
  channels.running_var().setConstant(4);
  channels.infer(one_row, y_row);
  for (Index i = 0; i < kCount; ++i) ASSERT_EQ(y.data()[i], (x.data()[i] - 3) / 2) << i;
}

TEST(OneValue, RMSNormGivesTheSign) {
  Guarded<float, 2, kRow> x({4, 1}, {-3, 2, 0, 1e-20}), y({4, 1});
  RMSNormOptions options;
  options.eps = 0;
  RMSNorm<float> rms({1}, options);
  rms.forward(x.map(), y.map());
  EXPECT_EQ(y.values(), (Values{-1, 1, 0, 1}));
}

TEST(OneValue, BatchAndInstanceNormRefuse) {
  Guarded<float, 3, kRow> x({1, 7, 1}, normal(7, 1)), y({1, 7, 1});
  for (const bool track : {true, false}) {
    BatchNormOptions bn;
    InstanceNormOptions in;
    bn.track_running_stats = in.track_running_stats = track;
    EXPECT_THROW(BatchNorm<float>(7, bn).forward(x.map(), y.map()), std::invalid_argument);
    EXPECT_THROW(InstanceNorm<float>(7, in).forward(x.map(), y.map()), std::invalid_argument);
  }
  Guarded<float, 2, kRow> x2({9, 7}, normal(63, 1)), y2({9, 7});
  EXPECT_THROW(InstanceNorm<float>(7).forward(x2.map(), y2.map()), std::invalid_argument);
  EXPECT_NO_THROW(BatchNorm<float>(7).forward(x2.map(), y2.map()));
}

// --- empty tensors -------------------------------------------------------------------------------------------------

template <int Rank, int Layout>
void takes_empty(const Extents& extents, int channel_axis) {
  using T = Guarded<float, Rank, Layout>;
  for_each_layer<float>(extents, channel_axis, [&](const Kind& kind, auto layer) {
    const std::string where = kind.name + " " + layout_name(Layout);
    // a full forward and backward first, so that something is there to be overwritten
    Extents full = extents;
    for (Index& e : full) e = e == 0 ? 3 : e;
    T x(full, normal(count(full), 1)), y(full);
    layer.forward(x.map(), y.map());
    layer.backward(x.map(), x.map(), y.map());
    for (const bool training : {true, false}) {
      training ? layer.train() : layer.eval();
      const std::string before = running(layer);
      T none(extents), out(extents);
      Eigen::Tensor<float, Rank, Layout> owned;
      layer.forward(none.map(), out.map());
      layer.forward(none.map(), owned);
      EXPECT_EQ(owned.dimensions(), none.map().dimensions()) << where;
      EXPECT_EQ(layer.rstd().size(), 0) << where;
      if constexpr (has_mean<decltype(layer)>) {
        EXPECT_EQ(layer.mean().size(), 0) << where;
      }
      layer.backward(none.map(), none.map(), out.map());
      EXPECT_EQ(layer.dgamma().size(), layer.gamma().size()) << where;
      EXPECT_TRUE((layer.dgamma() == 0).all()) << where;
      if constexpr (has_beta<decltype(layer)>) {
        EXPECT_EQ(layer.dbeta().size(), layer.beta().size()) << where;
        EXPECT_TRUE((layer.dbeta() == 0).all()) << where;
      }
      layer.infer(none.map(), out.map());
      EXPECT_EQ(layer(none.map()).dimensions(), none.map().dimensions()) << where;
      EXPECT_EQ(running(layer), before) << where << ": running statistics or the counter moved";
      EXPECT_TRUE(out.guards_intact() && none.guards_intact()) << where;
    }
  });
}

TEST(Empty, EveryAxisInTurn) {
  takes_empty<3, kRow>({0, 4, 5}, 1);
  takes_empty<3, kRow>({3, 4, 0}, 1);
  takes_empty<3, kRow>({0, 4, 0}, 1);
  takes_empty<3, kRow>({0, 5, 4}, -1);
  takes_empty<3, kRow>({3, 0, 4}, -1);
  takes_empty<3, kCol>({0, 4, 5}, 1);
  takes_empty<3, kCol>({3, 4, 0}, 1);
  takes_empty<3, kCol>({3, 0, 4}, -1);
  takes_empty<2, kRow>({0, 4}, 1);
}

TEST(Empty, NoChannelsIsAnotherNumberOfChannels) {
  Guarded<float, 3, kRow> x({3, 0, 5}), y({3, 0, 5});
  EXPECT_THROW(BatchNorm<float>(4).forward(x.map(), y.map()), std::invalid_argument);
  EXPECT_THROW(InstanceNorm<float>(4).infer(x.map(), y.map()), std::invalid_argument);
  EXPECT_THROW(GroupNorm<float>(2, 4).forward(x.map(), y.map()), std::invalid_argument);
  EXPECT_THROW(LayerNorm<float>({4}).forward(x.map(), y.map()), std::invalid_argument);
  Guarded<float, 3, kRow> middle({3, 0, 4}), out({3, 0, 4});
  LayerNorm<float> ln({4});
  EXPECT_NO_THROW(ln.forward(middle.map(), out.map()));
  EXPECT_EQ(ln.rstd().size(), 0);
}

TEST(Empty, BackwardNeedsTheEmptyForward) {
  Guarded<float, 2, kRow> x({3, 4}, normal(12, 1)), y({3, 4}), none({0, 4}), out({0, 4});
  BatchNorm<float> bn(4);
  bn.forward(x.map(), y.map());
  EXPECT_THROW(bn.backward(none.map(), none.map(), out.map()), std::invalid_argument);
  bn.forward(none.map(), out.map());
  EXPECT_THROW(bn.backward(x.map(), x.map(), y.map()), std::invalid_argument);
}

// --- zero variance -------------------------------------------------------------------------------------------------

template <int Layout, class Scalar>
void constant_statistics_give_beta(double eps) {
  for (const double value : {0.0, 0.1, -7.3, 40000.0, 1e30, 3e38}) {
    const Values x = rounded<Scalar>(Values(480, value));
    if (!std::isfinite(x[0])) continue;
    for (const int axis : {1, 2}) {
      for_each_layer<Scalar>({3, 20, 8}, axis, eps, [&](const Kind& kind, const auto& layer) {
        using T = Guarded<Scalar, 3, Layout>;
        if (kind.centred == Centred::kNo && value != 0) return;  // RMSNorm of a constant is its sign
        const std::string where = kind.name + " " + layout_name(Layout) + " of all " + std::to_string(value);
        auto copy = layer;
        T xs({3, 20, 8}, x), dy({3, 20, 8}, normal(480, 2)), y({3, 20, 8}), dx({3, 20, 8});
        copy.forward(xs.map(), y.map());
        copy.backward(xs.map(), dy.map(), dx.map());
        const Values ys = y.values(), dxs = dx.values();
        for (std::size_t i = 0; i < ys.size(); ++i) {
          ASSERT_EQ(ys[i], to_double(from_double<Scalar>(beta_of(copy, kind.sets.param[i])))) << where << " at " << i;
          if (eps == 0) {
            ASSERT_EQ(dxs[i], 0) << where << ": dx at " << i;
          }
        }
        for (Index k = 0; eps == 0 && k < copy.rstd().size(); ++k) ASSERT_EQ(double(copy.rstd()[k]), 0) << where;
        for (Index k = 0; k < copy.dgamma().size(); ++k) ASSERT_EQ(double(copy.dgamma()[k]), 0) << where;
      });
    }
  }
}

TEST(ZeroVariance, GivesBeta) {
  constant_statistics_give_beta<kRow, float>(1e-5);
  constant_statistics_give_beta<kRow, double>(1e-5);
}

TEST(ZeroVariance, WithoutEpsGivesBetaToo) {
  constant_statistics_give_beta<kRow, float>(0);
  constant_statistics_give_beta<kCol, float>(0);
  constant_statistics_give_beta<kRow, Eigen::half>(0);
  constant_statistics_give_beta<kRow, double>(0);
}

TEST(ZeroVariance, OfTheRunningStatisticsGivesBeta) {
  Guarded<float, 3, kRow> x({3, 4, 5}, normal(60, 1)), dy({3, 4, 5}, normal(60, 2)), y({3, 4, 5}), dx({3, 4, 5});
  BatchNormOptions options;
  options.eps = 0;
  BatchNorm<float> bn(4, options);
  stir(bn);
  bn.running_var() << 0, 1, 0, 4;
  bn.eval();
  bn.forward(x.map(), y.map());
  bn.backward(x.map(), dy.map(), dx.map());
  EXPECT_EQ(bn.rstd()[0], 0);
  EXPECT_EQ(bn.rstd()[3], 0.5F);
  const Values ys = y.values(), dxs = dx.values();
  bn.infer(x.map(), y.map());
  EXPECT_EQ(y.values(), ys);
  for (std::size_t i = 0; i < 60; ++i) {
    const Index c = Index(i / 5 % 4);
    EXPECT_EQ(ys[i] == double(bn.beta()[c]), c % 2 == 0) << "at " << i;
    EXPECT_EQ(dxs[i] == 0, c % 2 == 0) << "at " << i;
  }
}

// --- NaN and Inf ---------------------------------------------------------------------------------------------------

// With a NaN or Inf at any one position, every element of another statistic keeps its bits, and no element of the same
// statistic is taken for a number.
template <int Layout, class Scalar>
void poison_stays_in_its_statistic(const Extents& extents, int channel_axis, double poison, Index stride) {
  using T = Guarded<Scalar, 3, Layout>;
  const Index n = count(extents);
  const Values clean = normal(n, 1), upstream = normal(n, 2);
  for_each_layer<Scalar>(extents, channel_axis, [&](const Kind& kind, const auto& fresh) {
    const std::string name = kind.name + " " + layout_name(Layout) + " with " + std::to_string(poison);
    const auto run = [&](const Values& x_values, const Values& dy_values, auto& layer, Values& y, Values& dx) {
      T x(extents, x_values), dy(extents, dy_values), ym(extents), dxm(extents);
      layer.forward(x.map(), ym.map());
      layer.backward(x.map(), dy.map(), dxm.map());
      y = ym.values(), dx = dxm.values();
    };
    auto expected = fresh;
    Values y, dx, bad_y, bad_dx;
    run(clean, upstream, expected, y, dx);
    // a parameter gradient gathers from every statistic that its elements belong to
    const auto param_has = [&](Index p, std::size_t at) {
      for (std::size_t i = 0; i < clean.size(); ++i) {
        if (kind.sets.param[i] == p && kind.sets.stat[i] == kind.sets.stat[at]) return true;
      }
      return false;
    };
    for (std::size_t at = 0; at < clean.size(); at += std::size_t(stride)) {
      const std::string where = name + " at " + std::to_string(at);
      Values x = clean;
      x[at] = poison;
      auto layer = fresh;
      run(x, upstream, layer, bad_y, bad_dx);
      for (std::size_t i = 0; i < clean.size(); ++i) {
        if (kind.sets.stat[i] != kind.sets.stat[at]) {
          ASSERT_EQ(bad_y[i], y[i]) << where << ": y at " << i;
          ASSERT_EQ(bad_dx[i], dx[i]) << where << ": dx at " << i;
        } else if (kind.centred == Centred::kYes || std::isnan(poison) || i == at) {
          ASSERT_TRUE(std::isnan(bad_y[i])) << where << ": y at " << i << " is " << bad_y[i];
          ASSERT_TRUE(std::isnan(bad_dx[i])) << where << ": dx at " << i << " is " << bad_dx[i];
        }
      }
      for (Index p = 0; p < kind.sets.params; ++p) {
        if (!param_has(p, at)) {
          ASSERT_EQ(layer.dgamma()[p], expected.dgamma()[p]) << where << ": dgamma " << p;
        }
        if constexpr (has_beta<decltype(layer)>) {
          ASSERT_EQ(layer.dbeta()[p], expected.dbeta()[p]) << where << ": dbeta " << p;
        }
      }
      if constexpr (has_running<decltype(layer)>) {
        for (Index c = 0; c < layer.running_mean().size(); ++c) {
          if (c == kind.sets.param[at]) {
            ASSERT_FALSE(std::isfinite(double(layer.running_var()[c]))) << where << ": running_var " << c;
          } else {
            ASSERT_EQ(layer.running_mean()[c], expected.running_mean()[c]) << where << ": running_mean " << c;
            ASSERT_EQ(layer.running_var()[c], expected.running_var()[c]) << where << ": running_var " << c;
          }
        }
      }
      Values dy = upstream;
      dy[at] = poison;
      layer = fresh;
      run(clean, dy, layer, bad_y, bad_dx);
      for (std::size_t i = 0; i < clean.size(); ++i) {
        ASSERT_EQ(bad_y[i], y[i]) << where << " of dy: y at " << i;
        if (kind.sets.stat[i] != kind.sets.stat[at]) {
          ASSERT_EQ(bad_dx[i], dx[i]) << where << " of dy: dx at " << i;
        } else {
          ASSERT_FALSE(std::isfinite(bad_dx[i])) << where << " of dy: dx at " << i;
        }
      }
      for (Index p = 0; p < kind.sets.params; ++p) {
        if (p == kind.sets.param[at]) {
          ASSERT_FALSE(std::isfinite(double(layer.dgamma()[p]))) << where << " of dy: dgamma " << p;
        } else {
          ASSERT_EQ(layer.dgamma()[p], expected.dgamma()[p]) << where << " of dy: dgamma " << p;
        }
      }
      // elementwise where the statistics are the layer's own
      if constexpr (has_running<decltype(layer)>) {
        layer = fresh;
        layer.eval();
        auto expected_eval = layer;
        Values y_eval, dx_eval;
        run(clean, upstream, expected_eval, y_eval, dx_eval);
        run(x, upstream, layer, bad_y, bad_dx);
        for (std::size_t i = 0; i < clean.size(); ++i) {
          if (i == at) {
            ASSERT_FALSE(std::isfinite(bad_y[i])) << where << " in eval mode: y at " << i;
          } else {
            ASSERT_EQ(bad_y[i], y_eval[i]) << where << " in eval mode: y at " << i;
          }
          ASSERT_EQ(bad_dx[i], dx_eval[i]) << where << " in eval mode: dx at " << i;
        }
      }
    }
  });
}

template <int Layout, class Scalar>
void poison_everywhere() {
  for (const double poison : {kNaN, kInf, -kInf}) {
    poison_stays_in_its_statistic<Layout, Scalar>({3, 4, 5}, 1, poison, 1);
    poison_stays_in_its_statistic<Layout, Scalar>({2, 5, 8}, 2, poison, 1);
    poison_stays_in_its_statistic<Layout, Scalar>({2, 3, 19}, 1, poison, 1);
    poison_stays_in_its_statistic<Layout, Scalar>({2, 7, 17}, 2, poison, 3);
    poison_stays_in_its_statistic<Layout, Scalar>({19, 3, 2}, 1, poison, 1);
    poison_stays_in_its_statistic<Layout, Scalar>({2, 2, 70}, 1, poison, 7);
    poison_stays_in_its_statistic<Layout, Scalar>({3, 41, 33}, 2, poison, 331);
  }
}

TEST(Poison, StaysInItsStatistic) { poison_everywhere<kRow, float>(); }
TEST(Poison, StaysInItsStatisticColMajor) { poison_everywhere<kCol, float>(); }
TEST(Poison, StaysInItsStatisticDouble) { poison_everywhere<kRow, double>(); }
TEST(Poison, StaysInItsStatisticHalf) { poison_everywhere<kRow, Eigen::half>(); }

// --- running statistics --------------------------------------------------------------------------------------------

TEST(Momentum, ZeroSkipsAndOneAssigns) {
  Guarded<float, 3, kRow> x({3, 4, 5}, normal(60, 1)), y({3, 4, 5}), bad({3, 4, 5}, Values(60, kNaN));
  BatchNormOptions options;
  options.momentum = 0.0;
  BatchNorm<float> zero(4, options);
  stir(zero);
  const std::string before = bytes(zero.running_mean()) + bytes(zero.running_var());
  zero.forward(bad.map(), y.map());
  EXPECT_EQ(before, bytes(zero.running_mean()) + bytes(zero.running_var())) << "a NaN batch poisoned momentum 0";
  zero.forward(x.map(), y.map());
  EXPECT_EQ(before, bytes(zero.running_mean()) + bytes(zero.running_var()));

  options.momentum = 1.0;
  BatchNorm<float> one(4, options);
  one.running_mean().setConstant(float(kNaN));
  one.running_var().setConstant(float(kInf));
  one.forward(x.map(), y.map());
  EXPECT_TRUE((one.running_mean() == one.mean()).all()) << one.running_mean().transpose();
  const Values xs = x.values();
  const Statistics s = oracle_statistics(xs, batch_sets({3, 4, 5}, 1), 0);
  for (Index c = 0; c < 4; ++c) {
    EXPECT_NEAR(double(one.running_var()[c]), double(s.var[std::size_t(c)]) * 15 / 14, 1e-5) << "channel " << c;
  }

  InstanceNormOptions instance;
  instance.track_running_stats = true;
  instance.momentum = 0.0;
  InstanceNorm<float> in(4, instance);
  stir(in);
  const std::string in_before = bytes(in.running_mean()) + bytes(in.running_var());
  in.forward(bad.map(), y.map());
  EXPECT_EQ(in_before, bytes(in.running_mean()) + bytes(in.running_var())) << "a NaN batch poisoned momentum 0";
}

TEST(RunningVariance, TooLargeForItsTypeIsInfinite) {
  Values xs(72);
  for (std::size_t i = 0; i < 72; ++i) xs[i] = i % 2 == 0 ? 1e30 : -1e30;
  Guarded<float, 3, kRow> x({3, 4, 6}, xs), y({3, 4, 6});
  for (const std::optional<double> momentum :
       {std::optional<double>(0.1), std::optional<double>(1.0), {std::nullopt}}) {
    BatchNormOptions options;
    options.momentum = momentum;
    BatchNorm<float> bn(4, options);
    bn.forward(x.map(), y.map());
    for (Index c = 0; c < 4; ++c) EXPECT_EQ(double(bn.running_var()[c]), kInf) << "channel " << c;
    EXPECT_TRUE(bn.running_mean().isFinite().all());
    const Values ys = y.values();
    for (std::size_t i = 0; i < 72; ++i) EXPECT_NEAR(std::abs(ys[i]), 1, 1e-6) << "at " << i;
    bn.infer(x.map(), y.map());
    for (const double v : y.values()) EXPECT_EQ(v, 0) << "an infinite variance has rstd 0";
  }
  InstanceNormOptions options;
  options.track_running_stats = true;
  InstanceNorm<float> in(4, options);
  in.forward(x.map(), y.map());
  for (Index c = 0; c < 4; ++c) EXPECT_EQ(double(in.running_var()[c]), kInf) << "channel " << c;
}

// The mean square is infinite then, so rstd is 0, wherever the infinity is and however the row is divided into vectors.
template <class Scalar>
void infinity_in_a_row() {
  for (const Index n : {1, 2, 3, 5, 8, 9, 15, 16, 17, 31, 33, 48, 63, 100, 129, 257, 1000, 4099}) {
    for (const Index at : {Index{0}, n / 3, n / 2, n - 1}) {
      for (const Index rows : {1, 5}) {
        Values xs = normal(rows * n, 1);
        xs[std::size_t((rows - 1) * n + at)] = at % 2 == 0 ? kInf : -kInf;
        Guarded<Scalar, 2, kRow> x({rows, n}, xs), y({rows, n});
        RMSNorm<Scalar>(n).forward(x.map(), y.map());
        const Values ys = y.values();
        for (Index j = 0; j < n; ++j) {
          const double v = ys[std::size_t((rows - 1) * n + j)];
          ASSERT_TRUE(j == at ? std::isnan(v) : v == 0) << v << " at " << j << " of " << n << " in row " << rows
                                                        << ", infinity at " << at << ", " << name_of<Scalar>();
        }
        for (Index i = 0; i < (rows - 1) * n; ++i) ASSERT_TRUE(std::isfinite(ys[std::size_t(i)]));
      }
    }
  }
}

TEST(NonFinite, OneInfinityMakesTheRestOfItsRowZeroInRMSNorm) {
  infinity_in_a_row<float>();
  infinity_in_a_row<double>();
  infinity_in_a_row<Eigen::half>();
}

}  // namespace
}  // namespace tensornorm_test
