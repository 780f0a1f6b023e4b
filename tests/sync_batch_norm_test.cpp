// SyncBatchNorm on ranks that are threads: the numbers of one rank that has the whole batch, errors on all ranks or on
// none, the same bits everywhere.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#define EIGEN_USE_THREADS
#include <tensornorm/tensornorm.hpp>

#include "counted_malloc.hpp"
#include "every_layer.hpp"
#include "thread_ranks.hpp"

namespace tensornorm_test {
namespace {

using namespace tensornorm;

template <class Scalar>
using Sync = SyncBatchNorm<Scalar, ThreadRank>;
template <class Scalar, int Layout>
using T4 = Tensor4<Scalar, Layout>;

/// Samples [first, first + n) of a tensor along an axis.
template <class T>
T samples(const T& x, int axis, Index first, Index n) {
  Eigen::array<Index, 4> begin{}, size{x.dimension(0), x.dimension(1), x.dimension(2), x.dimension(3)};
  begin[std::size_t(axis)] = first;
  size[std::size_t(axis)] = n;
  T result(size);
  if (result.size() > 0) result = x.slice(begin, size);
  return result;
}

/// Where the part of rank r begins.
Index first_of(const std::vector<Index>& parts, std::size_t r) {
  return std::accumulate(parts.begin(), parts.begin() + std::ptrdiff_t(r), Index(0));
}

/// What a rank's forward and backward computed.
template <class Scalar>
struct Outcome {
  Values y, dx;
  Eigen::ArrayXd mean, rstd, running_mean, running_var, dgamma, dbeta;
  std::string shared;  // bits that all ranks must have
};

template <class Scalar, int Layout>
Outcome<Scalar> outcome(Sync<Scalar>& layer, const T4<Scalar, Layout>& x, const T4<Scalar, Layout>& dy) {
  T4<Scalar, Layout> y, dx;
  layer.forward(x, y);
  layer.backward(x, dy, dx);
  Outcome<Scalar> result;
  for (Index i = 0; i < y.size(); ++i) result.y.push_back(to_double(y.data()[i]));
  for (Index i = 0; i < dx.size(); ++i) result.dx.push_back(to_double(dx.data()[i]));
  result.mean = layer.mean().template cast<double>();
  result.rstd = layer.rstd().template cast<double>();
  result.running_mean = layer.running_mean().template cast<double>();
  result.running_var = layer.running_var().template cast<double>();
  result.dgamma = layer.dgamma().template cast<double>();
  result.dbeta = layer.dbeta().template cast<double>();
  result.shared = bytes(layer.mean()) + bytes(layer.rstd()) + running(layer);
  return result;
}

template <class Scalar>
constexpr double unit() {
  return std::is_same_v<Scalar, double>        ? 2.2e-16
         : std::is_same_v<Scalar, float>       ? 1.2e-7
         : std::is_same_v<Scalar, Eigen::half> ? 9.8e-4
                                               : 7.9e-3;
}

/// Every way to give `samples` to ranks, beside BatchNorm of the whole batch on one.
template <class Scalar, int Layout>
void expect_whole(const Extents& extents, int channel_axis, const std::vector<Index>& parts, double offset = 0.5) {
  const int axis = channel_axis == 0 ? 1 : 0;
  const Index channels = extents[std::size_t(channel_axis)];
  SCOPED_TRACE(text(extents) + layout_name(Layout) + name_of<Scalar>() + " along " + std::to_string(channel_axis) +
               " in " + text(Extents(parts.begin(), parts.end())) + " about " + std::to_string(offset));
  T4<Scalar, Layout> x = drawn<Scalar, Layout>(extents, 1);
  for (Index i = 0; i < x.size(); ++i) x.data()[i] = from_double<Scalar>(to_double(x.data()[i]) + offset - 0.5);
  const T4<Scalar, Layout> dy = drawn<Scalar, Layout>(extents, 2);
  BatchNormOptions options;
  options.channel_axis = channel_axis;
  BatchNorm<Scalar> whole(channels, options);
  stir(whole);
  T4<Scalar, Layout> y, dx;
  whole.forward(x, y);
  whole.backward(x, dy, dx);

  std::vector<Outcome<Scalar>> of_ranks(parts.size()), again(parts.size());
  for (auto* const to : {&of_ranks, &again}) {
    const Index gathers = on_ranks(int(parts.size()), [&](ThreadRank rank) {
      const auto r = std::size_t(rank.rank());
      const Index first = first_of(parts, r);
      Sync<Scalar> layer(channels, rank, options);
      stir(layer);
      (*to)[r] = outcome<Scalar, Layout>(layer, samples(x, axis, first, parts[r]), samples(dy, axis, first, parts[r]));
    });
    EXPECT_EQ(gathers, 2);
  }

  Eigen::ArrayXd dgamma = Eigen::ArrayXd::Zero(channels), dbeta = dgamma;
  Index first = 0;
  const double u = unit<Scalar>(), u_of_param = sizeof(Scalar) == 2 ? 1.2e-7 : u;
  for (std::size_t r = 0; r < parts.size(); ++r) {
    const Outcome<Scalar>& is = of_ranks[r];
    EXPECT_EQ(is.shared, of_ranks[0].shared) << "rank " << r;
    EXPECT_EQ(is.shared, again[r].shared);
    EXPECT_EQ(is.y, again[r].y);
    EXPECT_EQ(is.dx, again[r].dx);
    const auto want_y = samples(y, axis, first, parts[r]), want_dx = samples(dx, axis, first, parts[r]);
    ASSERT_EQ(Index(is.y.size()), want_y.size());
    for (std::size_t i = 0; i < is.y.size(); ++i) {
      const double of_y = to_double(want_y.data()[i]), of_dx = to_double(want_dx.data()[i]);
      ASSERT_LE(std::abs(is.y[i] - of_y), 4 * u * std::max(2., std::abs(of_y))) << "y " << i << " of rank " << r;
      ASSERT_LE(std::abs(is.dx[i] - of_dx), 16 * u) << "dx " << i << " of rank " << r;
    }
    dgamma += is.dgamma;
    dbeta += is.dbeta;
    first += parts[r];
  }
  const double sums = 4 * u_of_param * double(x.size() / channels);
  const Outcome<Scalar>& is = of_ranks[0];
  for (Index c = 0; c < channels; ++c) {
    // A mean is right to a part of the deviation, or of itself.
    const auto expect_same = [&](double found, double want, double besides, const char* what) {
      EXPECT_LE(std::abs(found - want), 2 * u_of_param * (std::abs(want) + besides)) << what << " of channel " << c;
    };
    const double deviation = 1 / double(whole.rstd()[c]);
    expect_same(is.mean[c], double(whole.mean()[c]), deviation, "mean");
    expect_same(is.rstd[c], double(whole.rstd()[c]), 0, "rstd");
    expect_same(is.running_mean[c], double(whole.running_mean()[c]), deviation, "running mean");
    expect_same(is.running_var[c], double(whole.running_var()[c]), 0, "running var");
    EXPECT_NEAR(dgamma[c], double(whole.dgamma()[c]), sums);
    EXPECT_NEAR(dbeta[c], double(whole.dbeta()[c]), sums);
  }
}

TEST(SyncBatchNorm, PartsHaveTheNumbersOfTheWhole) {
  const std::vector<std::vector<Index>> all_parts{{8},    {4, 4},       {1, 7},       {5, 0, 3},
                                                  {0, 8}, {2, 2, 2, 2}, {1, 1, 1, 5}, {0, 0, 1, 7}};
  for (const auto& parts : all_parts) {
    expect_whole<float, kRow>({8, 5, 3, 4}, 1, parts);
    expect_whole<float, kCol>({8, 5, 3, 4}, 1, parts);
    expect_whole<float, kRow>({8, 3, 4, 17}, 3, parts);
    expect_whole<float, kRow>({6, 8, 3, 1}, 0, parts);
    expect_whole<double, kRow>({8, 5, 3, 4}, 1, parts);
    expect_whole<double, kCol>({8, 3, 4, 9}, 3, parts);
    expect_whole<Eigen::half, kRow>({8, 5, 3, 4}, 1, parts);
    expect_whole<Eigen::bfloat16, kRow>({8, 19, 1, 1}, 1, parts);
  }
}

/// What a layer of a rank's part has: y, and rstd of all.
template <class Scalar, int Layout>
struct OfParts {
  T4<Scalar, Layout> y;
  std::string rstd;
};

/// That of x, of which each rank has some samples.
template <class Scalar, int Layout>
std::vector<OfParts<Scalar, Layout>> of_parts(const T4<Scalar, Layout>& x, int channel_axis,
                                              const std::vector<Index>& parts) {
  std::vector<OfParts<Scalar, Layout>> all(parts.size());
  BatchNormOptions options;
  options.channel_axis = channel_axis;
  on_ranks(int(parts.size()), [&](ThreadRank rank) {
    const auto r = std::size_t(rank.rank());
    Sync<Scalar> layer(x.dimension(std::size_t(channel_axis)), rank, options);
    stir(layer);
    all[r].y = layer(samples(x, channel_axis == 0 ? 1 : 0, first_of(parts, r), parts[r]));
    all[r].rstd = bytes(layer.rstd());
  });
  return all;
}

/// y of any ranks has the bits of one, but for a rare last place.
template <class Scalar, int Layout = kRow>
void expect_y_of_one_rank(const Extents& extents, int channel_axis, const std::vector<Index>& parts, double offset,
                          double scale) {
  SCOPED_TRACE(name_of<Scalar>() + text(extents) + layout_name(Layout) + " along " + std::to_string(channel_axis) +
               " in " + text(Extents(parts.begin(), parts.end())) + " about " + std::to_string(offset) + " by " +
               std::to_string(scale));
  const Values values = normal(count(extents), 3, offset, scale);
  T4<Scalar, Layout> x(extents[0], extents[1], extents[2], extents[3]);
  for (Index i = 0; i < x.size(); ++i) x.data()[i] = from_double<Scalar>(values[std::size_t(i)]);
  const int axis = channel_axis == 0 ? 1 : 0;
  const auto one = of_parts(x, channel_axis, {extents[std::size_t(axis)]}), all = of_parts(x, channel_axis, parts);
  Index differ = 0;
  for (std::size_t r = 0; r < parts.size(); ++r) {
    const T4<Scalar, Layout> want = samples(one[0].y, axis, first_of(parts, r), parts[r]);
    if (std::is_same_v<Scalar, double>) {
      EXPECT_EQ(all[r].rstd, one[0].rstd);
    }
    for (Index i = 0; i < want.size(); ++i) {
      const double y = to_double(all[r].y.data()[i]), one_y = to_double(want.data()[i]);
      differ += y == one_y ? 0 : 1;
      const double binade = std::exp2(std::floor(std::log2(std::max(1., std::abs(one_y)))));
      ASSERT_LE(std::abs(y - one_y), 1.01 * unit<Scalar>() * binade) << i << " of rank " << r;
    }
  }
  EXPECT_LE(differ, x.size() / 1000);
}

TEST(SyncBatchNorm, PartsHaveTheYOfOneRank) {
  for (const double offset : {0., 3., -1e4}) {
    for (const std::vector<Index>& parts : {std::vector<Index>{60}, {20, 40}, {6, 12, 18, 24}, {0, 1, 59}}) {
      expect_y_of_one_rank<double>({60, 700, 1, 1}, 1, parts, offset, 1);
      expect_y_of_one_rank<float>({60, 700, 1, 1}, 1, parts, offset, 1);
      expect_y_of_one_rank<Eigen::half>({60, 70, 1, 1}, 1, parts, offset / 10, 1);
      expect_y_of_one_rank<Eigen::bfloat16>({60, 70, 1, 1}, 1, parts, offset, 1);
    }
    expect_y_of_one_rank<float>({4000, 300, 1, 1}, 1, {1000, 0, 2500, 500}, offset, 1);
    expect_y_of_one_rank<double>({4000, 300, 1, 1}, 1, {1000, 0, 2500, 500}, offset, 1);
  }
  for (const double scale : {1e-30, 1e-18, 1e18, 1e30}) {
    expect_y_of_one_rank<float>({60, 70, 1, 1}, 1, {6, 12, 18, 24}, scale, scale);
    expect_y_of_one_rank<double>({60, 70, 1, 1}, 1, {6, 12, 18, 24}, scale, scale);
  }
}

/// Images: channels in rows, in columns, in joined columns, larger than a block, in parts.
TEST(SyncBatchNorm, ImagesOfDoublesHaveTheYOfOneRank) {
  for (const double offset : {0.5, -1e9}) {
    for (const int axis : {0, 1, 3}) {
      expect_y_of_one_rank<double>({8, 5, 3, 7}, axis, axis == 0 ? std::vector<Index>{1, 4} : std::vector<Index>{1, 7},
                                   offset, 2);
      expect_y_of_one_rank<double, kCol>({8, 5, 3, 7}, axis,
                                         axis == 0 ? std::vector<Index>{2, 3} : std::vector<Index>{3, 5}, offset, 2);
    }
    expect_y_of_one_rank<double>({12, 40, 31, 33}, 1, {5, 0, 7}, offset, 0.1);
    expect_y_of_one_rank<double>({12, 31, 33, 40}, 3, {5, 7}, offset, 0.1);
    expect_y_of_one_rank<double>({12, 2, 100, 100}, 1, {1, 11}, offset, 10);
    expect_y_of_one_rank<double, kCol>({400, 3, 20, 1}, 1, {100, 300}, offset, 1e-100);
  }
}

/// The mean of these four values is midway between two doubles.
TEST(SyncBatchNorm, AMeanMidwayIsTheSameOne) {
  T4<double, kRow> x(4, 1, 1, 1);
  x.setValues(
      {{{{0x1.2e675b0f20845p-1}}}, {{{0x1.dc66a4a7b7308p-1}}}, {{{-0x1.b19a7171bc2dap+0}}}, {{{0x1.9b29a00bd93ap+0}}}});
  const auto one = of_parts(x, 1, {4}), all = of_parts(x, 1, {1, 1, 1, 1});
  for (std::size_t r = 0; r < 4; ++r) EXPECT_EQ(all[r].y(0, 0, 0, 0), one[0].y(Index(r), 0, 0, 0));
  const std::vector<Index> each(16, 1);
  for (const double offset : {0.5, 0., 1e6}) {
    expect_y_of_one_rank<double>({16, 1500, 1, 1}, 1, each, offset, 1);
    expect_y_of_one_rank<float>({16, 1500, 1, 1}, 1, each, offset, 1);
  }
}

/// Where squares of double overflow or underflow, statistics are those of one rank to a rounding.
TEST(SyncBatchNorm, DoublesWithoutAGrid) {
  for (const double scale : {1e-200, 1e-140, 1e140, 1e200, 1e290}) {
    Eigen::MatrixXd x = Eigen::MatrixXd::Random(60, 3) * scale, want(60, 3);
    BatchNormOptions options;
    options.eps = 0;
    BatchNorm<double> whole(3, options);
    whole.forward(x, want);
    on_ranks(2, [&](ThreadRank rank) {
      Sync<double> layer(3, rank, options);
      const Eigen::MatrixXd mine = x.middleRows(20 * rank.rank(), 20 + 20 * rank.rank()), y = layer(mine);
      EXPECT_LE((y - want.middleRows(20 * rank.rank(), y.rows())).cwiseAbs().maxCoeff(), 2e-15) << scale;
    });
  }
}

/// Samples of it overflow in float, but its deviations do not.
TEST(SyncBatchNorm, LargeValuesHaveStatistics) {
  using Rows = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, kRow>;
  Rows x(4, 2);
  x << 3e38F, -3e38F, 1.5e38F, -1.5e38F, 3e38F, -3e38F, 1.5e38F, -1.5e38F;
  Rows want(4, 2);
  want << 1, -1, -1, 1, 1, -1, -1, 1;
  for (const std::vector<Index>& parts : {std::vector<Index>{4}, {1, 3}, {2, 0, 2}}) {
    on_ranks(int(parts.size()), [&](ThreadRank rank) {
      const auto r = std::size_t(rank.rank());
      const Index first = first_of(parts, r);
      Sync<float> layer(2, rank);
      const Rows mine = x.middleRows(first, parts[r]), y = layer(mine);
      EXPECT_TRUE(y.isApprox(want.middleRows(first, parts[r]), 1e-6F)) << y;
      EXPECT_FLOAT_EQ(layer.mean()[0], 2.25e38F);
      EXPECT_FLOAT_EQ(layer.mean()[1], -2.25e38F);
      EXPECT_FLOAT_EQ(layer.running_mean()[0], 0.1F * 2.25e38F);
    });
  }
}

TEST(SyncBatchNorm, OneValueOnEachOfManyRanks) {
  expect_whole<float, kRow>({9, 33, 1, 1}, 1, std::vector<Index>(9, 1));
  expect_whole<double, kRow>({9, 33, 1, 1}, 1, std::vector<Index>(9, 1));
}

TEST(SyncBatchNorm, AnyOffset) {
  for (const double offset : {-100., 1e4, 1e6}) {
    expect_whole<float, kRow>({8, 5, 3, 4}, 1, {3, 0, 5}, offset);
    expect_whole<double, kRow>({8, 5, 3, 4}, 1, {3, 1, 4}, offset);
  }
}

TEST(SyncBatchNorm, LargerThanABlock) {
  expect_whole<float, kRow>({12, 40, 31, 33}, 1, {5, 7});
  expect_whole<float, kRow>({12, 31, 33, 40}, 3, {5, 0, 7});
  expect_whole<float, kRow>({12, 2, 100, 100}, 1, {1, 11});
  expect_whole<float, kCol>({400, 3, 20, 1}, 1, {100, 300});
}

/// In a double the statistics of parts are those of the whole to a rounding, wherever the cuts lie.
TEST(SyncBatchNorm, StatisticsAreExactToARounding) {
  const Index rows = 60, channels = 3;
  for (const double offset : {0., 1e6}) {
    const Values values = rounded<float>(normal(rows * channels, 9, offset));
    const Statistics want = oracle_statistics(values, batch_sets({rows, channels}, 1), 0);
    for (const Index cut : {1, 7, 30, 59}) {
      on_ranks(2, [&](ThreadRank rank) {
        const Index first = rank.rank() == 0 ? 0 : cut, n = rank.rank() == 0 ? cut : rows - cut;
        Eigen::MatrixXd x(n, channels);
        for (Index i = 0; i < n * channels; ++i) {
          x(i / channels, i % channels) = values[std::size_t(first * channels + i)];
        }
        Sync<double> layer(channels, rank);
        layer.set_momentum(1.);
        layer(x);
        for (Index c = 0; c < channels; ++c) {
          const auto k = std::size_t(c);
          const double var = double(want.var[k] * Real(rows) / Real(rows - 1));
          EXPECT_NEAR(layer.running_var()[c], var, 1e-15 * var * 8) << cut << " about " << offset;
          EXPECT_NEAR(layer.running_mean()[c], double(want.mean(k)), 2.3e-16 * (std::abs(double(want.mean(k))) + 1));
        }
      });
    }
  }
}

TEST(SyncBatchNorm, APassOfRanksIsNotBatchNorms) {
  const Eigen::MatrixXf x = Eigen::MatrixXf::Random(6, 4);
  Eigen::MatrixXf y(6, 4), dx(6, 4);
  BatchNorm<float> plain(4);
  ThreadGroup one(1);
  Sync<float> layer(4, ThreadRank(one, 0));
  Pass<float> pass;
  layer.forward(x, y, pass);
  EXPECT_THROW(plain.backward(x, y, dx, pass), std::invalid_argument);
  layer.backward(x, y, dx, pass);
}

/// The ways of a call, each beside the plain one.
TEST(SyncBatchNorm, EveryCall) {
  on_ranks(3, [&](ThreadRank rank) {
    const Index n = 3 + rank.rank();
    Eigen::ThreadPool threads(2);
    const Eigen::ThreadPoolDevice pool(&threads, 3);
    Eigen::MatrixXf x = Eigen::MatrixXf::Random(n, 4), dy = Eigen::MatrixXf::Random(n, 4), y, y2, dx, dx2;
    Sync<float> layer(4, rank);
    stir(layer);
    Sync<float> other = layer;
    layer.forward(x, y);
    layer.backward(x, dy, dx);
    Pass<float> pass;
    other.forward(pool, x, y2, pass);
    EXPECT_EQ(y2, y);
    EXPECT_EQ(running(other), running(layer));
    other.backward(pool, x, dy, dx2, pass);
    EXPECT_EQ(dx2, dx);
    EXPECT_EQ(bytes(other.dgamma()) + bytes(other.dbeta()), bytes(layer.dgamma()) + bytes(layer.dbeta()));
    y2 = layer(x);
    EXPECT_EQ(y2, y);
    dx2 = layer.backward(x, dy);
    EXPECT_EQ(dx2, dx);
    layer.backward(x, dy, kNone);
    Eigen::MatrixXf sum = Eigen::MatrixXf::Ones(n, 4);
    layer.backward(x, dy, add_to(sum));
    EXPECT_TRUE(sum.isApprox((dx.array() + 1).matrix(), 1e-6F));
    y2 = x;
    layer.forward(y2, y2);
    EXPECT_EQ(y2, y);
    dx2 = dy;
    layer.backward(x, dx2, dx2);
    EXPECT_EQ(dx2, dx);
    Eigen::Matrix<float, -1, -1, kRow> turned;
    layer.forward(x, turned);
    EXPECT_TRUE(turned.isApprox(y, 1e-6F));
    layer.backward(x, dy, turned);
    EXPECT_TRUE(turned.isApprox(dx, 1e-5F));
    layer.forward(x, then_relu(y2));
    EXPECT_EQ(y2, y.cwiseMax(0));
    layer.backward(x, then_relu(dy), dx2);
    const Eigen::MatrixXf masked = (dy.array() * (y.array() > 0).cast<float>()).matrix();
    layer.backward(x, masked, dx);
    EXPECT_EQ(dx2, dx);
    AnyNorm<float> any = other;
    any.forward(x, y2);
    EXPECT_EQ(y2, y);
    layer.freeze();
    layer.dgamma() = 7;
    layer.backward(x, masked, dx2);
    EXPECT_EQ(dx2, dx);
    EXPECT_TRUE((layer.dgamma() == 7).all());
    // What gathers nothing: ranks may differ.
    if (rank.rank() == 0) layer.infer(x, y);
    layer.eval();
    for (int i = 0; i < rank.rank(); ++i) layer.forward(x, y2);
    BatchNorm<float> plain(4);
    stir(plain);
    plain.running_mean() = layer.running_mean();
    plain.running_var() = layer.running_var();
    plain.infer(x, y);
    layer.infer(x, y2);
    EXPECT_EQ(y2, y);
  });
}

TEST(SyncBatchNorm, NaNOnOneRankIsInItsChannelOnAll) {
  on_ranks(3, [&](ThreadRank rank) {
    Eigen::MatrixXf x = Eigen::MatrixXf::Random(4, 3), y, dx;
    if (rank.rank() == 1) x(2, 1) = NAN;
    if (rank.rank() == 2) x(0, 2) = INFINITY;
    Sync<float> layer(3, rank);
    layer.forward(x, y);
    layer.backward(x, y, dx);
    EXPECT_TRUE(y.col(0).allFinite() && dx.col(0).allFinite());
    for (const Index c : {1, 2}) {
      EXPECT_TRUE(y.col(c).array().isNaN().all()) << c;
      EXPECT_FALSE(std::isfinite(layer.running_var()[c]));
    }
    EXPECT_TRUE(std::isfinite(layer.running_mean()[0]));
  });
}

TEST(SyncBatchNorm, AllRanksEmpty) {
  on_ranks(2, [&](ThreadRank rank) {
    Eigen::MatrixXf x(0, 3), y(7, 3), dx;
    Sync<float> layer(3, rank);
    const std::string before = running(layer);
    layer.dbeta() = 5;
    layer.forward(x, y);
    EXPECT_EQ(y.rows(), 0);
    EXPECT_EQ(layer.mean().size(), 0);
    layer.backward(x, x, dx);
    EXPECT_TRUE((layer.dbeta() == 0).all());
    EXPECT_EQ(running(layer), before);
  });
}

/// One value in all: an error with the same words everywhere, or y = beta.
TEST(SyncBatchNorm, OneValueInAll) {
  std::vector<std::string> messages(3);
  on_ranks(3, [&](ThreadRank rank) {
    Eigen::MatrixXf x = Eigen::MatrixXf::Random(rank.rank() == 1 ? 1 : 0, 2), y = Eigen::MatrixXf::Ones(5, 5), dx;
    Sync<float> layer(2, rank);
    stir(layer);
    const std::string before = state(layer);
    messages[std::size_t(rank.rank())] = refusal_of([&] { layer.forward(x, y); });
    EXPECT_EQ(state(layer), before);
    EXPECT_EQ(y, Eigen::MatrixXf::Ones(5, 5));
    BatchNormOptions options;
    options.allow_single_value = true;
    Sync<float> other(2, rank, options);
    stir(other);
    const std::string kept = running(other);
    other.forward(x, y);
    EXPECT_EQ(running(other), kept);
    for (Index c = 0; c < 2 && y.rows() > 0; ++c) EXPECT_EQ(y(0, c), other.beta()[c]);
    other.backward(x, x, dx);
    EXPECT_TRUE((dx.array() == 0).all());
  });
  EXPECT_NE(messages[0].find("3 ranks have 1 in all"), std::string::npos) << messages[0];
  EXPECT_EQ(messages[1], messages[0]);
  EXPECT_EQ(messages[2], messages[0]);
}

/// A call that one rank is refused: all throw, nothing changes anywhere, and the next call is fine.
TEST(SyncBatchNorm, WhatOneRankIsRefusedNoRankDoes) {
  using Matrix = Eigen::MatrixXf;
  struct Case {
    const char* says;  // on the rank at fault
    std::function<void(Sync<float>&, const Matrix&x, Matrix&y)> forward, backward;
  };
  const auto forward = [](Sync<float>& layer, const Matrix& x, Matrix& y) { layer.forward(x, y); };
  const auto backward = [](Sync<float>& layer, const Matrix& x, Matrix& dx) { layer.backward(x, x, dx); };
  const std::vector<Case> cases{
      {"2 channels", [](auto& layer, const Matrix& x, Matrix& y) { layer.forward(x.leftCols(2), y); }, {}},
      {"cannot be resized", [](auto& layer, const Matrix& x, Matrix& y) { layer.forward(x, y.block(0, 0, 2, 2)); }, {}},
      {"gamma has 2",
       [](auto& layer, const Matrix& x, Matrix& y) {
         const Eigen::ArrayXf gamma = layer.gamma();
         layer.gamma().setOnes(2);
         try {
           layer.forward(x, y);
         } catch (...) {
           layer.gamma() = gamma;
           throw;
         }
       },
       {}},
      {"must be less", [](auto& layer, const Matrix& x, Matrix& y) { layer.forward(x, then_clip(y, 2, 1)); }, {}},
      {"add()", [](auto& layer, const Matrix& x, Matrix& y) { layer.forward(add(x, x, y), y); }, {}},
      {"dy has extents", {}, [](auto& layer, const Matrix& x, Matrix& dx) { layer.backward(x, x.topRows(1), dx); }},
      {"is not what the last forward",
       {},
       [](auto& layer, const Matrix& x, Matrix& dx) { layer.backward(2 * x, x, dx); }},
      {"overlap",
       {},
       [](auto& layer, const Matrix& x, Matrix& dx) {
         dx.setZero(2 * x.rows(), x.cols());
         Eigen::Map<Matrix> a(dx.data(), x.rows(), x.cols()), b(dx.data() + 1, x.rows(), x.cols());
         a = x;
         layer.backward(x, a, b);
       }},
      {"then_times",
       {},
       [](auto& layer, const Matrix& x, Matrix& dx) { layer.backward(x, then_times(x, x, kNone), dx); }},
      {"there was none", {}, [](auto& layer, const Matrix& x, Matrix& dx) {
         Pass<float> pass;
         layer.backward(x, x, dx, pass);
       }}};
  for (const Case& wrong : cases) {
    for (const int at_fault : {0, 2}) {
      std::vector<std::string> messages(3);
      on_ranks(3, [&](ThreadRank rank) {
        const Matrix x = Matrix::Random(2 + rank.rank(), 3);
        Matrix y = Matrix::Constant(6, 6, 7), dx = y, again, dx_again;
        Sync<float> layer(3, rank);
        stir(layer);
        layer.forward(x, again);
        layer.backward(x, x, dx_again);
        const std::string before = state(layer);
        const bool is_wrong = rank.rank() == at_fault;
        messages[std::size_t(rank.rank())] = refusal_of([&] {
          if (wrong.forward) return is_wrong ? wrong.forward(layer, x, y) : forward(layer, x, y);
          is_wrong ? wrong.backward(layer, x, dx) : backward(layer, x, dx);
        });
        EXPECT_EQ(state(layer), before) << wrong.says;
        EXPECT_EQ(y, Matrix::Constant(6, 6, 7)) << wrong.says;
        if (!is_wrong) {
          EXPECT_EQ(dx, y) << wrong.says;
        }
        layer.backward(x, x, dx);
        EXPECT_EQ(dx, dx_again) << wrong.says;
        layer.forward(x, y);
        EXPECT_EQ(y, again) << wrong.says;
      });
      for (int r = 0; r < 3; ++r) {
        const std::string want = r == at_fault ? wrong.says : "rank " + std::to_string(at_fault) + " of 3 refused";
        EXPECT_NE(messages[std::size_t(r)].find(want), std::string::npos) << messages[std::size_t(r)];
      }
    }
  }
}

TEST(SyncBatchNorm, OptionsThatItHasNot) {
  ThreadGroup none(0), one(1);
  EXPECT_NE(refusal_of([&] { Sync<float>(3, ThreadRank(none, 0)); }).find("0 ranks"), std::string::npos);
  BatchNormOptions options;
  options.virtual_batch = 4;
  EXPECT_NE(refusal_of([&] { Sync<float>(3, ThreadRank(one, 0), options); }).find("virtual_batch is 4"),
            std::string::npos);
  EXPECT_THROW(Sync<float>(0, ThreadRank(one, 0)), std::invalid_argument);
  // A pass of another layer's.
  Sync<float> layer(3, ThreadRank(one, 0));
  BatchNorm<float> plain(3);
  const Eigen::MatrixXf x = Eigen::MatrixXf::Random(4, 3);
  Eigen::MatrixXf y;
  Pass<float> pass;
  layer.forward(x, y, pass);
  plain.forward(x, y, pass);
  EXPECT_NE(refusal_of([&] { layer.backward(x, x, y, pass); }).find("another layer's"), std::string::npos);
}

#if COUNTS_ALLOCATIONS
/// The only rank; counts, and notes the status of the last message.
struct Counting {
  Index* gathers;
  double* status;

