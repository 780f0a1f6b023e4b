// forward and infer of a kept sum, h = x + r: the bits of the separate calls, in any layout and on any device.
#include <gtest/gtest.h>

#define EIGEN_USE_THREADS
#include <tensornorm/tensornorm.hpp>

#include "counted_malloc.hpp"
#include "every_layer.hpp"

namespace tensornorm_test {
namespace {

using namespace tensornorm;

// The sum, rounded once.
template <class T>
T sum_of(const T& x, const T& r) {
  T h = x;
  for (Index i = 0; i < h.size(); ++i) {
    h.data()[i] = from_double<typename T::Scalar>(to_double(x.data()[i]) + to_double(r.data()[i]));
  }
  return h;
}

template <class Scalar, int Layout>
void expect_separate_calls(const Extents& extents) {
  using T = Tensor4<Scalar, Layout>;
  Eigen::ThreadPool threads(3);
  const Eigen::ThreadPoolDevice pool(&threads, 3);
  const T x = drawn<Scalar, Layout>(extents, 1), r = drawn<Scalar, Layout>(extents, 2), h = sum_of(x, r);
  const T dy = drawn<Scalar, Layout>(extents, 3);
  for_each_layer<Scalar>(extents, 1, [&](const Kind& kind, auto layer) {
    for (const bool training : {true, false}) {
      SCOPED_TRACE(kind.name + layout_name(Layout) + (training ? " train" : " eval"));
      layer.train(training);
      auto separate = layer;
      T y, dx, kept, y2, dx2;
      separate.forward(h, y);
      separate.backward(h, dy, dx);
      layer.forward(add(x, r, kept), y2);
      EXPECT_EQ(bytes(kept), bytes(h));
      EXPECT_EQ(bytes(y2), bytes(y));
      layer.backward(kept, dy, dx2);
      EXPECT_EQ(bytes(dx2), bytes(dx));
      EXPECT_EQ(results(layer), results(separate));
      EXPECT_EQ(running(layer), running(separate));
      EXPECT_THROW(layer.backward(x, dy, dx2), std::invalid_argument);  // h is what was normalized

      kept.setZero();
      separate.infer(h, y);
      layer.infer(add(x, r, kept), y2);
      EXPECT_EQ(bytes(kept), bytes(h));
      EXPECT_EQ(bytes(y2), bytes(y));
      // On threads, into x and r.
      T in_x = x, in_r = r;
      layer.infer(pool, add(in_x, r, in_x), y2);
      EXPECT_EQ(bytes(in_x), bytes(h));
      EXPECT_EQ(bytes(y2), bytes(y));
      in_x = x;
      layer.infer(pool, add(in_x, in_r, in_r), in_x);
      EXPECT_EQ(bytes(in_r), bytes(h));
      EXPECT_EQ(bytes(in_x), bytes(y));
      Pass<Scalar> pass;
      separate.forward(h, y);
      layer.forward(pool, add(x, r, kept), y2, pass);
      EXPECT_EQ(bytes(y2), bytes(y));
      layer.backward(kept, dy, dx2, pass);
    }
  });
}

TEST(Residual, IsTheSeparateCalls) {
  for (const Extents& extents : {Extents{3, 8, 5, 7}, {2, 4, 1, 33}, {40, 12, 1, 16}, {6, 16, 20, 30}}) {
    expect_separate_calls<float, kRow>(extents);
    expect_separate_calls<float, kCol>(extents);
    expect_separate_calls<double, kRow>(extents);
    expect_separate_calls<Eigen::half, kCol>(extents);
    expect_separate_calls<Eigen::bfloat16, kRow>(extents);
  }
}

// So large that blocks are shared in parts, and y goes past the cache.
TEST(Residual, OfLargeTensors) {
  expect_separate_calls<float, kRow>({2, 4, 600, 500});
  expect_separate_calls<float, kCol>({1100, 4, 30, 20});
}

// Numbers whose first sums cannot be trusted, in one channel, are summed again: the sum in place is made once.
TEST(Residual, InPlaceOfWhatIsSummedAgain) {
  using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  for (const Index channels : {3, 16, 20, 64}) {
    Matrix x = Matrix::Random(128, channels), r = Matrix::Random(128, channels);
    r.col(0).setZero();
    for (Index i = 0; i < x.rows(); ++i) x(i, 0) = i % 4 == 2 ? 1e30F : 0.0F;
    Matrix h, y, in_x = x, in_r = r, other;
    BatchNorm<float> apart(channels), of_x(channels), of_r(channels);
    apart.forward(add(x, r, h), y);
    EXPECT_EQ(h, x + r);
    of_x.forward(add(in_x, r, in_x), other);
    EXPECT_EQ(in_x, h);
    EXPECT_EQ(other, y);
    of_r.forward(add(x, in_r, in_r), other);
    EXPECT_EQ(in_r, h);
    EXPECT_EQ(other, y);
  }
}

TEST(Residual, OfTensorsThatLieDifferently) {
  using Row = Tensor4<float, kRow>;
  const Extents extents{3, 4, 5, 6};
  const Row x = drawn<float, kRow>(extents, 1), r = drawn<float, kRow>(extents, 2), h = sum_of(x, r);
  const Tensor4<float, kCol> turned = r.swap_layout().shuffle(Eigen::array<int, 4>{3, 2, 1, 0});
  LayerNorm<float> layer({5, 6});
  Row y, kept, y2;
  layer.forward(h, y);
  layer.forward(add(x, turned, kept), y2);
  EXPECT_EQ(bytes(kept), bytes(h));
  EXPECT_EQ(bytes(y2), bytes(y));
  layer.backward(kept, h, y2);
  layer.infer(add(x, turned, kept), y2);
  EXPECT_EQ(bytes(y2), bytes(y));
  Tensor4<float, kCol> other;
  layer.infer(add(x, r, other), y2);
  EXPECT_EQ(bytes(other), bytes(Tensor4<float, kCol>(h.swap_layout().shuffle(Eigen::array<int, 4>{3, 2, 1, 0}))));
  for (Index i = 0; i < y.size(); ++i) EXPECT_NEAR(y2.data()[i], y.data()[i], 2e-6F);
  layer.infer(add(x, r, kept), other);
  EXPECT_EQ(bytes(kept), bytes(h));
  EXPECT_EQ(other(2, 3, 4, 5), y(2, 3, 4, 5));
  // Expressions and views.
  layer.infer(add(x * 1.0F, r + 0.0F, kept), y2);
  EXPECT_EQ(bytes(y2), bytes(y));
  y2.setZero();
  layer.infer(add(view(x.data(), {3, 4, 5, 6}), r, view(kept.data(), {3, 4, 5, 6})), y2);
  EXPECT_EQ(bytes(y2), bytes(y));
  // Every second element.
  std::vector<float> gaps(2 * 360, -1), places(2 * 360, -1);
  layer.infer(add(x, r, view(gaps.data(), {3, 4, 5, 6}, {240, 60, 12, 2})),
              view(places.data(), {3, 4, 5, 6}, {240, 60, 12, 2}));
  for (std::size_t i = 0; i < 360; ++i) {
    EXPECT_EQ(gaps[2 * i], h.data()[i]);
    EXPECT_EQ(places[2 * i], y.data()[i]);
    EXPECT_EQ(gaps[2 * i + 1], -1);
    EXPECT_EQ(places[2 * i + 1], -1);
  }
}

TEST(Residual, OfMatricesAndOfNothing) {
  Eigen::MatrixXf x = Eigen::MatrixXf::Random(6, 5), r = Eigen::MatrixXf::Random(6, 5), h, y, want;
  RMSNorm<float> norm(5);
  norm.forward(add(x, r, h), y);
  norm.forward((x + r).eval(), want);
  EXPECT_EQ(h, x + r);
  EXPECT_EQ(y, want);
  norm.infer(add(x.topRows(3), r.bottomRows(3), h), y);
  EXPECT_EQ(h.rows(), 3);
  const Eigen::MatrixXf none(0, 5);
  norm.forward(add(none, none, h), y);
  EXPECT_EQ(h.rows(), 0);
  EXPECT_EQ(y.rows(), 0);
  norm.infer(add(none, none, h), y);
  const Eigen::Matrix<float, -1, -1, Eigen::RowMajor> none_by_row(0, 5);
  Eigen::Matrix<float, -1, -1, Eigen::RowMajor> y_by_row(0, 5);
  norm.infer(add(none_by_row, none, h), y_by_row);
  EXPECT_EQ(h.rows(), 0);
  Normalization<float> general({1}, {1});
  general.infer(add(x, r, h), y);
  EXPECT_EQ(h, x + r);
  general.forward(add(x, r, h), y);
  EXPECT_EQ(general.gamma().size(), 5);
}

TEST(Residual, AllocatesNothingOnceWarm) {
  const Extents extents{8, 16, 6, 6};
  const auto x = drawn<float, kRow>(extents, 1), r = drawn<float, kRow>(extents, 2);
  auto h = x, y = x;
  for_each_layer<float>(extents, 1, [&](const Kind& kind, auto layer) {
    layer.forward(add(x, r, h), y);
    layer.infer(add(x, r, h), y);
    const long before = allocations;
    layer.forward(add(x, r, h), y);
    layer.infer(add(x, r, h), y);
    EXPECT_EQ(allocations, before) << kind.name;
  });
}

TEST(Residual, RefusesWhatItCannotDo) {
  Eigen::ArrayXXf x = Eigen::ArrayXXf::Random(6, 5), r = x, wide = Eigen::ArrayXXf::Random(6, 7), h = x, y = x;
  const Eigen::ArrayXXf before = x;
  LayerNorm<float> norm(5);
  EXPECT_EQ(refusal_of([&] { norm.forward(add(x, wide, h), y); }),
            "tensornorm: a sum of tensors of extents (6, 5) and (6, 7)");
  EXPECT_EQ(refusal_of([&] { norm.forward(add(x, r, h), h); }),
            "tensornorm: y and h are the same memory: give each memory of its own");
  Eigen::Map<Eigen::ArrayXXf> shifted(h.data() + 1, 5, 5);
  EXPECT_NE(refusal_of([&] { norm.infer(add(x.topRows(5), r.topRows(5), h), shifted); }).find("y and h overlap"),
            std::string::npos);
  Eigen::ArrayXf memory = Eigen::ArrayXf::Random(60);
  Eigen::Map<Eigen::ArrayXXf> first(memory.data(), 6, 5), second(memory.data() + 7, 6, 5);
  EXPECT_NE(refusal_of([&] { norm.infer(add(first, r, second), y); }).find("h and x overlap"), std::string::npos);
  EXPECT_NE(refusal_of([&] { norm.infer(add(x, first, second), y); }).find("h and r overlap"), std::string::npos);
  EXPECT_NE(refusal_of([&] { norm.infer(add(first, r, h), second); }).find("y and x overlap"), std::string::npos);
  EXPECT_NE(refusal_of([&] { norm.infer(add(wide, wide, h), y); }).find("(6, 7)"), std::string::npos);
  Eigen::Map<Eigen::ArrayXXf> few(memory.data(), 3, 5);
  EXPECT_NE(refusal_of([&] { norm.infer(add(x, r, few), y); }).find("(3, 5)"), std::string::npos);
  // A sum that takes other extents gives its old memory away: no output may lie there, others near it may.
  Eigen::MatrixXf old(8, 100), rows = Eigen::MatrixXf::Random(5, 5);
  Eigen::Map<Eigen::MatrixXf> inside(old.data() + 400, 5, 5);
  EXPECT_NE(refusal_of([&] { norm.infer(add(rows, rows, old), inside); }).find("y and h overlap"), std::string::npos);
  EXPECT_EQ(old.cols(), 100);
  for (Index k = 0; k < 200; ++k) {
    Eigen::MatrixXf grows(1 + k % 5, 5), beside(40, 5);
    const Eigen::MatrixXf wanted = Eigen::MatrixXf::Random(40, 5);
    norm.infer(add(wanted, wanted, grows), beside);
  }
  EXPECT_TRUE((h == before).all());
  EXPECT_TRUE((y == before).all());
}

}  // namespace
}  // namespace tensornorm_test
