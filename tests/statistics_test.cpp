// Statistics in lanes against one after another: any count, the same bits for few and for many, and whatever is
// doubtful found at any place.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "tensornorm/core/kernel/finish_sums.hpp"

namespace {

using namespace tensornorm;
using namespace tensornorm::core;

constexpr double kN = 100, kEps = 1e-5;
constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

// Estimates and sums of sets of kN numbers, with memory for whole vectors.
struct Sums {
  Index count;
  std::vector<float> estimate, hi, lo, rstd, scale, shift;
  std::vector<double> sum_d, sum_d2, m2;

  explicit Sums(Index n) : count(n) {
    const auto room = static_cast<std::size_t>(n + FinishSums::kMostTogether);
    for (std::vector<float>* v : {&estimate, &hi, &lo, &rstd, &scale, &shift}) v->assign(room, -7);
    sum_d.assign(room, -7);
    sum_d2.assign(room, -7);
    m2.assign(room, -7);
    std::mt19937 random(1);
    std::normal_distribution<double> normal;
    for (Index s = 0; s < n; ++s) {
      const auto i = static_cast<std::size_t>(s);
      const double std = std::exp(3 * normal(random));
      estimate[i] = static_cast<float>(1e4 * normal(random));
      sum_d[i] = 0.3 * kN * std * std::tanh(normal(random));
      sum_d2[i] = kN * std * std + sum_d[i] * sum_d[i] / kN;
    }
  }

  StatisticArrays arrays(Index first) {
    return {hi.data() + first, lo.data() + first, rstd.data() + first, scale.data() + first, shift.data() + first};
  }

  bool take(Index first, Index n, bool centred = true) {
    bool trusted = false;
    core::dispatch(FinishSums{{kN, kEps, least_trusted_var<float>(kEps), 0, centred},
                              n,
                              estimate.data() + first,
                              sum_d.data() + first,
                              sum_d2.data() + first,
                              m2.data() + first,
                              arrays(first),
                              &trusted});
    return trusted;
  }
};

void expect_unit(float is, float should_be) {
  EXPECT_LE(std::abs(is - should_be), std::abs(should_be) * std::numeric_limits<float>::epsilon());
}

TEST(Statistics, AsOneAfterAnother) {
  for (Index count = 1; count < 70; ++count) {
    Sums sums(count);
    const Sums given = sums;
    ASSERT_TRUE(sums.take(0, count));
    for (std::size_t s = 0; s < static_cast<std::size_t>(count); ++s) {
      const double e = static_cast<double>(given.estimate[s]);
      const Moments m = moments_about(e, static_cast<Index>(kN), 1 / kN, -given.sum_d[s], given.sum_d2[s]);
      const Statistic<float> want = finish<float>(m, kEps);
      const double mean = static_cast<double>(sums.hi[s]) + static_cast<double>(sums.lo[s]);
      EXPECT_NEAR(mean, m.mean(), 1e-10 * std::abs(m.mean()));
      expect_unit(sums.hi[s], want.hi);
      expect_unit(sums.rstd[s], want.rstd);
      EXPECT_EQ(sums.scale[s], -sums.rstd[s]);
      EXPECT_EQ(sums.shift[s], -sums.lo[s] * sums.rstd[s]);
      EXPECT_NEAR(sums.m2[s], m.m2, 1e-13 * given.sum_d2[s]);
    }
  }
}

TEST(Statistics, NotCentred) {
  Sums sums(21);
  for (float& e : sums.estimate) e = 0;
  const Sums given = sums;
  ASSERT_TRUE(sums.take(0, 21, /*centred=*/false));
  for (std::size_t s = 0; s < 21; ++s) {
    EXPECT_EQ(sums.hi[s], 0);
    EXPECT_EQ(sums.lo[s], 0);
    expect_unit(sums.rstd[s], static_cast<float>(1 / std::sqrt(given.sum_d2[s] / kN + kEps)));
  }
}

TEST(Statistics, FewHaveTheBitsOfMany) {
  constexpr Index kCount = 37;
  Sums many(kCount);
  ASSERT_TRUE(many.take(0, kCount));
  for (const Index few : {1, 2, 3, 4, 7, 16}) {
    Sums alone(kCount);
    for (Index s = 0; s < kCount; s += few) {
      const Index n = std::min(few, kCount - s);
      const Sums rest = alone;  // what fills a vector up is overwritten
      ASSERT_TRUE(alone.take(s, n));
      for (auto i = static_cast<std::size_t>(s + n); i < alone.sum_d.size(); ++i) {
        alone.estimate[i] = rest.estimate[i];
        alone.sum_d[i] = rest.sum_d[i];
        alone.sum_d2[i] = rest.sum_d2[i];
      }
    }
    for (std::size_t s = 0; s < static_cast<std::size_t>(kCount); ++s) {
      EXPECT_EQ(alone.hi[s], many.hi[s]) << few;
      EXPECT_EQ(alone.lo[s], many.lo[s]) << few;
      EXPECT_EQ(alone.rstd[s], many.rstd[s]) << few;
      EXPECT_EQ(alone.shift[s], many.shift[s]) << few;
      EXPECT_EQ(alone.m2[s], many.m2[s]) << few;
    }
  }
}

TEST(Statistics, DoubtAnywhere) {
  struct Doubtful {
    double sum_d, sum_d2;
  };
  const Doubtful cases[] = {{2 * kN, 5 * kN},        // an estimate two standard deviations off
                            {kN, kN * (1 - 1e-15)},  // one of equal numbers, and rounding
                            {kNaN, kNaN},           {1, kNaN}, {1, kInf}, {kInf, kInf}};
  for (const Index count : {1, 3, 4, 5, 16, 17, 33}) {
    for (Index at = 0; at < count; ++at) {
      for (const Doubtful& doubtful : cases) {
        Sums sums(count);
        sums.sum_d[static_cast<std::size_t>(at)] = doubtful.sum_d;
        sums.sum_d2[static_cast<std::size_t>(at)] = doubtful.sum_d2;
        EXPECT_FALSE(sums.take(0, count)) << at << " of " << count << ": " << doubtful.sum_d << ", " << doubtful.sum_d2;
      }
    }
  }
}

// Without eps to hide it, a variance whose squares underflowed is one.
TEST(Statistics, TooSmallAVariance) {
  Sums sums(9);
  bool trusted = true;
  sums.sum_d[5] = 0;
  sums.sum_d2[5] = 1e-30;
  core::dispatch(FinishSums{{kN, 0, least_trusted_var<float>(0), 0, true},
                            9,
                            sums.estimate.data(),
                            sums.sum_d.data(),
                            sums.sum_d2.data(),
                            sums.m2.data(),
                            sums.arrays(0),
                            &trusted});
  EXPECT_FALSE(trusted);
}

// What eps hides is no reason to sum again: a signal that is nothing beside it, however far its estimate is off.
TEST(Statistics, HiddenByEps) {
  Sums sums(9);
  sums.sum_d[5] = 1e-29 * kN;
  sums.sum_d2[5] = 0;
  EXPECT_TRUE(sums.take(0, 9));
  EXPECT_EQ(sums.rstd[5], static_cast<float>(1 / std::sqrt(kEps)));
}

// Roots of given variances, with whatever lies behind them in memory left alone.
struct Roots {
  std::vector<float> rstd;
  bool trusted = false;

