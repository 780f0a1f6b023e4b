// Moments: right about any estimate, at any offset, merged in any order.
#include "tensornorm/core/kernel/moments.hpp"

#include <gtest/gtest.h>

#include <limits>
#include <random>
#include <vector>

namespace {

using namespace tensornorm;
using namespace tensornorm::core;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct Truth {
  long double mean, m2;
};

Truth truth(const std::vector<float>& x) {
  long double sum = 0, m2 = 0;
  for (const float v : x) sum += v;
  const long double mean = sum / static_cast<long double>(x.size());
  for (const float v : x) m2 += (v - mean) * (v - mean);
  return {mean, m2};
}

Moments about(double estimate, const float* x, Index n) {
  double d = 0, d2 = 0;
  for (Index i = 0; i < n; ++i) {
    d += x[i] - estimate;
    d2 += (x[i] - estimate) * (x[i] - estimate);
  }
  return moments_about(estimate, n, 1 / static_cast<double>(n), d, d2);
}

std::vector<float> numbers(std::size_t n, float offset) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal(offset, 1);
  std::vector<float> x(n);
  for (float& v : x) v = normal(random);
  return x;
}

void expect_near(const Moments& m, const Truth& t) {
  EXPECT_NEAR(static_cast<double>((m.estimate - t.mean) + m.correction), 0, 1e-12);
  EXPECT_NEAR(m.m2 / static_cast<double>(t.m2), 1, 1e-10);
}

TEST(DoubleDouble, KeepsWhatRoundingLoses) {
  const DoubleDouble near_one = two_sum(1, 0x1p-60);
  EXPECT_EQ(near_one.high, 1);
  EXPECT_EQ(near_one.low, 0x1p-60);
  const DoubleDouble square = product(DoubleDouble{1 + 0x1p-52, 0}, 1 + 0x1p-52);
  EXPECT_EQ(square.high, 1 + 0x1p-51);
  EXPECT_EQ(square.low, 0x1p-104);
  const DoubleDouble cross = product(near_one, near_one);
  EXPECT_EQ(cross.high, 1);
  EXPECT_EQ(cross.low, 0x1p-59);
  const DoubleDouble third = quotient({1, 0}, 3), whole = product(third, 3);
  EXPECT_EQ(whole.high, 1);
  EXPECT_LE(std::abs(whole.low), 0x1p-104);
  const DoubleDouble nothing = sum(near_one, {-1, -0x1p-60});
  EXPECT_EQ(nothing.high, 0);
  EXPECT_EQ(nothing.low, 0);
}

TEST(DoubleDouble, OverflowIsInfinityAndNaNIsNaN) {
  for (const DoubleDouble& x : {two_sum(1e308, 1e308), product(DoubleDouble{1e200, 0}, 1e200),
                                quotient({1e308, 0}, 1e-10), sum(DoubleDouble{1e308, 1e290}, DoubleDouble{1e308, 0})}) {
    EXPECT_EQ(x.high, kInfinity);
    EXPECT_EQ(x.low, 0);
  }
  for (const DoubleDouble& x : {two_sum(kInfinity, -kInfinity), product(DoubleDouble{kInfinity, 0}, 0)}) {
    EXPECT_NE(x.high, x.high);
    EXPECT_EQ(x.low, 0);
  }
}

/// Sets in any order have one union, to twice the digits.
TEST(Moments, MergeInDoubleDouble) {
  const Moments a{3, 1e6, 0x1p-40, 2, 0x1p-60}, b{5, 1e6 + 0.1, -0x1p-45, 1e-3, 0}, c{1, -7, 0, 0, 0};
  const Moments left = merge(merge(a, b), c), right = merge(a, merge(c, b));
  EXPECT_EQ(left.n, 9);
  EXPECT_EQ(left.estimate, right.estimate);
  EXPECT_NEAR(left.correction, right.correction, 0x1p-80);
  EXPECT_EQ(left.m2, right.m2);
  EXPECT_NEAR(left.m2_lo, right.m2_lo, left.m2 * 0x1p-100);
}

