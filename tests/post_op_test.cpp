// then_relu, then_clip and then_times: the bits of the separate calls, forward and backward, in any layout and on any
// device.
#include <gtest/gtest.h>

#define EIGEN_USE_THREADS
#include <tensornorm/tensornorm.hpp>

#include "counted_malloc.hpp"
#include "every_layer.hpp"

namespace tensornorm_test {
namespace {

using namespace tensornorm;

/// each(a_i, b_i), rounded once.
template <class T, class Each>
T of_pairs(const T& a, const T& b, const Each& each) {
  T result = a;
  for (Index i = 0; i < a.size(); ++i) {
    result.data()[i] = from_double<typename T::Scalar>(each(to_double(a.data()[i]), to_double(b.data()[i])));
  }
  return result;
}
template <class T>
T clipped(const T& y, double low, double high) {
  return of_pairs(y, y, [&](double v, double) { return std::min(std::max(v, low), high); });
}
template <class T>
T product(const T& a, const T& b) {
  return of_pairs(a, b, [](double v, double w) { return v * w; });
}

/// Bit for bit. What differs is not printed: it may be millions.
template <class T>
bool same(const T& a, const T& b) {
  return a.dimensions() == b.dimensions() &&
         std::memcmp(static_cast<const void*>(a.data()), static_cast<const void*>(b.data()),
                     std::size_t(a.size()) * sizeof(typename T::Scalar)) == 0;
}

/// dz = dy * y but for a unit of y, where a compiler fuses a multiplication and an addition in one loop and not in
/// another.
template <class T>
bool is_product_of_both(const T& dz, const T& dy, const T& y) {
  const double unit = std::is_same<typename T::Scalar, double>::value  ? 4e-16
                      : std::is_same<typename T::Scalar, float>::value ? 2e-7
                                                                       : 8e-3;
  for (Index i = 0; i < dz.size(); ++i) {
    const double g = to_double(dy.data()[i]), v = to_double(y.data()[i]);
    if (!(std::abs(to_double(dz.data()[i]) - g * v) <= unit * std::abs(g) * (std::abs(v) + 1))) return false;
  }
  return true;
}

/// A gradient that is 0 where the result was clipped, and where rounding may have brought it to a bound.
template <class T>
T away_from_bounds(const T& dy, const T& y, double low, double high) {
  return of_pairs(dy, y, [&](double g, double v) { return v == low || v == high ? 0 : g; });
}

template <class Scalar, int Layout>
void expect_separate_calls(const Extents& extents, bool is_large = false) {
  using T = Tensor4<Scalar, Layout>;
  constexpr bool is_float = std::is_same<Scalar, float>::value || std::is_same<Scalar, double>::value;
  const double low = -0.5, high = 0.75, inf = std::numeric_limits<double>::infinity();
  Eigen::ThreadPool threads(3);
  const Eigen::ThreadPoolDevice pool(&threads, 3);
  const T x = drawn<Scalar, Layout>(extents, 1), z = drawn<Scalar, Layout>(extents, 2);
  const T drawn_dy = drawn<Scalar, Layout>(extents, 3);
  for_each_layer<Scalar>(extents, 1, [&](const Kind& kind, auto layer) {
    for (const bool training : {true, false}) {
      if (is_large && !training) continue;
      SCOPED_TRACE(kind.name + layout_name(Layout) + (training ? " train" : " eval"));
      layer.train(training);
      auto separate = layer;
      T y, y2, dx, dx2, dz;
      separate.forward(x, y);

      layer.forward(x, then_clip(y2, low, high));
      EXPECT_TRUE(same(y2, clipped(y, low, high)));
      EXPECT_EQ(running(layer), running(separate));
      layer.infer(pool, x, then_relu(y2));
      T inferred;
      separate.infer(x, inferred);
      EXPECT_TRUE(same(y2, clipped(inferred, 0, inf)));
      const T dy = away_from_bounds(drawn_dy, y, low, high);
      const T of_result = of_pairs(dy, y, [&](double g, double v) { return v > low && v < high ? g : 0; });
      separate.backward(x, of_result, dx);
      layer.backward(pool, x, then_clip(dy, low, high), dx2);
      EXPECT_TRUE(same(dx2, dx));
      EXPECT_EQ(results(layer), results(separate));
      dx2 = dy;
      layer.backward(x, then_clip(dx2, low, high), dx2);
      EXPECT_TRUE(same(dx2, dx));

      Pass<Scalar> pass;
      layer.forward(pool, x, then_times(y2, z), pass);
      if (is_float) {  // else y was rounded before
        EXPECT_TRUE(same(y2, product(y, z)));
      }
      const T once = y2;
      separate.backward(x, product(drawn_dy, z), dx);
      layer.backward(pool, x, then_times(drawn_dy, z, dz), dx2, pass);
      EXPECT_TRUE(same(dx2, dx));
      EXPECT_TRUE(is_product_of_both(dz, drawn_dy, y));
      // dx in the place of z and of dy.
      for (const T* const place : {&z, &drawn_dy}) {
        dx2 = *place;
        dz.setZero();
        layer.backward(x, then_times(place == &z ? drawn_dy : dx2, place == &z ? dx2 : z, dz), dx2, pass);
        EXPECT_TRUE(same(dx2, dx));
        EXPECT_TRUE(is_product_of_both(dz, drawn_dy, y));
      }
      if (is_large) continue;
      // y in the place of x and of z, dz in that of dy and of z.
      y2 = x;
      layer.forward(y2, then_times(y2, z), pass);
      EXPECT_TRUE(same(y2, once));
      y2 = z;
      layer.forward(x, then_times(y2, y2), pass);
      EXPECT_TRUE(same(y2, once));
      dz = drawn_dy;
      layer.backward(x, then_times(dz, z, dz), dx2, pass);
      EXPECT_TRUE(same(dx2, dx));
      EXPECT_TRUE(is_product_of_both(dz, drawn_dy, y));
      dz = z;
      layer.backward(x, then_times(drawn_dy, dz, dz), dx2, pass);
      EXPECT_TRUE(same(dx2, dx));
      EXPECT_TRUE(is_product_of_both(dz, drawn_dy, y));
      dx2 = x;
      layer.backward(dx2, then_times(drawn_dy, z, kNone), dx2, pass);
      EXPECT_TRUE(same(dx2, dx));
      dz.setZero();
      layer.backward(x, then_times(drawn_dy, z, dz), kNone, pass);
      EXPECT_TRUE(is_product_of_both(dz, drawn_dy, y));
    }
  });
}

TEST(PostOp, IsTheSeparateCalls) {
  for (const Extents& extents : {Extents{3, 8, 5, 7}, {2, 4, 1, 33}, {40, 12, 1, 16}, {6, 16, 20, 30}, {5, 3, 1, 2}}) {
    expect_separate_calls<float, kRow>(extents);
    expect_separate_calls<float, kCol>(extents);
    expect_separate_calls<double, kRow>(extents);
    expect_separate_calls<Eigen::half, kCol>(extents);
    expect_separate_calls<Eigen::bfloat16, kRow>(extents);
  }
}

// So large that blocks are shared in parts, y goes past the cache, and long columns are undone a part at a time.
TEST(PostOp, OfLargeTensors) {
  expect_separate_calls<float, kRow>({6000, 12, 1, 2}, true);
  expect_separate_calls<float, kRow>({2, 4, 600, 500}, true);
  expect_separate_calls<float, kCol>({1100, 4, 30, 20}, true);
}

/// Where one kernel is the whole forward.
template <class Scalar>
void expect_small_batches() {
  using T = Tensor4<Scalar, kRow>;
  for (const auto& [samples, channels] : {std::pair<Index, Index>{24, 20}, {5, 4}, {7, 40}, {9, 16}, {3, 33}}) {
    SCOPED_TRACE(name_of<Scalar>() + " " + std::to_string(samples) + "x" + std::to_string(channels));
    const T x = drawn<Scalar, kRow>({samples, channels, 1, 1}, 1);
    BatchNorm<Scalar> layer(channels);
    stir(layer);
    auto separate = layer;
    T y, y2, in_place = x;
    separate.forward(x, y);
    layer.forward(x, then_clip(y2, -0.5, 0.75));
    EXPECT_TRUE(same(y2, clipped(y, -0.5, 0.75)));
    EXPECT_EQ(running(layer), running(separate));
    layer.forward(in_place, then_relu(in_place));
    EXPECT_TRUE(same(in_place, clipped(y, 0, std::numeric_limits<double>::infinity())));
  }
}

TEST(PostOp, OfSmallBatches) {
  expect_small_batches<float>();
  expect_small_batches<double>();
  expect_small_batches<Eigen::half>();
  expect_small_batches<Eigen::bfloat16>();
}

// 16-bit results are rounded once, after the product.
TEST(PostOp, RoundsAProductOnce) {
  using T = Eigen::Tensor<Eigen::bfloat16, 2, kRow>;
  using F = Eigen::Tensor<float, 2, kRow>;
  const F xf = F(7, 37).random() - 0.5F, zf = F(7, 37).random();
  const T x = xf.cast<Eigen::bfloat16>(), z = zf.cast<Eigen::bfloat16>();
  const F x_exact = x.cast<float>(), z_exact = z.cast<float>();
  T y(7, 37);
  F normalized(7, 37);
  LayerNorm<Eigen::bfloat16> norm(37);
  LayerNorm<float> of_floats(37);
  norm.infer(x, then_times(y, z));
  of_floats.infer(x_exact, normalized);
  for (Index i = 0; i < y.size(); ++i) {
    const Eigen::bfloat16 expected(normalized.data()[i] * z_exact.data()[i]);
    EXPECT_EQ(static_cast<float>(y.data()[i]), static_cast<float>(expected)) << "at " << i;
  }
}

TEST(PostOp, OfTensorsThatLieDifferently) {
  using Row = Tensor4<float, kRow>;
  using Col = Tensor4<float, kCol>;
  const Extents extents{3, 4, 5, 6};
  const Eigen::array<int, 4> reversed{3, 2, 1, 0};
  const Row x = drawn<float, kRow>(extents, 1), z = drawn<float, kRow>(extents, 2), dy = drawn<float, kRow>(extents, 3);
  const Col z_col = z.swap_layout().shuffle(reversed), dy_col = dy.swap_layout().shuffle(reversed);
  LayerNorm<float> layer({5, 6});
  Row y, y2, dx, dx2, dz, dz2;
  layer.forward(x, then_times(y, z));
  layer.forward(x, then_times(y2, z_col));
  EXPECT_EQ(bytes(y2), bytes(y));
  Col y_col, dz_col;
  layer.infer(x, then_times(y_col, z));
  EXPECT_EQ(bytes(Row(y_col.swap_layout().shuffle(reversed))), bytes(y));
  layer.infer(x, then_times(y_col, z_col));
  EXPECT_EQ(bytes(Row(y_col.swap_layout().shuffle(reversed))), bytes(y));
  layer.backward(x, then_times(dy, z, dz), dx);
  layer.backward(x, then_times(dy_col, z, dz_col), dx2);
  EXPECT_EQ(bytes(dx2), bytes(dx));
  EXPECT_EQ(bytes(Row(dz_col.swap_layout().shuffle(reversed))), bytes(dz));
  layer.backward(x, then_relu(dy), dx);
  layer.backward(x, then_relu(dy_col), dx2);
  EXPECT_EQ(bytes(dx2), bytes(dx));

  // Expressions, and every second element.
  layer.infer(x * 1.0F, then_times(y2, z + 0.0F));
  EXPECT_EQ(bytes(y2), bytes(y));
  layer.backward(x, then_relu(dy + 0.0F), dx2);
  EXPECT_EQ(bytes(dx2), bytes(dx));
  std::vector<float> spread_x(720, -1), spread_y(720, -1), spread_dz(720, -1);
  for (std::size_t i = 0; i < 360; ++i) spread_x[2 * i] = x.data()[i];
  const auto gaps = [&](std::vector<float>& v) { return view(v.data(), {3, 4, 5, 6}, {240, 60, 12, 2}); };
  layer.forward(gaps(spread_x), then_times(gaps(spread_y), z));
  layer.backward(gaps(spread_x), then_times(dy, z, gaps(spread_dz)), dx2);
  for (std::size_t i = 0; i < 360; ++i) {
    EXPECT_EQ(spread_y[2 * i], y.data()[i]);
    EXPECT_EQ(spread_dz[2 * i], dz.data()[i]);
    EXPECT_EQ(spread_y[2 * i + 1], -1);
    EXPECT_EQ(spread_dz[2 * i + 1], -1);
  }
}

TEST(PostOp, OfWhateverMayBeNormalized) {
  Eigen::MatrixXf x = Eigen::MatrixXf::Random(6, 5), r = Eigen::MatrixXf::Random(6, 5), h, y, want;
  RMSNorm<float> norm(5);
  // A sum that is kept.
  norm.forward((x + r).eval(), want);
  norm.forward(add(x, r, h), then_relu(y));
  EXPECT_EQ(h, x + r);
  EXPECT_EQ(y, want.cwiseMax(0));
  norm.infer(add(x, r, h), then_clip(y, -1, 0.5));
  EXPECT_EQ(y, want.cwiseMax(-1).cwiseMin(0.5));
  // A layer of any kind.
  AnyNorm<float> any = norm;
  Eigen::MatrixXf dx, dx2;
  any.forward(h, then_relu(y));
  EXPECT_EQ(y, want.cwiseMax(0));
  any.backward(h, then_relu(r), dx);
  norm.forward(h, y);
  norm.backward(h, (r.array() * (y.array() > 0).cast<float>()).matrix(), dx2);
  EXPECT_EQ(dx, dx2);
  // Functions.
  const Eigen::ArrayXf gamma = Eigen::ArrayXf::LinSpaced(5, 0.5F, 2), beta = Eigen::ArrayXf::LinSpaced(5, -1, 1);
  layer_norm(x, gamma, beta, 1e-5, want);
  layer_norm(x, gamma, beta, 1e-5, then_relu(y));
  EXPECT_EQ(y, want.cwiseMax(0));
  layer_norm(view(x.data(), {5, 6}), kNone, kNone, 1e-5, then_times(view(y.data(), {5, 6}), view(r.data(), {5, 6})));
  layer_norm(view(x.data(), {5, 6}), kNone, kNone, 1e-5, view(want.data(), {5, 6}));
  EXPECT_EQ(y, want.cwiseProduct(r));
  // Nothing.
  const Eigen::MatrixXf none(0, 5);
  Eigen::MatrixXf dz;
  norm.forward(none, then_times(y, none));
  EXPECT_EQ(y.rows(), 0);
  norm.backward(none, then_times(none, none, dz), dx);
  EXPECT_EQ(dz.rows(), 0);
  EXPECT_EQ(dx.rows(), 0);
  norm.backward(none, then_relu(none), dx);
}

TEST(PostOp, NaNStays) {
  Eigen::MatrixXf x = Eigen::MatrixXf::Random(3, 40), y;
  x(1, 7) = std::numeric_limits<float>::quiet_NaN();
  LayerNorm<float>(40).infer(x, then_clip(y, -0.5, 0.5));
  EXPECT_TRUE(y.row(1).array().isNaN().all());
  EXPECT_TRUE((y.row(0).array().abs() <= 0.5F).all());
}

/// A result that is NaN, of either sign, lies between no bounds, and an infinite one has no gradient either.
template <class Scalar>
void expect_no_gradient_of_what_is_not_finite() {
  using Matrix = Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic>;
  for (const double value : {std::nan(""), -std::nan(""), double(INFINITY), -double(INFINITY)}) {
    LayerNorm<Scalar> norm(40);
    norm.beta()[3] = static_cast<std::decay_t<decltype(norm.beta()[3])>>(value);
    norm.beta()[4] = 5;
    const Matrix x = Eigen::MatrixXf::Random(3, 40).cast<Scalar>(), dy = Matrix::Ones(3, 40);
    Matrix y, dx;
    norm.forward(x, y);
    for (const bool is_relu : {true, false}) {
      is_relu ? norm.backward(x, then_relu(dy), dx) : norm.backward(x, then_clip(dy, -10, 10), dx);
      EXPECT_EQ(norm.dbeta()[3], 0) << value;
      EXPECT_GT(norm.dbeta()[4], 0) << value;
    }
  }
}
TEST(PostOp, NoGradientOfWhatIsNotFinite) {
  expect_no_gradient_of_what_is_not_finite<float>();
  expect_no_gradient_of_what_is_not_finite<double>();
  expect_no_gradient_of_what_is_not_finite<Eigen::half>();
  expect_no_gradient_of_what_is_not_finite<Eigen::bfloat16>();
}

// Central differences of a weighted sum of y.
template <class Layer>
void expect_gradient_of_differences(Layer layer) {
  using Matrix = Eigen::MatrixXd;
  stir(layer);
  Matrix x = Matrix::Random(9, 6), z = Matrix::Random(9, 6), y, dx, dz;
  const Matrix w = Matrix::Random(9, 6);
  constexpr double kStep = 1e-6;
  const auto loss = [&](const Matrix& at, bool is_product) {
    Layer copy = layer;
    is_product ? copy.forward(at, then_times(y, z)) : copy.forward(at, then_clip(y, -0.4, 0.6));
    return y.cwiseProduct(w).sum();
  };
  for (const bool is_product : {false, true}) {
    loss(x, is_product);
    layer.forward(x, y);
    is_product ? layer.backward(x, then_times(w, z, dz), dx) : layer.backward(x, then_clip(w, -0.4, 0.6), dx);
    const auto expect_change = [&](double& value, double derivative) {
      const double kept = value;
      value = kept + kStep;
      const double above = loss(x, is_product);
      value = kept - kStep;
      const double below = loss(x, is_product);
      value = kept;
      EXPECT_NEAR((above - below) / (2 * kStep), derivative, 1e-7);
    };
    for (Index i = 0; i < x.size(); ++i) expect_change(x.data()[i], dx.data()[i]);
    for (Index i = 0; is_product && i < z.size(); ++i) expect_change(z.data()[i], dz.data()[i]);
    for (Index p = 0; p < layer.gamma().size(); ++p) {
      expect_change(layer.gamma()[p], layer.dgamma()[p]);
      if constexpr (has_beta<Layer>) expect_change(layer.beta()[p], layer.dbeta()[p]);
    }
  }
}

TEST(PostOp, GradientsAreThoseOfDifferences) {
  expect_gradient_of_differences(BatchNorm<double>(6));
  expect_gradient_of_differences(LayerNorm<double>(6));
  expect_gradient_of_differences(GroupNorm<double>(2, 6));
  expect_gradient_of_differences(RMSNorm<double>(6));
}

TEST(PostOp, AllocatesNothingOnceWarm) {
  const Extents extents{8, 16, 6, 6};
  const auto x = drawn<float, kRow>(extents, 1), z = drawn<float, kRow>(extents, 2);
  auto y = x, dx = x, dz = x;
  for_each_layer<float>(extents, 1, [&](const Kind& kind, auto layer) {
    const auto step = [&] {
      layer.forward(x, then_times(y, z));
      layer.backward(x, then_times(z, z, dz), dx);
      layer.forward(x, then_relu(y));
      layer.backward(x, then_relu(z), dx);
      layer.infer(x, then_relu(y));
      layer.infer(x, then_times(y, z));
    };
    step();
    const long before = allocations;
    step();
    EXPECT_EQ(allocations, before) << kind.name;
  });
}

TEST(PostOp, RefusesWhatItCannotDo) {
  Eigen::ArrayXXf x = Eigen::ArrayXXf::Random(6, 5), z = x + 1, wide = Eigen::ArrayXXf::Random(6, 7), y = x, dx = x;
  const Eigen::ArrayXXf before = x;
  LayerNorm<float> norm(5);
  norm.forward(x, y);
  y = before;
  const std::string state_before = state(norm);
  EXPECT_EQ(refusal_of([&] { norm.forward(x, then_clip(y, 1, -1)); }),
            "tensornorm: a clip between 1 and -1: the first must be less");
  EXPECT_EQ(refusal_of([&] { norm.infer(x, then_clip(y, 0, std::nan(""))); }),
            "tensornorm: a clip between 0 and nan: the first must be less");
  EXPECT_EQ(refusal_of([&] { norm.infer(x, then_times(y, wide)); }),
            "tensornorm: z has extents (6, 7) but a factor of (6, 5) needs the same");
  EXPECT_EQ(refusal_of([&] { norm.backward(x, then_times(x, wide, kNone), dx); }),
            "tensornorm: x has extents (6, 5) but z, a factor of the same, has (6, 7)");
  EXPECT_EQ(refusal_of([&] { norm.backward(x, then_times(y, z, x), dx); }),
            "tensornorm: dz is x, which backward reads afterwards: give it memory of its own");
  EXPECT_EQ(refusal_of([&] { norm.backward(x, then_times(y, z, dx), dx); }),
            "tensornorm: dx and dz are the same memory: give each memory of its own");
  EXPECT_NE(refusal_of([&] { norm.backward(wide, then_relu(y), dx); }).find("(6, 7)"), std::string::npos);
  EXPECT_NE(refusal_of([&] { norm.backward(z, then_relu(y), dx); }).find("is not what the last forward pass read"),
            std::string::npos);
  Eigen::ArrayXf memory = Eigen::ArrayXf::Random(60);
  Eigen::Map<Eigen::ArrayXXf> first(memory.data(), 6, 5), second(memory.data() + 7, 6, 5), few(memory.data(), 3, 5);
  EXPECT_NE(refusal_of([&] { norm.infer(x, then_times(first, second)); }).find("y and z overlap"), std::string::npos);
  EXPECT_NE(refusal_of([&] { norm.backward(x, then_times(first, z, second), dx); }).find("dz and dy overlap"),
            std::string::npos);
  EXPECT_NE(refusal_of([&] { norm.backward(x, then_times(y, first, second), dx); }).find("dz and z overlap"),
            std::string::npos);
  EXPECT_NE(refusal_of([&] { norm.backward(x, then_times(y, z, few), dx); }).find("(3, 5)"), std::string::npos);
  EXPECT_NE(refusal_of([&] { norm.backward(x, then_times(y, z, wide), few); }).find("(3, 5)"), std::string::npos);
  EXPECT_EQ(wide.cols(), 7);
  // Of a sum that is kept z may be no part, and what dx is added to is no place for dz.
  Eigen::ArrayXXf h = x;
  EXPECT_NE(refusal_of([&] { norm.infer(add(x, z, h), then_times(y, h)); }).find("h and z overlap"), std::string::npos);
  Eigen::ArrayXXf wider(40, 60);
  Eigen::Map<Eigen::ArrayXXf> in_old(wider.data(), 6, 5);
  EXPECT_NE(refusal_of([&] { norm.infer(add(x, z, wider), then_times(y, in_old)); }).find("h and z overlap"),
            std::string::npos);
  EXPECT_EQ(wider.cols(), 60);
  // Nor may dx share a part of z, or memory that it gives away.
  for (const bool with_dz : {true, false}) {
    Eigen::ArrayXXf dz(6, 5);
    const auto backward = [&](auto& factor, auto& to) {
      with_dz ? norm.backward(x, then_times(y, factor, dz), to) : norm.backward(x, then_times(y, factor, kNone), to);
    };
    EXPECT_NE(refusal_of([&] { backward(first, second); }).find("dx and z overlap"), std::string::npos);
    EXPECT_NE(refusal_of([&] { backward(in_old, wider); }).find("dx and z overlap"), std::string::npos);
    EXPECT_EQ(wider.cols(), 60);
  }
  EXPECT_NE(
      refusal_of([&] { norm.backward(x, then_times(y, z, dx), add_to(dx)); }).find("dx and dz are the same memory"),
      std::string::npos);
  EXPECT_NE(refusal_of([&] { norm.infer(x, then_clip(y, 0.1, 0.1 + 1e-12)); }).find("the first must be less"),
            std::string::npos);
  Whitening<float> whitening(5);
  EXPECT_NE(refusal_of([&] { whitening.forward(x, then_relu(y)); }).find("Whitening takes no then_relu"),
            std::string::npos);
  EXPECT_NE(refusal_of([&] { whitening.infer(x, then_relu(y)); }).find("Whitening takes no"), std::string::npos);
  whitening.forward(x, dx);
  dx = before;
  EXPECT_NE(refusal_of([&] { whitening.backward(x, then_relu(y), dx); }).find("Whitening takes no"), std::string::npos);
  LayerNorm<float> fresh(5);
  EXPECT_NE(refusal_of([&] { fresh.backward(x, then_relu(y), dx); }).find("there was none"), std::string::npos);
  EXPECT_TRUE((x == before).all() && (y == before).all() && (dx == before).all());
  EXPECT_EQ(state(norm), state_before);
}

}  // namespace
}  // namespace tensornorm_test
