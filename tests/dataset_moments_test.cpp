// moments(), merge() and Standardizer, against plain loops in long double.
#include <gtest/gtest.h>

#define EIGEN_USE_THREADS
#include <tensornorm/tensornorm.hpp>

#include "every_layer.hpp"

namespace tensornorm_test {
namespace {

using namespace tensornorm;

/// The set of each element, row-major over the axes that are not in `over`.
Sets sets_over(const Extents& extents, const std::vector<int>& over) {
  const int rank = int(extents.size());
  std::vector<bool> is_reduced(extents.size(), false);
  for (const int a : over) is_reduced[std::size_t(a < 0 ? a + rank : a)] = true;
  Sets sets{1, 1, {}, {}};
  for (std::size_t d = 0; d < extents.size(); ++d) sets.stats *= is_reduced[d] ? 1 : extents[d];
  for (Index i = 0; i < count(extents); ++i) {
    Index rest = i, stat = 0, stride = 1;
    for (std::size_t d = extents.size(); d-- > 0;) {
      if (!is_reduced[d]) {
        stat += rest % extents[d] * stride;
        stride *= extents[d];
      }
      rest /= extents[d];
    }
    sets.stat.push_back(stat);
  }
  sets.param.assign(sets.stat.size(), 0);
  return sets;
}

/// Means to a part of the deviation, variances to a part of themselves.
void expect_moments(const Moments& is, const Values& x, const Sets& sets, double tolerance) {
  const Statistics want = oracle_statistics(x, sets, 0);
  ASSERT_EQ(is.mean.size(), sets.stats);
  for (Index i = 0; i < sets.stats; ++i) {
    const auto k = std::size_t(i);
    const Real var = want.var[k], off = (Real(is.mean[i]) - want.origin[k]) + Real(is.lo[i]) - want.offset[k];
    EXPECT_LE(std::abs(off), Real(tolerance) * std::sqrt(var)) << "mean " << i;
    EXPECT_LE(std::abs(Real(is.var()[i]) - var), Real(tolerance) * var) << "variance " << i;
    EXPECT_EQ(Real(is.n), want.n[k]);
  }
}

template <class Scalar, int Layout>
void expect_of(const Extents& extents, const std::vector<int>& over, double mean, double tolerance) {
  const Values x = rounded<Scalar>(normal(count(extents), 3, mean));
  Guarded<Scalar, 4, Layout> tensor(extents, x);
  SCOPED_TRACE(text(extents) + name_of<Scalar>() + layout_name(Layout) + " about " + std::to_string(mean));
  const Moments one = moments(tensor.map(), over);
  expect_moments(one, x, sets_over(extents, over), tolerance);
  Eigen::ThreadPool threads(2);
  const Eigen::ThreadPoolDevice pool(&threads, 3);
  const Moments three = moments(pool, tensor.map(), over);
  EXPECT_EQ(bytes(three.mean) + bytes(three.lo) + bytes(three.m2), bytes(one.mean) + bytes(one.lo) + bytes(one.m2));
}

TEST(Moments, OfEveryAxes) {
  const std::vector<std::vector<int>> lists{{0},    {1},    {3},     {-1},      {0, 1},    {2, 3},
                                            {0, 3}, {1, 2}, {-3, 0}, {0, 2, 3}, {1, 2, 3}, {0, 1, 2, 3}};
  for (const auto& over : lists) {
    for (const Extents& extents : {Extents{5, 3, 4, 7}, {2, 17, 9, 19}, {40, 2, 33, 3}, {1, 5, 1, 6}}) {
      expect_of<float, kRow>(extents, over, 0.5, 1e-6);
      expect_of<float, kCol>(extents, over, 0.5, 1e-6);
      expect_of<double, kRow>(extents, over, 0.5, 1e-14);
      expect_of<double, kCol>(extents, over, 0.5, 1e-14);
      expect_of<Eigen::half, kRow>(extents, over, 0.5, 1e-6);
      expect_of<Eigen::bfloat16, kCol>(extents, over, 0.5, 1e-6);
    }
  }
}

TEST(Moments, OfMoreThanABlock) {
  for (const std::vector<int>& over : {std::vector<int>{0, 2, 3}, {3}, {0, 1, 2, 3}}) {
    expect_of<float, kRow>({3, 70, 30, 31}, over, 0.5, 1e-6);
    expect_of<double, kCol>({3, 70, 30, 31}, over, 0.5, 1e-14);
  }
}

TEST(Moments, KeepTheirDigitsAtAnyOffset) {
  for (const double mean : {-1e3, 1e6, 1e7}) {
    expect_of<float, kRow>({50, 7, 8, 9}, {0, 2, 3}, mean, 1e-6);
    expect_of<float, kRow>({50, 7, 8, 9}, {3}, mean, 1e-6);
  }
  for (const double mean : {-1e6, 1e12, 1e15}) {
    expect_of<double, kRow>({50, 7, 8, 9}, {0, 2, 3}, mean, 1e-14);
    expect_of<double, kCol>({50, 7, 8, 9}, {3}, mean, 1e-14);
  }
}

/// Huge and tiny deviations are summed again by other means.
TEST(Moments, OfHugeAndTinyNumbers) {
  for (const double scale : {1e-38, 1e-20, 1e18, 1e37}) {
    Values x = normal(120, 4, 0.5, scale);
    x = rounded<float>(x);
    const Extents extents{10, 3, 2, 2};
    Guarded<float, 4, kRow> tensor(extents, x);
    expect_moments(moments(tensor.map(), {0, 2, 3}), x, sets_over(extents, {0, 2, 3}), 1e-6);
  }
  for (const double scale : {1e-140, 1e-120, 1e120, 1e140}) {
    const Values x = normal(120, 4, 0, scale);
    const Extents extents{10, 3, 2, 2};
    Guarded<double, 4, kRow> tensor(extents, x);
    expect_moments(moments(tensor.map(), {0, 2, 3}), x, sets_over(extents, {0, 2, 3}), 1e-13);
  }
}

TEST(Moments, OfViewsWithGaps) {
  const Eigen::MatrixXd all = Eigen::MatrixXd::Random(20, 30);
  const Eigen::MatrixXd part = all.block(3, 4, 10, 11);
  const Moments want = moments(part, {0});
  const Moments of_block = moments(all.block(3, 4, 10, 11), {0}), of_expression = moments(part * 1.0, {0});
  EXPECT_TRUE(of_block.mean.isApprox(want.mean, 1e-15) && of_block.m2.isApprox(want.m2, 1e-14));
  EXPECT_EQ(bytes(of_expression.m2), bytes(want.m2));
  const Moments stepped = moments(view(all.data(), {5, 4}, {80, 3}), {0});  // no neighbours: copied
  for (Index c = 0; c < 4; ++c) {
    double mean = 0;
    for (Index r = 0; r < 5; ++r) mean += all.data()[80 * r + 3 * c] / 5;
    EXPECT_NEAR(stepped.mean[c], mean, 1e-15);
  }
}

TEST(Moments, OfNothingAndNaN) {
  const Eigen::MatrixXf none(0, 3);
  const Moments empty = moments(none, {0});
  EXPECT_EQ(empty.n, 0);
  EXPECT_EQ(empty.m2.size(), 3);
  EXPECT_TRUE(empty.var().isNaN().all());
  Eigen::MatrixXf x = Eigen::MatrixXf::Random(8, 3);
  const Moments some = moments(x, {0});
  x(2, 1) = NAN;
  const Moments with_nan = merge(some, moments(x, {0}));
  for (const Index c : {0, 2}) EXPECT_TRUE(std::isfinite(with_nan.mean[c]) && std::isfinite(with_nan.m2[c]));
  EXPECT_TRUE(std::isnan(with_nan.mean[1]) && std::isnan(with_nan.m2[1]));
  const Moments same = merge(merge(empty, some), Moments());
  EXPECT_EQ(bytes(same.mean) + bytes(same.m2), bytes(some.mean) + bytes(some.m2));
  const Moments scalar = moments(x.leftCols(1), {0, 1});
  EXPECT_TRUE(scalar.extents.empty());
  EXPECT_EQ(merge(scalar, scalar).n, 16);
}

/// In pieces of any size, forwards and backwards, the moments of the whole.
TEST(Moments, MergeToThoseOfTheWhole) {
  const Index rows = 1000, features = 5;
  for (const double offset : {0., 1e6, 1e15}) {
    Values x = normal(rows * features, 5, offset);
    for (std::size_t i = 0; i < x.size(); ++i) x[i] += double(i / 500) * 0.25;  // drifts
    const Extents extents{rows, features};
    const Eigen::Map<Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, kRow>> all(x.data(), rows, features);
    for (const Index most : {1, 2, 7, 64, 333, 999}) {
      Moments forwards, backwards;
      for (Index first = 0; first < rows; first += most) {
        const Index n = std::min(most, rows - first), last = rows - first - n;
        forwards = merge(forwards, moments(all.middleRows(first, n), {0}));
        backwards = merge(backwards, moments(all.middleRows(last, n), {0}));
      }
      SCOPED_TRACE(std::to_string(offset) + " by " + std::to_string(most));
      expect_moments(forwards, x, sets_over(extents, {0}), 1e-13);
      expect_moments(backwards, x, sets_over(extents, {0}), 1e-13);
    }
  }
}

TEST(Moments, RefuseWhatHasNone) {
  const Eigen::MatrixXf x = Eigen::MatrixXf::Random(8, 3);
  EXPECT_NE(refusal_of([&] { moments(x, {}); }).find("over 0 axes"), std::string::npos);
  EXPECT_NE(refusal_of([&] { moments(x, {2}); }).find("axis 2"), std::string::npos);
  EXPECT_NE(refusal_of([&] { moments(x, {0, -2}); }).find("named twice"), std::string::npos);
  EXPECT_NE(refusal_of([&] { merge(moments(x, {0}), moments(x, {1})); }).find("(3) and (8)"), std::string::npos);
  Moments wrong = moments(x, {0});
  wrong.lo.resize(2);
  EXPECT_NE(refusal_of([&] { merge(wrong, moments(x, {0})); }).find("2 lo"), std::string::npos);
}

template <class Scalar>
class StandardizerOf : public testing::Test {};
using Scalars = testing::Types<float, double, Eigen::half, Eigen::bfloat16>;
TYPED_TEST_SUITE(StandardizerOf, Scalars, ScalarNames);

TYPED_TEST(StandardizerOf, TransformsAndBack) {
  using Scalar = TypeParam;
  const double unit = std::is_same_v<Scalar, double>        ? 2e-15
                      : std::is_same_v<Scalar, float>       ? 8e-7
                      : std::is_same_v<Scalar, Eigen::half> ? 4e-3
                                                            : 4e-2;
  const bool is_short = sizeof(Scalar) == 2;
  for (const double mean : {0.5, is_short ? 20. : 1e6}) {
    const Extents extents{30, 5, 4, 3};
    const Values values = rounded<Scalar>(normal(count(extents), 7, mean, 3));
    Guarded<Scalar, 4, kRow> x(extents, values), y(extents), back(extents);
    Standardizer<Scalar> standardizer({0, 2, 3});
    const auto map = x.map();
    for (Index first = 0; first < 30; first += 7) {
      const Eigen::array<Index, 4> begin{first, 0, 0, 0}, size{std::min<Index>(7, 30 - first), 5, 4, 3};
      const Eigen::Tensor<Scalar, 4, kRow> piece = map.slice(begin, size);
      standardizer.partial_fit(piece);
    }
    const Sets sets = sets_over(extents, {0, 2, 3});
    expect_moments(standardizer.moments(), values, sets, 1e-6);
    standardizer.transform(map, y.map());
    const Statistics want = oracle_statistics(values, sets, 0);
    const Values is = y.values();
    const Normalized oracle = oracle_forward(values, sets, want, {}, {});
    for (std::size_t i = 0; i < is.size(); ++i) {
      EXPECT_NEAR(is[i], double(oracle.y[i]), unit * std::max(1., std::abs(is[i])));
    }
    standardizer.inverse(y.map(), back.map());
    const Values again = back.values();
    for (std::size_t i = 0; i < is.size(); ++i) EXPECT_NEAR(again[i], values[i], unit * (4 + std::abs(values[i])));
    standardizer.transform(x.map(), x.map());
    EXPECT_TRUE(x.same_bits(y));
  }
}

TEST(Standardizer, MergesWhatOthersFound) {
  const Eigen::MatrixXf x = Eigen::MatrixXf::Random(50, 4);
  Standardizer<float> one, two, both;
  one.partial_fit(x.topRows(20));
  two.partial_fit(x.bottomRows(30));
  both.merge(one.moments());
  both.merge(two.moments());
  one.partial_fit(x.bottomRows(30));
  EXPECT_EQ(bytes(both.moments().m2), bytes(one.moments().m2));
  Eigen::MatrixXf y, of_columns;
  both.transform(x, y);
  EXPECT_LT(y.colwise().mean().cwiseAbs().maxCoeff(), 1e-6F);
  Standardizer<float> columns({-1});
  columns.partial_fit(x.transpose());
  columns.transform(x.transpose(), of_columns);
  EXPECT_TRUE(of_columns.transpose().isApprox(y, 1e-6F));
}

TEST(Standardizer, ConstantAndUnfitFeatures) {
  Eigen::MatrixXd x = Eigen::MatrixXd::Random(10, 3), y, back;
  x.col(1).setConstant(7);
  Standardizer<double> standardizer;
  standardizer.partial_fit(x);
  standardizer.transform(x, y);
  EXPECT_TRUE((y.col(1).array() == 0).all());
  standardizer.inverse(y, back);
  EXPECT_TRUE((back.col(1).array() == 7).all());
  x(0, 1) = 9;
  standardizer.transform(x, y);
  EXPECT_EQ(y(0, 1), 2);  // divided by 1
  x(3, 2) = INFINITY;
  standardizer.partial_fit(x);
  standardizer.transform(x.topRows(2), y);
  EXPECT_TRUE(y.col(0).allFinite());
  EXPECT_TRUE(y.col(2).array().isNaN().all());
}

TEST(Standardizer, RefusesOtherExtents) {
  const Eigen::MatrixXf x = Eigen::MatrixXf::Random(10, 3), wide = Eigen::MatrixXf::Random(10, 4);
  Eigen::MatrixXf y = x;
  Standardizer<float> standardizer;
  EXPECT_NE(refusal_of([&] { standardizer.transform(x, y); }).find("fit it first"), std::string::npos);
  standardizer.partial_fit(x);
  const std::string before = bytes(standardizer.moments().mean);
  EXPECT_NE(refusal_of([&] { standardizer.partial_fit(wide); }).find("(3) and (4)"), std::string::npos);
  EXPECT_NE(refusal_of([&] { standardizer.transform(wide, y); }).find("(10, 4)"), std::string::npos);
  EXPECT_NE(refusal_of([&] { standardizer.inverse(wide, y); }).find("(10, 4)"), std::string::npos);
  EXPECT_EQ(y, x);
  EXPECT_EQ(bytes(standardizer.moments().mean), before);
  EXPECT_NE(refusal_of([] { Standardizer<float>({3}).partial_fit(Eigen::MatrixXf::Zero(2, 2)); }).find("axis 3"),
            std::string::npos);
}

}  // namespace
}  // namespace tensornorm_test