  int size() const { return 1; }
  void all_gather(const double* mine, Index n, double* all) const {
    ++*gathers;
    *status = mine[0];
    std::copy_n(mine, n, all);
  }
};

/// Calls action(layer) on copies of a layer, with each of its allocations failing once. All gather once.
template <class Layer, class Action>
void expect_to_take_part(const Layer& fresh, const Index& gathers, const double& status, const Action& action) {
  bool has_failed = true;
  for (long k = 0; has_failed; ++k) {
    Layer layer = fresh;
    const std::string before = state(layer);
    const Index already = gathers;
    bool threw = false;
    until_failure = k;
    try {
      action(layer);
    } catch (const std::bad_alloc&) {
      threw = true;
    }
    has_failed = until_failure < 0;
    until_failure = -1;
    EXPECT_EQ(gathers, already + 1) << k;
    EXPECT_EQ(status != 0, threw) << k;
    if (threw) {
      EXPECT_EQ(state(layer), before) << k;
    }
  }
}

TEST(SyncBatchNorm, TakesPartWhereMemoryFails) {
  Index gathers = 0;
  double status = 0;
  using Layer = SyncBatchNorm<float, Counting>;
  Layer layer(40, Counting{&gathers, &status});
  stir(layer);
  const Eigen::MatrixXf x = Eigen::MatrixXf::Random(200, 40), dy = Eigen::MatrixXf::Random(200, 40);
  const Eigen::Matrix<float, -1, -1, kRow> turned = x;
  Eigen::MatrixXf y = x, dx = x;
  expect_to_take_part(layer, gathers, status, [&](Layer& l) { l.forward(x, y); });
  expect_to_take_part(layer, gathers, status, [&](Layer& l) { l.forward(turned, y); });
  expect_to_take_part(layer, gathers, status, [&](Layer& l) { l.forward(2 * x, y); });
  layer.forward(x, y);
  expect_to_take_part(layer, gathers, status, [&](Layer& l) { l.backward(x, dy, dx); });
  expect_to_take_part(layer, gathers, status, [&](Layer& l) { l.backward(x, then_relu(2 * dy), dx); });
  layer.accumulate_gradients(true);
  expect_to_take_part(layer, gathers, status, [&](Layer& l) { l.backward(x, dy, add_to(dx)); });
}
#endif

TEST(SyncBatchNorm, AllocatesNothingOnceWarm) {
  ThreadGroup one(1);
  Sync<float> layer(16, ThreadRank(one, 0));
  const Eigen::MatrixXf x = Eigen::MatrixXf::Random(30, 16);
  Eigen::MatrixXf y = x, dx = x;
  layer.forward(x, y);
  layer.backward(x, x, dx);
  const long before = allocations;
  layer.forward(x, y);
  layer.backward(x, x, dx);
  EXPECT_EQ(allocations, before);
}

}  // namespace
}  // namespace tensornorm_test
