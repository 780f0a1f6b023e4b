// Virtual batches of BatchNorm: the bits of calls on the pieces in turn.
#include <gtest/gtest.h>

#define EIGEN_USE_THREADS
#include <tensornorm/tensornorm.hpp>

#include "counted_malloc.hpp"
#include "every_layer.hpp"

namespace tensornorm_test {
namespace {

using namespace tensornorm;

template <class Scalar, int Layout>
void expect_pieces_in_turn(const Extents& extents, Index channel_axis, Index most) {
  using T = Tensor4<Scalar, Layout>;
  const int axis = channel_axis == 0 ? 1 : 0;
  const Index samples = extents[std::size_t(axis)], channels = extents[std::size_t(channel_axis)];
  Eigen::ThreadPool threads(3);
  const Eigen::ThreadPoolDevice pool(&threads, 3);
  const T x = drawn<Scalar, Layout>(extents, 1), dy = drawn<Scalar, Layout>(extents, 2);
  BatchNormOptions options;
  options.channel_axis = channel_axis;
  BatchNorm<Scalar> plain(channels, options);
  options.virtual_batch = most;
  BatchNorm<Scalar> layer(channels, options);
  stir(plain);
  stir(layer);
  SCOPED_TRACE(text(extents) + " along " + std::to_string(channel_axis) + " by " + std::to_string(most) +
               layout_name(Layout) + name_of<Scalar>());

  T y = x, dx = x, y2, dx2;
  Values mean, rstd;
  typename BatchNorm<Scalar>::Array dgamma = layer.dgamma(), dbeta = layer.dbeta();  // 0
  for (Index first = 0; first < samples; first += most) {
    Eigen::array<Index, 4> begin{}, size{extents[0], extents[1], extents[2], extents[3]};
    begin[std::size_t(axis)] = first;
    size[std::size_t(axis)] = std::min(most, samples - first);
    const T piece = x.slice(begin, size), piece_dy = dy.slice(begin, size);
    T piece_y, piece_dx;
    plain.forward(piece, piece_y);
    plain.backward(piece, piece_dy, piece_dx);
    y.slice(begin, size) = piece_y;
    dx.slice(begin, size) = piece_dx;
    dgamma += plain.dgamma();
    dbeta += plain.dbeta();
    for (Index c = 0; c < channels; ++c) {
      mean.push_back(double(plain.mean()[c]));
      rstd.push_back(double(plain.rstd()[c]));
    }
  }
  for (const bool on_threads : {false, true}) {
    BatchNorm<Scalar> once = layer;
    on_threads ? once.forward(pool, x, y2) : once.forward(x, y2);
    EXPECT_EQ(bytes(y2), bytes(y));
    EXPECT_EQ(running(once), running(plain));
    EXPECT_EQ(values_of(once.mean()), mean);
    EXPECT_EQ(values_of(once.rstd()), rstd);
    on_threads ? once.backward(pool, x, dy, dx2) : once.backward(x, dy, dx2);
    EXPECT_EQ(bytes(dx2), bytes(dx));
    EXPECT_EQ(bytes(once.dgamma()), bytes(dgamma));
    EXPECT_EQ(bytes(once.dbeta()), bytes(dbeta));
  }
  // In place, with a pass, without dx.
  Pass<Scalar> pass;
  y2 = x;
  layer.forward(y2, y2, pass);
  EXPECT_EQ(bytes(y2), bytes(y));
  dx2 = dy;
  layer.backward(x, dx2, dx2, pass);
  EXPECT_EQ(bytes(dx2), bytes(dx));
  const std::string gradients = bytes(layer.dgamma()) + bytes(layer.dbeta());
  layer.backward(x, dy, kNone, pass);
  EXPECT_EQ(bytes(layer.dgamma()) + bytes(layer.dbeta()), gradients);
}

TEST(VirtualBatch, IsThePiecesInTurn) {
  for (const Index most : {2, 3, 4, 5, 8}) {
    expect_pieces_in_turn<float, kRow>({8, 5, 3, 4}, 1, most);
    expect_pieces_in_turn<float, kCol>({8, 5, 3, 4}, 1, most);
    expect_pieces_in_turn<float, kRow>({5, 8, 3, 4}, 0, most);
    expect_pieces_in_turn<double, kRow>({11, 4, 3, 5}, 3, most);
    expect_pieces_in_turn<Eigen::half, kRow>({9, 17, 1, 6}, 1, most);
  }
  expect_pieces_in_turn<float, kRow>({40, 64, 20, 20}, 1, 16);
  expect_pieces_in_turn<float, kRow>({300, 1, 1, 64}, 3, 128);
}

TEST(VirtualBatch, OfTrainingAlone) {
  BatchNormOptions options;
  BatchNorm<float> plain(6, options);
  options.virtual_batch = 4;
  BatchNorm<float> layer(6, options);
  const Eigen::MatrixXf x = Eigen::MatrixXf::Random(10, 6), few = x.topRows(4);
  Eigen::MatrixXf y, want, dx, want_dx;
  // No more than one piece.
  layer.forward(few, y);
  plain.forward(few, want);
  EXPECT_EQ(y, want);
  EXPECT_EQ(layer.mean().size(), 6);
  layer.forward(x, y);
  EXPECT_EQ(layer.mean().size(), 18);
  layer.forward(few, y);
  plain = layer;
  layer.backward(few, few, dx);
  layer.infer(x, y);
  plain.eval();
  plain.forward(x, want);
  EXPECT_EQ(y, want);
  layer.eval();
  layer.forward(x, y);
  EXPECT_EQ(y, want);
  layer.backward(x, x, dx);
  plain.backward(x, x, want_dx);
  EXPECT_EQ(dx, want_dx);
  // As a layer of any kind, with a clip.
  layer.train();
  AnyNorm<float> any = layer;
  any.forward(x, want);
  any.forward(x, then_relu(y));
  EXPECT_EQ(y, want.cwiseMax(0));
  any.backward(x, then_relu(x), dx);
  any.forward(x, y);
  any.backward(x, (x.array() * (y.array() > 0).cast<float>()).matrix(), want_dx);
  EXPECT_EQ(dx, want_dx);
  // Gradients that are added to, or left.
  layer.forward(x, y);
  layer.backward(x, x, dx);
  const Eigen::ArrayXf once = layer.dgamma();
  layer.accumulate_gradients(true);
  layer.zero_grad();
  layer.backward(x, x, dx);
  layer.backward(x, x, dx);
  EXPECT_TRUE(layer.dgamma().isApprox(2 * once, 1e-6F));
  layer.freeze();
  layer.dgamma() = 7;
  layer.backward(x, x, dx);
  EXPECT_TRUE((layer.dgamma() == 7).all());
  EXPECT_EQ(dx.rows(), 10);
}

TEST(VirtualBatch, AllocatesNothingOnceWarm) {
  BatchNormOptions options;
  options.virtual_batch = 4;
  BatchNorm<float> layer(16, options);
  const Eigen::MatrixXf x = Eigen::MatrixXf::Random(30, 16);
  Eigen::MatrixXf y = x, dx = x;
  layer.forward(x, y);
  layer.backward(x, x, dx);
  const long before = allocations;
  layer.forward(x, y);
  layer.backward(x, x, dx);
  EXPECT_EQ(allocations, before);
}

TEST(VirtualBatch, RefusesWhatItCannotDo) {
  BatchNormOptions options;
  options.virtual_batch = -1;
  EXPECT_THROW(BatchNorm<float>(5, options), std::invalid_argument);
  options.virtual_batch = 3;
  BatchNorm<float> layer(5, options);
  Eigen::MatrixXf x = Eigen::MatrixXf::Random(8, 5), y = Eigen::MatrixXf::Random(8, 5), dx = y;
  layer.forward(x, y);
  layer.backward(x, x, dx);
  const Eigen::MatrixXf y_before = y, dx_before = dx;
  const std::string before = state(layer);
  EXPECT_NE(refusal_of([&] { layer.forward(x.topRows(7), y); }).find("1 for each of 5 channels"), std::string::npos);
  EXPECT_NE(refusal_of([&] { layer.forward(Eigen::MatrixXf(x.leftCols(4)), y); }).find("4 channels"),
            std::string::npos);
  Eigen::Map<Eigen::MatrixXf> few(y.data(), 7, 5);
  EXPECT_NE(refusal_of([&] { layer.forward(x, few); }).find("(7, 5)"), std::string::npos);
  Eigen::MatrixXf both = Eigen::MatrixXf::Random(10, 5);
  EXPECT_NE(refusal_of([&] { layer.forward(both.topRows(8), both.bottomRows(8)); }).find("overlap"), std::string::npos);
  EXPECT_NE(refusal_of([&] { layer.forward(add(x, x, both), y); }).find("take no add()"), std::string::npos);
  Eigen::MatrixXf other = x;
  for (Index r = 3; r < 6; ++r) other.row(r) *= 2;
  EXPECT_NE(refusal_of([&] { layer.backward(other, x, dx); }).find("is not what the last forward pass read"),
            std::string::npos);
  EXPECT_NE(refusal_of([&] { layer.backward(x, then_times(x, x, kNone), dx); }).find("then_times"), std::string::npos);
  EXPECT_NE(refusal_of([&] { layer.backward(x.topRows(6), x.topRows(6), dx); }).find("(6, 5)"), std::string::npos);
  EXPECT_EQ(y, y_before);
  EXPECT_EQ(dx, dx_before);
  EXPECT_EQ(state(layer), before);
  layer.backward(x, x, dx);
  EXPECT_EQ(dx, dx_before);
}

}  // namespace
}  // namespace tensornorm_test
