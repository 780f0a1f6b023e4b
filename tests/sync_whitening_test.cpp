// SyncWhitening on ranks that are threads: parts have the numbers of the whole, all ranks the same bits, and what one
// rank is refused no rank does.
#include <gtest/gtest.h>

#define EIGEN_USE_THREADS
#include <tensornorm/tensornorm.hpp>

#include "every_layer.hpp"
#include "thread_ranks.hpp"

namespace tensornorm_test {
namespace {

using namespace tensornorm;
using Matrix = Eigen::MatrixXd;

template <class Scalar>
using Sync = SyncWhitening<Scalar, ThreadRank>;

template <class Layer>
std::string state_of(const Layer& layer) {
  return bytes(layer.gamma()) + bytes(layer.beta()) + bytes(layer.dgamma()) + bytes(layer.dbeta()) +
         bytes(layer.running_mean()) + bytes(layer.running_whitening()) + bytes(layer.mean()) +
         bytes(layer.whitening()) + std::to_string(layer.num_batches_tracked());
}
template <class Layer>
std::string shared_state(const Layer& layer) {
  return bytes(layer.running_mean()) + bytes(layer.running_whitening()) + bytes(layer.mean()) +
         bytes(layer.whitening());
}

/// Correlated channels about an offset.
Matrix drawn(Index rows, Index channels, double offset, unsigned seed) {
  const Values values = normal(rows * channels + channels * channels, seed);
  const Eigen::Map<const Matrix> x(values.data(), rows, channels),
      mix(values.data() + rows * channels, channels, channels);
  return ((x * (mix + 3 * Matrix::Identity(channels, channels))).array() + offset).matrix();
}

void expect_whole(const std::vector<Index>& parts, Index channels, const WhiteningOptions& options, double offset) {
  Index rows = 0;
  for (const Index n : parts) rows += n;
  SCOPED_TRACE(text(Extents(parts.begin(), parts.end())) + " of " + std::to_string(channels) + " in " +
               std::to_string(options.groups) + " groups about " + std::to_string(offset));
  const Matrix x = drawn(rows, channels, offset, 1), dy = drawn(rows, channels, 0, 2);
  Whitening<double> whole(channels, options);
  whole.gamma().setLinSpaced(0.5, 2);
  whole.beta().setLinSpaced(-1, 1);
  Matrix y, dx;
  whole.forward(x, y);
  whole.backward(x, dy, dx);
  std::vector<std::string> states(parts.size());
  Eigen::ArrayXXd dgamma(channels, Index(parts.size())), dbeta = dgamma;
  const Index gathers = on_ranks(int(parts.size()), [&](ThreadRank rank) {
    const auto r = std::size_t(rank.rank());
    Index first = 0;
    for (std::size_t i = 0; i < r; ++i) first += parts[i];
    Sync<double> layer(channels, rank, options);
    layer.gamma() = whole.gamma();
    layer.beta() = whole.beta();
    const Matrix part = x.middleRows(first, parts[r]);
    Matrix of_part, dx_of_part;
    layer.forward(part, of_part);
    layer.backward(part, dy.middleRows(first, parts[r]), dx_of_part);
    states[r] = shared_state(layer);
    dgamma.col(rank.rank()) = layer.dgamma();
    dbeta.col(rank.rank()) = layer.dbeta();
    ASSERT_EQ(of_part.rows(), parts[r]);
    if (parts[r] > 0) {
      EXPECT_LE((of_part - y.middleRows(first, parts[r])).cwiseAbs().maxCoeff(), 1e-11);
      EXPECT_LE((dx_of_part - dx.middleRows(first, parts[r])).cwiseAbs().maxCoeff(), 1e-10);
    }
    EXPECT_LE((layer.running_mean() - whole.running_mean()).abs().maxCoeff(), 1e-15 * (std::abs(offset) + 10));
    EXPECT_LE((layer.running_whitening() - whole.running_whitening()).cwiseAbs().maxCoeff(), 1e-11);
  });
  EXPECT_EQ(gathers, 2);
  for (const std::string& state : states) EXPECT_EQ(state, states[0]);
  EXPECT_TRUE(dgamma.rowwise().sum().isApprox(whole.dgamma(), 1e-10));
  EXPECT_TRUE(dbeta.rowwise().sum().isApprox(whole.dbeta(), 1e-10));
}

TEST(SyncWhitening, PartsHaveTheNumbersOfTheWhole) {
  for (const WhiteningMethod method : {WhiteningMethod::kZca, WhiteningMethod::kNewton}) {
    for (const double offset : {0., 1e6}) {
      WhiteningOptions options;
      options.method = method;
      options.eps = 1e-3;
      for (const Index groups : {1, 2, 6}) {
        options.groups = groups;
        expect_whole({40, 60}, 6, options, offset);
        expect_whole({1, 0, 99}, 6, options, offset);
        expect_whole({30, 10, 20, 40}, 6, options, offset);
        expect_whole(std::vector<Index>(50, 1), 6, options, offset);
      }
    }
  }
}

TEST(SyncWhitening, OneRankHasTheBitsOfWhitening) {
  WhiteningOptions options;
  options.groups = 2;
  ThreadGroup one(1);
  Sync<float> layer(8, ThreadRank(one, 0), options);
  Whitening<float> plain(8, options);
  const Eigen::MatrixXf x = drawn(50, 8, 100, 1).cast<float>(), dy = drawn(50, 8, 0, 2).cast<float>();
  const Eigen::Matrix<float, -1, -1, kRow> turned = x;
  Eigen::MatrixXf y, y2, dx, dx2;
  plain.forward(x, y);
  plain.backward(x, dy, dx);
  layer.forward(x, y2);
  layer.backward(x, dy, dx2);
  EXPECT_EQ(bytes(y2), bytes(y));
  EXPECT_EQ(bytes(dx2), bytes(dx));
  EXPECT_EQ(state_of(layer), state_of(plain));
  // Through a copy of x, and in eval mode.
  layer.forward(turned, y2);
  EXPECT_TRUE(y2.isApprox(y, 1e-5F));
  layer.backward(turned, dy, dx2);
  EXPECT_TRUE(dx2.isApprox(dx, 1e-4F));
  layer.eval();
  const Index gathers = one.gathers();
  layer.forward(x, y2);
  layer.backward(x, dy, dx2);
  EXPECT_EQ(layer.infer(x), y2);
  EXPECT_EQ(one.gathers(), gathers);
}

TEST(SyncWhitening, WhatOneRankIsRefusedNoRankDoes) {
  for (const int at_fault : {0, 2}) {
    for (int call = 0; call < 4; ++call) {
      std::vector<std::string> messages(3);
      on_ranks(3, [&](ThreadRank rank) {
        const Matrix x = drawn(4 + rank.rank(), 3, 0, unsigned(rank.rank()));
        Matrix y, dx, out = Matrix::Constant(2, 2, 7);
        Sync<double> layer(3, rank);
        layer.forward(x, y);
        layer.backward(x, x, dx);
        const std::string before = state_of(layer);
        const bool is_wrong = rank.rank() == at_fault;
        messages[std::size_t(rank.rank())] = refusal_of([&] {
          if (call == 0) return layer.forward(is_wrong ? Matrix(x.leftCols(2)) : x, out);
          if (call == 1) return is_wrong ? layer.forward(x, then_relu(out)) : layer.forward(x, out);
          if (call == 2) return layer.backward(x, is_wrong ? Matrix(x.topRows(1)) : x, out);
          layer.backward(is_wrong ? Matrix(2 * x) : x, x, out);
        });
        EXPECT_EQ(state_of(layer), before) << call;
        EXPECT_EQ(out, Matrix::Constant(2, 2, 7)) << call;
        layer.backward(x, x, out);
        EXPECT_EQ(out, dx);
      });
      const char* const own[] = {"2 channels", "takes no then_relu", "dy has extents", "is not what the last forward"};
      for (int r = 0; r < 3; ++r) {
        const std::string want = r == at_fault ? own[call] : "rank " + std::to_string(at_fault) + " of 3 refused";
        EXPECT_NE(messages[std::size_t(r)].find(want), std::string::npos) << messages[std::size_t(r)];
      }
    }
  }
}

TEST(SyncWhitening, FewValues) {
  std::vector<std::string> messages(2);
  on_ranks(2, [&](ThreadRank rank) {
    const Matrix one = Matrix::Ones(rank.rank(), 3), none(0, 3);
    Matrix y, dx;
    Sync<double> layer(3, rank);
    const std::string before = state_of(layer);
    messages[std::size_t(rank.rank())] = refusal_of([&] { layer.forward(one, y); });
    EXPECT_EQ(state_of(layer), before);
    layer.forward(none, y);
    EXPECT_EQ(y.rows(), 0);
    layer.backward(none, none, dx);
    EXPECT_EQ(state_of(layer), before);
  });
  EXPECT_NE(messages[0].find("2 ranks have 1 in all"), std::string::npos) << messages[0];
  EXPECT_EQ(messages[1], messages[0]);
  ThreadGroup none(0);
  EXPECT_NE(refusal_of([&] { Sync<float>(3, ThreadRank(none, 0)); }).find("0 ranks"), std::string::npos);
}

}  // namespace
}  // namespace tensornorm_test