  Roots(const std::vector<float>& var, double eps) : rstd(var.size() + 1, -7) {
    core::dispatch(ReciprocalRoots{static_cast<Index>(var.size()), eps, var.data(), rstd.data(), &trusted});
    EXPECT_EQ(rstd.back(), -7);
  }
};

TEST(ReciprocalRoots, AsOneAfterAnother) {
  std::mt19937 random(2);
  std::normal_distribution<double> normal;
  for (Index count = 1; count < 70; ++count) {
    std::vector<float> var;
    for (Index i = 0; i < count; ++i) var.push_back(static_cast<float>(std::exp(20 * normal(random))));
    for (const double eps : {0., 1e-5, 1e30}) {
      const Roots roots(var, eps);
      ASSERT_TRUE(roots.trusted);
      for (std::size_t s = 0; s < var.size(); ++s) {
        expect_unit(roots.rstd[s], reciprocal_std<float>(static_cast<double>(var[s]), eps));
      }
    }
  }
}

TEST(ReciprocalRoots, DoubtAnywhere) {
  constexpr float kLeastFloat = std::numeric_limits<float>::denorm_min();
  for (const Index channels : {1, 3, 4, 5, 16, 17, 33}) {
    const auto count = static_cast<std::size_t>(channels);
    for (std::size_t at = 0; at < count; ++at) {
      std::vector<float> var(count, 1);
      for (const double bad : {kNaN, kInf, -kInf, -1., 0.}) {
        var[at] = static_cast<float>(bad);
        EXPECT_FALSE(Roots(var, 0).trusted) << bad << " at " << at << " of " << count;
        EXPECT_FALSE(ReciprocalRoots::can_trust(bad)) << bad;
      }
      for (const float good : {kLeastFloat, std::numeric_limits<float>::max()}) {
        var[at] = good;
        EXPECT_TRUE(Roots(var, 0).trusted) << good << " at " << at << " of " << count;
        EXPECT_TRUE(ReciprocalRoots::can_trust(static_cast<double>(good))) << good;
      }
    }
  }
}

}  // namespace
