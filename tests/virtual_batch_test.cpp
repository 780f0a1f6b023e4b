// Virtual batches of BatchNorm: the bits of calls on the pieces in turn.
#include <gtest/gtest.h>

#define EIGEN_USE_THREADS
#include <tensornorm/tensornorm.hpp>

#include "counted_malloc.hpp"
#include "every_layer.hpp"

namespace tensornorm_test {
namespace {

using namespace tensornorm;

template <class Scalar>
BatchNorm<Scalar> stirred(Index channels, Index channel_axis, Index virtual_batch) {
  BatchNormOptions options;
  options.channel_axis = channel_axis;
  options.virtual_batch = virtual_batch;
  BatchNorm<Scalar> layer(channels, options);
  stir(layer);
  return layer;
}

template <class Scalar, int Layout>
void expect_pieces_in_turn(const Extents& extents, Index channel_axis, Index most) {
  using T = Tensor4<Scalar, Layout>;
  const int axis = channel_axis == 0 ? 1 : 0;
  const Index samples = extents[std::size_t(axis)], channels = extents[std::size_t(channel_axis)];
  Eigen::ThreadPool threads(3);
  const Eigen::ThreadPoolDevice pool(&threads, 3);
  const T x = drawn<Scalar, Layout>(extents, 1), dy = drawn<Scalar, Layout>(extents, 2);
  BatchNorm<Scalar> plain = stirred<Scalar>(channels, channel_axis, 0);
  BatchNorm<Scalar> layer = stirred<Scalar>(channels, channel_axis, most);
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

// A kept sum, a gate and a clip.
template <class Scalar, int Layout>
void expect_fused_pieces_in_turn(const Extents& extents, Index channel_axis, Index most) {
  using T = Tensor4<Scalar, Layout>;
  const int axis = channel_axis == 0 ? 1 : 0;
  const Index samples = extents[std::size_t(axis)], channels = extents[std::size_t(channel_axis)];
  Eigen::ThreadPool threads(3);
  const Eigen::ThreadPoolDevice pool(&threads, 3);
  const T x = drawn<Scalar, Layout>(extents, 1), r = drawn<Scalar, Layout>(extents, 2);
  const T dy = drawn<Scalar, Layout>(extents, 3), z = drawn<Scalar, Layout>(extents, 4);
  BatchNorm<Scalar> plain = stirred<Scalar>(channels, channel_axis, 0);
  BatchNorm<Scalar> layer = stirred<Scalar>(channels, channel_axis, most);
  SCOPED_TRACE(text(extents) + " along " + std::to_string(channel_axis) + " by " + std::to_string(most) +
               layout_name(Layout) + name_of<Scalar>());
  for (const bool is_product : {true, false}) {
    T h = x, y = x, dx = x, dz = x, h2, y2, dx2, dz2;
    dz.setZero();
    dz2 = dz;
    typename BatchNorm<Scalar>::Array dgamma = layer.dgamma() * 0, dbeta = dgamma;
    BatchNorm<Scalar> fresh = layer;
    for (Index first = 0; first < samples; first += most) {
      Extents size = extents, strides(4);
      size[std::size_t(axis)] = std::min(most, samples - first);
      for (Index i = 0, step = 1; i < 4; ++i) {
        const auto d = std::size_t(Layout == kRow ? 3 - i : i);
        strides[d] = step;
        step *= extents[d];
      }
      const auto its = [&](auto& tensor) {
        return view(tensor.data() + first * strides[std::size_t(axis)], size, strides);
      };
      if (is_product) {
        plain.forward(add(its(x), its(r), its(h)), then_times(its(y), its(z)));
        plain.backward(its(h), then_times(its(dy), its(z), its(dz)), its(dx));
      } else {
        plain.forward(add(its(x), its(r), its(h)), then_clip(its(y), -0.5, 0.75));
        plain.backward(its(h), then_clip(its(dy), -0.5, 0.75), its(dx));
      }
      dgamma += plain.dgamma();
      dbeta += plain.dbeta();
    }
    const auto step = [&](const auto& device, auto& with, const auto&... pass) {
      if (is_product) {
        with.forward(device, add(x, r, h2), then_times(y2, z), *pass...);
        with.backward(device, h2, then_times(dy, z, dz2), dx2, *pass...);
      } else {
        with.forward(device, add(x, r, h2), then_clip(y2, -0.5, 0.75), *pass...);
        with.backward(device, h2, then_clip(dy, -0.5, 0.75), dx2, *pass...);
      }
    };
    const auto expect_same = [&](const BatchNorm<Scalar>& got) {
      EXPECT_EQ(bytes(h2), bytes(h));
      EXPECT_EQ(bytes(y2), bytes(y));
      EXPECT_EQ(bytes(dx2), bytes(dx));
      EXPECT_EQ(bytes(dz2), bytes(dz));
      EXPECT_EQ(bytes(got.dgamma()), bytes(dgamma));
      EXPECT_EQ(bytes(got.dbeta()), bytes(dbeta));
      EXPECT_EQ(running(got), running(plain));
    };
    Pass<Scalar> pass;
    BatchNorm<Scalar> on_threads = fresh, with_pass = fresh, in_place = fresh;
    AnyNorm<Scalar> any = fresh;
    step(Eigen::DefaultDevice(), layer);
    expect_same(layer);
    EXPECT_THROW(layer.backward(x, dy, dx2), std::invalid_argument);  // h is what was normalized
    step(pool, on_threads);
    expect_same(on_threads);
    step(pool, with_pass, &pass);
    expect_same(with_pass);
    step(pool, any, &pass);
    expect_same(*any.template target<BatchNorm<Scalar>>());
    // h in the place of x, y in that of r, dx in that of h, dz in that of dy, and then of z.
    h2 = x;
    y2 = r;
    T g = dy, gate = z;
    if (is_product) {
      in_place.forward(add(h2, y2, h2), then_times(y2, z));
      in_place.backward(h2, then_times(g, z, g), dx2);
      EXPECT_EQ(bytes(g), bytes(dz));
      in_place.backward(h2, then_times(dy, gate, gate), dx2);
      dz2 = gate;
    } else {
      in_place.forward(add(h2, y2, h2), then_clip(y2, -0.5, 0.75));
      in_place.backward(h2, then_clip(g, -0.5, 0.75), g);
      dx2 = g;
    }
    expect_same(in_place);
    in_place.backward(h2, then_times(dy, z, kNone), h2);
    if (is_product) {
      EXPECT_EQ(bytes(h2), bytes(dx));
    }
    // infer and eval mode know no pieces.
    BatchNorm<Scalar> frozen = layer;
    frozen.eval();
    T want_y;
    frozen.forward(add(x, r, h2), then_times(want_y, z));
    EXPECT_EQ(bytes(h2), bytes(h));
    layer.infer(add(x, r, h2), then_times(y2, z));
    EXPECT_EQ(bytes(h2), bytes(h));
    EXPECT_EQ(bytes(y2), bytes(want_y));
    frozen.backward(h2, then_times(dy, z, dz2), dx2);
  }
}

TEST(VirtualBatch, TakesSumsGatesAndClipsInPiecesToo) {
  for (const Index most : {2, 3, 5}) {
    expect_fused_pieces_in_turn<float, kRow>({8, 5, 3, 4}, 1, most);
    expect_fused_pieces_in_turn<float, kCol>({8, 5, 3, 4}, 1, most);
    expect_fused_pieces_in_turn<float, kRow>({5, 8, 3, 4}, 0, most);
    expect_fused_pieces_in_turn<double, kCol>({11, 4, 3, 5}, 3, most);
    expect_fused_pieces_in_turn<Eigen::half, kRow>({9, 17, 1, 6}, 1, most);
    expect_fused_pieces_in_turn<Eigen::bfloat16, kRow>({9, 7, 2, 6}, 1, most);
  }
  expect_fused_pieces_in_turn<float, kRow>({40, 64, 20, 20}, 1, 16);
  expect_fused_pieces_in_turn<float, kRow>({300, 1, 1, 64}, 3, 128);
}

TEST(VirtualBatch, OfTensorsThatLieDifferently) {
  using Row = Tensor4<float, kRow>;
  using Col = Tensor4<float, kCol>;
  const Extents extents{7, 4, 5, 6};
  const auto turned = [](const Row& row) { return Col(row.swap_layout().shuffle(Eigen::array<int, 4>{3, 2, 1, 0})); };
  const Row x = drawn<float, kRow>(extents, 1), r = drawn<float, kRow>(extents, 2), z = drawn<float, kRow>(extents, 3);
  const Row dy = drawn<float, kRow>(extents, 4);
  const Col r_col = turned(r), z_col = turned(z), dy_col = turned(dy);
  BatchNormOptions options;
  options.virtual_batch = 3;
  BatchNorm<float> layer(4, options), other = layer;
  Row h, y, dx, dz, h2, y2, dx2;
  Col dz_col;
  layer.forward(add(x, r, h), then_times(y, z));
  layer.backward(h, then_times(dy, z, dz), dx);
  other.forward(add(x, r_col, h2), then_times(y2, z_col));
  other.backward(h2, then_times(dy_col, z_col, dz_col), dx2);
  EXPECT_EQ(bytes(h2), bytes(h));
  EXPECT_EQ(bytes(y2), bytes(y));
  EXPECT_EQ(bytes(dx2), bytes(dx));
  EXPECT_EQ(bytes(dz_col), bytes(turned(dz)));
}

// Central differences of a weighted sum of y = norm(x + r) * z, in pieces.
TEST(VirtualBatch, GradientsAreThoseOfDifferences) {
  using Matrix = Eigen::MatrixXd;
  BatchNormOptions options;
  options.virtual_batch = 4;
  BatchNorm<double> layer(3, options);
  stir(layer);
  Matrix x = Matrix::Random(10, 3), z = Matrix::Random(10, 3), h, y, dx, dz;
  const Matrix r = Matrix::Random(10, 3), w = Matrix::Random(10, 3);
  layer.forward(add(x, r, h), then_times(y, z));
  layer.backward(h, then_times(w, z, dz), dx);
  const auto expect_change = [&](double& value, double derivative) {
    constexpr double kStep = 1e-6;
    const double kept = value;
    double loss[2];
    for (const int side : {0, 1}) {
      value = kept + (side == 0 ? -kStep : kStep);
      BatchNorm<double> copy = layer;
      copy.forward(add(x, r, h), then_times(y, z));
      loss[side] = y.cwiseProduct(w).sum();
    }
    value = kept;
    EXPECT_NEAR((loss[1] - loss[0]) / (2 * kStep), derivative, 1e-7);
  };
  for (Index i = 0; i < x.size(); ++i) {
    expect_change(x.data()[i], dx.data()[i]);
    expect_change(z.data()[i], dz.data()[i]);
  }
  for (Index c = 0; c < 3; ++c) {
    expect_change(layer.gamma()[c], layer.dgamma()[c]);
    expect_change(layer.beta()[c], layer.dbeta()[c]);
  }
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
  long before = allocations;
  layer.forward(x, y);
  layer.backward(x, x, dx);
  EXPECT_EQ(allocations, before);
  Eigen::Tensor<float, 2, kRow> t(30, 16), h = t, out = t, gradient = t, dz = t;
  t.setRandom();
  const auto step = [&] {
    layer.forward(add(t, t, h), then_times(out, t));
    layer.backward(h, then_times(t, t, dz), gradient);
    layer.forward(add(t, t, h), then_relu(out));
    layer.backward(h, then_relu(t), gradient);
  };
  step();
  before = allocations;
  step();
  EXPECT_EQ(allocations, before);
}

TEST(VirtualBatch, RefusesThePassOfAnotherLayer) {
  BatchNormOptions options;
  options.virtual_batch = 2;
  BatchNorm<float> layer(5, options), whole(5);
  options.virtual_batch = 4;
  BatchNorm<float> other(5, options);
  const Eigen::MatrixXf x = Eigen::MatrixXf::Random(6, 5);
  Eigen::MatrixXf y, dx;
  Pass<float> pass;
  layer.forward(x, y, pass);
  EXPECT_NE(refusal_of([&] { whole.backward(x, x, dx, pass); }).find("3 virtual batches"), std::string::npos);
  EXPECT_NE(refusal_of([&] { other.backward(x, x, dx, pass); }).find("virtual_batch is 4"), std::string::npos);
  LayerNorm<float> of_rows(5);
  EXPECT_NE(refusal_of([&] { of_rows.backward(x, x, dx, pass); }).find("3 virtual batches"), std::string::npos);
  EXPECT_EQ(dx.size(), 0);
  layer.backward(x, x, dx, pass);
  EXPECT_EQ(dx.rows(), 6);
  RMSNorm<float>(5).forward(x, y, pass);
  layer.forward(x, y, pass);
  layer.backward(x, x, dx, pass);
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
  EXPECT_NE(refusal_of([&] { layer.forward(add(x, both, dx), y); }).find("(8, 5) and (10, 5)"), std::string::npos);
  EXPECT_NE(refusal_of([&] { layer.forward(add(x, x, dx), dx); }).find("y and h are the same memory"),
            std::string::npos);
  EXPECT_NE(refusal_of([&] { layer.forward(add(x, both.topRows(8), both.bottomRows(8)), y); }).find("h and r overlap"),
            std::string::npos);
  EXPECT_NE(refusal_of([&] { layer.forward(add(x.topRows(7), x.topRows(7), both), y); }).find("1 for each of 5"),
            std::string::npos);
  EXPECT_EQ(both.rows(), 10);
  Eigen::MatrixXf other = x;
  for (Index r = 3; r < 6; ++r) other.row(r) *= 2;
  EXPECT_NE(refusal_of([&] { layer.backward(other, x, dx); }).find("is not what the last forward pass read"),
            std::string::npos);
  Eigen::MatrixXf z = Eigen::MatrixXf::Random(8, 5);
  EXPECT_NE(refusal_of([&] { layer.backward(x, then_times(x, both, kNone), dx); }).find("has (10, 5)"),
            std::string::npos);
  EXPECT_NE(refusal_of([&] { layer.backward(x, then_times(y, z, x), dx); }).find("dz is x"), std::string::npos);
  EXPECT_NE(refusal_of([&] { layer.backward(x, then_times(y, z, dx), dx); }).find("dx and dz are the same memory"),
            std::string::npos);
  EXPECT_NE(refusal_of([&] { layer.backward(x, then_times(y, z, few), dx); }).find("(7, 5)"), std::string::npos);
  EXPECT_NE(refusal_of([&] { layer.backward(other, then_times(x, z, kNone), dx); }).find("is not what the last"),
            std::string::npos);
  EXPECT_NE(refusal_of([&] { layer.backward(x.topRows(6), x.topRows(6), dx); }).find("(6, 5)"), std::string::npos);
  EXPECT_EQ(y, y_before);
  EXPECT_EQ(dx, dx_before);
  EXPECT_EQ(state(layer), before);
  layer.backward(x, x, dx);
  EXPECT_EQ(dx, dx_before);
}

}  // namespace
}  // namespace tensornorm_test