TEST(Moments, AreTheSameAboutAnyEstimateNearTheMean) {
  for (const float offset : {0.0f, 1e2f, 1e5f, 1e6f}) {
    const auto x = numbers(1000, offset);
    for (const double estimate : {offset - 2.0, offset + 0.0, offset + 0.5, offset + 2.0}) {
      expect_near(about(estimate, x.data(), 1000), truth(x));
    }
  }
}

TEST(Moments, KnowWhenTheEstimateIsFar) {
  const auto x = numbers(1000, 100);
  EXPECT_FALSE(is_far(about(99.5, x.data(), 1000)));
  EXPECT_FALSE(is_far(about(100.5, x.data(), 1000)));
  EXPECT_TRUE(is_far(about(101.5, x.data(), 1000)));
  EXPECT_TRUE(is_far(about(0, x.data(), 1000)));
}

TEST(Moments, MergeLikeTheUnion) {
  for (const float offset : {0.0f, 1e6f}) {
    const auto x = numbers(1000, offset);
    for (const Index cut : {1, 17, 500, 999}) {
      const Moments a = about(offset - 1.0, x.data(), cut), b = about(offset + 1.0, x.data() + cut, 1000 - cut);
      expect_near(merge(a, b), truth(x));
      expect_near(merge(b, a), truth(x));
      EXPECT_EQ(merge(a, b).n, 1000);
    }
  }
}

TEST(Moments, MergingNothingChangesNothing) {
  const auto x = numbers(10, 3);
  const Moments m = about(3, x.data(), 10);
  for (const Moments& same : {merge(m, Moments{}), merge(Moments{}, m)}) {
    EXPECT_EQ(same.n, m.n);
    EXPECT_EQ(same.mean(), m.mean());
    EXPECT_EQ(same.m2, m.m2);
  }
}

TEST(Moments, MergeIsAssociativeUpToRounding) {
  const auto x = numbers(900, 1e4f);
  const Moments a = about(1e4, x.data(), 300), b = about(1e4 + 1, x.data() + 300, 300),
                c = about(1e4 - 1, x.data() + 600, 300);
  const Moments left = merge(merge(a, b), c), right = merge(a, merge(b, c));
  EXPECT_NEAR(left.mean(), right.mean(), 1e-11);
  EXPECT_NEAR(left.m2 / right.m2, 1, 1e-13);
}

TEST(Finish, SplitsTheMeanSoThatNothingIsLost) {
  const Moments m{4, 100000, 0.0123456789, 4};
  const Statistic<float> s = finish<float>(m, 0);
  EXPECT_EQ(s.hi, static_cast<float>(m.mean()));
  EXPECT_NEAR(static_cast<double>(s.hi) + static_cast<double>(s.lo), m.mean(), 1e-9);
  EXPECT_EQ(s.rstd, 1.0f);
}

TEST(Finish, RootsOfDoublesAreRoundedCorrectly) {
  std::mt19937 engine(1);
  int others = 0;
  for (int i = 0; i < 10000; ++i) {
    const double var = std::ldexp(1 + double(engine()) * 0x1p-32, i % 1900 - 950),
                 eps = i % 3 == 0 ? 0 : var * 1e-5 * i;
    const double root = reciprocal_std<double>(var, eps);
    const auto exact = 1 / std::sqrt(static_cast<long double>(var) + static_cast<long double>(eps));
    others += root == static_cast<double>(exact) ? 0 : 1;
    ASSERT_NEAR(root, double(exact), double(exact) * 0x1p-52) << var << " + " << eps;
  }
  EXPECT_LE(others, 20);  // long double of x86 is no exact reference
}

TEST(Finish, NoVarianceAndNoEpsIsZeroNotInfinity) {
  EXPECT_EQ(reciprocal_std<float>(0, 0), 0.0f);
  EXPECT_EQ(reciprocal_std<double>(0, 0), 0.0);
  EXPECT_EQ(reciprocal_std<float>(3, 1), 0.5f);
}

TEST(Finish, ARootThatNoFloatHoldsIsZero) {
  EXPECT_EQ(reciprocal_std<float>(1e-80, 0), 0.0f);
  EXPECT_EQ(reciprocal_std<float>(1e-76, 0), 1e38f);
}

}  // namespace
