// backward with add_to(dx): what dx held and the gradient, rounded once; in place, in any layout, on any device.
#include <gtest/gtest.h>

#define EIGEN_USE_THREADS
#include <tensornorm/tensornorm.hpp>

#include "counted_malloc.hpp"
#include "every_layer.hpp"

namespace tensornorm_test {
namespace {

using namespace tensornorm;

// Of float and double the separate sum rounds but once too; of 16 bits it rounds the gradient before.
template <class T>
void expect_sum(const T& is, const T& before, const T& gradient) {
  using Scalar = typename T::Scalar;
  const double unit = sizeof(Scalar) > 2 ? 0 : std::is_same<Scalar, Eigen::half>::value ? 1.0 / 512 : 1.0 / 64;
  ASSERT_EQ(is.size(), gradient.size());
  for (Index i = 0; i < is.size(); ++i) {
    const double want = to_double(from_double<Scalar>(to_double(before.data()[i]) + to_double(gradient.data()[i])));
    const double size = std::max({std::abs(want), std::abs(to_double(gradient.data()[i])), 1e-3});
    ASSERT_LE(std::abs(to_double(is.data()[i]) - want), unit * size) << i;
  }
}

template <class Scalar, int Layout>
void expect_sums(const Extents& extents) {
  using T = Tensor4<Scalar, Layout>;
  Eigen::ThreadPool threads(3);
  const Eigen::ThreadPoolDevice pool(&threads, 3);
  const T x = drawn<Scalar, Layout>(extents, 1), dy = drawn<Scalar, Layout>(extents, 2),
          before = drawn<Scalar, Layout>(extents, 3);
  for_each_layer<Scalar>(extents, 1, [&](const Kind& kind, auto layer) {
    for (const bool training : {true, false}) {
      SCOPED_TRACE(kind.name + layout_name(Layout) + (training ? " train" : " eval"));
      layer.train(training);
      T y, dx, sum = before;
      layer.forward(x, y);
      layer.backward(x, dy, dx);
      const std::string gradients = results(layer);
      layer.backward(x, dy, add_to(sum));
      expect_sum(sum, before, dx);
      EXPECT_EQ(results(layer), gradients);
      const std::string once = bytes(sum);
      sum = before;
      layer.backward(pool, x, dy, add_to(sum));
      EXPECT_EQ(bytes(sum), once);
      T in_dy = dy, in_x = x;
      layer.backward(x, in_dy, add_to(in_dy));
      expect_sum(in_dy, dy, dx);
      layer.backward(in_x, dy, add_to(in_x));
      expect_sum(in_x, x, dx);

      sum = before;
      layer.backward(x, then_relu(dy), dx);
      layer.backward(x, then_relu(dy), add_to(sum));
      expect_sum(sum, before, dx);
    }
  });
}

TEST(AddTo, IsTheSeparateSum) {
  for (const Extents& extents :
       {Extents{3, 8, 5, 7}, {2, 4, 1, 33}, {40, 12, 1, 16}, {32, 64, 1, 2}, {6, 16, 20, 30}}) {
    expect_sums<float, kRow>(extents);
    expect_sums<float, kCol>(extents);
    expect_sums<double, kRow>(extents);
    expect_sums<Eigen::half, kCol>(extents);
    expect_sums<Eigen::bfloat16, kRow>(extents);
  }
}

// So large that blocks are shared in parts, and a dx that is stored goes past the cache.
TEST(AddTo, OfLargeTensors) {
  expect_sums<float, kRow>({2, 4, 600, 500});
  expect_sums<float, kCol>({1100, 4, 30, 20});
}

TEST(AddTo, OfTensorsThatLieDifferently) {
  const Extents extents{3, 4, 5, 6};
  const auto x = drawn<float, kRow>(extents, 1), dy = drawn<float, kRow>(extents, 2);
  const Eigen::array<int, 4> turned{3, 2, 1, 0};
  const Tensor4<float, kCol> other_dy = dy.swap_layout().shuffle(turned);
  LayerNorm<float> layer({5, 6});
  Tensor4<float, kRow> y, dx, sum(3, 4, 5, 6);
  layer.forward(x, y);
  layer.backward(x, dy, dx);
  sum.setConstant(2);
  layer.backward(x, other_dy, add_to(sum));
  for (Index i = 0; i < dx.size(); ++i) ASSERT_FLOAT_EQ(sum.data()[i], 2 + dx.data()[i]);
  Tensor4<float, kCol> other(3, 4, 5, 6);
  other.setConstant(2);
  layer.backward(x, dy, add_to(other));
  const Tensor4<float, kRow> back = other.swap_layout().shuffle(turned);
  for (Index i = 0; i < dx.size(); ++i) ASSERT_FLOAT_EQ(back.data()[i], 2 + dx.data()[i]);
  // Every second element.
  std::vector<float> places(2 * 360, 2);
  layer.backward(x, dy, add_to(view(places.data(), {3, 4, 5, 6}, {240, 60, 12, 2})));
  for (std::size_t i = 0; i < 360; ++i) {
    ASSERT_FLOAT_EQ(places[2 * i], 2 + dx.data()[i]);
    ASSERT_EQ(places[2 * i + 1], 2);
  }
}

TEST(AddTo, OfVirtualBatchesAndWhitening) {
  const Eigen::MatrixXf x = Eigen::MatrixXf::Random(50, 8), dy = Eigen::MatrixXf::Random(50, 8);
  const auto expect = [&](auto layer) {
    Eigen::MatrixXf y, dx, sum = dy;
    layer.forward(x, y);
    layer.backward(x, dy, dx);
    layer.backward(x, dy, add_to(sum));
    for (Index i = 0; i < dx.size(); ++i) ASSERT_FLOAT_EQ(sum.data()[i], dy.data()[i] + dx.data()[i]);
  };
  BatchNormOptions options;
  options.virtual_batch = 16;
  expect(BatchNorm<float>(8, options));
  expect(Whitening<float>(8));
}

TEST(AddTo, AllocatesNothing) {
  const Extents extents{8, 16, 6, 6};
  const auto x = drawn<float, kRow>(extents, 1), dy = drawn<float, kRow>(extents, 2);
  for_each_layer<float>(extents, 1, [&](const Kind& kind, auto layer) {
    Tensor4<float, kRow> y, dx, sum = dy;
    layer.forward(x, y);
    layer.backward(x, dy, dx);
    const long before = allocations;
    layer.backward(x, dy, add_to(sum));
    EXPECT_EQ(allocations, before) << kind.name;
  });
}

TEST(AddTo, RefusesWhatItCannotAddTo) {
  const Eigen::MatrixXf x = Eigen::MatrixXf::Random(6, 5);
  LayerNorm<float> layer(5);
  Eigen::MatrixXf y, dx, other = Eigen::MatrixXf::Constant(5, 6, 3);
  layer.forward(x, y);
  EXPECT_NE(refusal_of([&] { layer.backward(x, x, add_to(dx)); }).find("has not the extents"), std::string::npos);
  EXPECT_NE(refusal_of([&] { layer.backward(x, x, add_to(other)); }).find("has not the extents"), std::string::npos);
  EXPECT_EQ(dx.size(), 0);
  EXPECT_EQ(other, Eigen::MatrixXf::Constant(5, 6, 3));
  std::vector<float> memory(40, 1);
  const auto in = view(memory.data(), {6, 5}), shifted = view(memory.data() + 3, {6, 5});
  layer.forward(in, y);
  EXPECT_NE(refusal_of([&] { layer.backward(in, x, add_to(shifted)); }).find("overlap"), std::string::npos);
  Whitening<float> whitening(5);
  Eigen::Map<Eigen::MatrixXf>(memory.data(), 6, 5) = x;
  whitening.forward(in, y);
  const std::vector<float> before = memory;
  EXPECT_NE(refusal_of([&] { whitening.backward(in, x, add_to(shifted)); }).find("overlap"), std::string::npos);
  EXPECT_EQ(memory, before);
}

}  // namespace
}  // namespace tensornorm_test
