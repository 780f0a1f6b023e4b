// Values that cost others their digits: offsets, outliers, sorted and constant rows, the ends of a type. y and dx
// against the oracle.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "every_layer.hpp"

namespace tensornorm_test {
namespace {

using namespace tensornorm;

struct Pattern {
  const char* name;
  std::function<double(Index i, Index n)> value;
};

const Pattern kPatterns[] = {
    {"40000 .. 40003", [](Index i, Index) { return 40000.0 + double(i % 4); }},
    {"40000 + ramp", [](Index i, Index n) { return 40000.0 + 3.0 * double(i) / double(n); }},
    {"mean 2000", [](Index i, Index) { return 2000.0 + std::sin(double(i)); }},
    {"offset 1e6", [](Index i, Index) { return 1e6 + double(i * 7 % 5); }},
    {"offset -1e6, one apart", [](Index i, Index n) { return i == n / 2 ? -1e6 + 1 : -1e6; }},
    {"1e30", [](Index i, Index) { return 1e30 * std::sin(double(i * i)); }},
    {"1e30 and an offset", [](Index i, Index) { return 1e30 * (5 + std::sin(double(i * i))); }},
    {"1e37", [](Index i, Index) { return 1e37 * std::cos(double(i * 3)); }},
    {"1e-15", [](Index i, Index) { return 1e-15 * std::cos(double(i * 3)); }},
    {"1e-30", [](Index i, Index) { return 1e-30 * std::cos(double(i * 3)); }},
    {"denormal", [](Index i, Index) { return 1e-40 * double(i % 7); }},
    {"small about 1", [](Index i, Index) { return 1 + 1e-6 * double(i % 3); }},
    {"outlier first", [](Index i, Index) { return i == 0 ? 1e6 : std::sin(double(i)); }},
    {"huge outlier first", [](Index i, Index) { return i == 0 ? 1e30 : std::sin(double(i)); }},
    {"outlier last", [](Index i, Index n) { return i == n - 1 ? -1e6 : std::sin(double(i)); }},
    {"largest outlier last", [](Index i, Index n) { return i == n - 1 ? 3e38 : 1e-3 * std::sin(double(i)); }},
    {"1e25 and 1e-25", [](Index i, Index) { return (i % 2 == 0 ? 1e25 : 1e-25) * std::sin(double(i + 1)); }},
    {"sorted", [](Index i, Index n) { return -50 + 100.0 * double(i) / double(n); }},
    {"sorted steeply", [](Index i, Index n) { return std::exp(30.0 * double(i) / double(n)); }},
    {"alternating", [](Index i, Index) { return i % 2 == 0 ? 60000.0 : -60000.0; }},
    {"alternating about 1e5", [](Index i, Index) { return i % 2 == 0 ? 1e5 : 1e5 + 0.5; }},
    {"two halves", [](Index i, Index n) { return i < n / 2 ? 1000.25 : -1000.25; }},
    {"quantized", [](Index i, Index) { return double(i * 31 % 256) / 255 - 0.5; }},
};

// Largest errors of y and dx relative to their largest values; y where its values come from digits that Scalar keeps.
template <int Layout, class Scalar, class Layer>
void check_pattern(const std::string& where, Layer layer, const Kind& kind, double eps, const Extents& extents,
                   const Values& x_values) {
  using T = Guarded<Scalar, 3, Layout>;
  const double unit = std::is_same_v<Scalar, double>        ? 1e-15
                      : std::is_same_v<Scalar, float>       ? 1.2e-7
                      : std::is_same_v<Scalar, Eigen::half> ? 1e-3
                                                            : 8e-3;
  const Index n = count(extents);
  T x(extents, x_values), dy(extents, normal(n, 2)), y(extents), dx(extents);
  const Values xs = x.values(), dys = dy.values(), gamma = values_of(layer.gamma());
  Values beta;
  if constexpr (has_beta<Layer>) beta = values_of(layer.beta());
  const Statistics s = oracle_statistics(xs, kind.sets, eps, kind.centred);
  for (const Real rstd : s.rstd) {
    if (!std::is_same_v<Scalar, double> && (rstd > 1e37L || rstd < 1e-37L)) return;  // Param cannot hold it
  }
  const Normalized expected = oracle_forward(xs, kind.sets, s, gamma, beta);
  const Gradients g = oracle_backward(xs, dys, kind.sets, s, gamma, kind.centred);
  layer.forward(x.map(), y.map());
  const Values ys = y.values();
  layer.backward(x.map(), dy.map(), dx.map());
  const Values dxs = dx.values();
  // errors are relative to the largest value of the same statistic
  Reals y_size(s.rstd.size(), 0), dx_size(s.rstd.size(), 0);
  for (std::size_t i = 0; i < xs.size(); ++i) {
    const auto k = std::size_t(kind.sets.stat[i]);
    y_size[k] = std::max(y_size[k], std::abs(expected.y[i]));
    dx_size[k] = std::max(dx_size[k], s.rstd[k] * (1 + std::abs(expected.xhat[i])));
  }
  const Real smallest = std::is_same_v<Scalar, double> ? 1e-307L : sizeof(Scalar) == 4 ? 1e-37L : 1e-7L;
  for (std::size_t i = 0; i < xs.size(); ++i) {
    const auto k = std::size_t(kind.sets.stat[i]);
    ASSERT_LE(std::abs(Real(ys[i]) - expected.y[i]), 16 * unit * y_size[k] + smallest)
        << where << ": y at " << i << " is " << ys[i] << ", not " << double(expected.y[i]) << " of x " << xs[i];
    if (dx_size[k] > 1e3 && sizeof(Scalar) == 2) continue;  // beyond what the type holds
    ASSERT_LE(std::abs(Real(dxs[i]) - g.dx[i]), 40 * unit * dx_size[k] + smallest)
        << where << ": dx at " << i << " is " << dxs[i] << ", not " << double(g.dx[i]) << " of x " << xs[i];
  }
}

// Lays the pattern along the statistics of each layer, the other statistics being benign.
template <int Layout, class Scalar>
void hard_numbers(double eps) {
  for (const Pattern& pattern : kPatterns) {
    for (const Index n : {4, 7, 32, 33, 257, 1000}) {
      for (const Extents& extents : {Extents{3, 1, n}, Extents{n, 3, 1}, Extents{1, n, 3}}) {
        for_each_layer<Scalar>(extents, extents[1] == n ? 2 : 1, eps, [&](const Kind& kind, const auto& layer) {
          Extents one_value(std::size_t(kind.sets.stats), 0), seen = one_value;
          for (const Index k : kind.sets.stat) ++one_value[std::size_t(k)];
          if (one_value[0] == 1) return;
          Values x = normal(count(extents), 3);
          const Index middle = kind.sets.stats / 2;
          for (std::size_t i = 0; i < x.size(); ++i) {
            if (kind.sets.stat[i] == middle) x[i] = pattern.value(seen[0]++, one_value[std::size_t(middle)]);
          }
          x = rounded<Scalar>(x);
          if (std::count_if(x.begin(), x.end(), [](double v) { return !std::isfinite(v); }) > 0) return;
          check_pattern<Layout, Scalar>(
              std::string(pattern.name) + ", eps " + std::to_string(eps) + ", " + kind.name + " " + layout_name(Layout),
              layer, kind, eps, extents, x);
        });
      }
    }
  }
}

TEST(HardNumbers, RowMajor) { hard_numbers<kRow, float>(1e-5); }
TEST(HardNumbers, ColMajor) { hard_numbers<kCol, float>(1e-5); }
TEST(HardNumbers, WithoutEps) { hard_numbers<kRow, float>(0); }
TEST(HardNumbers, SmallEps) { hard_numbers<kRow, float>(1e-12); }
TEST(HardNumbers, Doubles) { hard_numbers<kRow, double>(1e-5); }
TEST(HardNumbers, DoublesWithoutEps) { hard_numbers<kCol, double>(0); }
TEST(HardNumbers, Halves) { hard_numbers<kRow, Eigen::half>(1e-5); }
TEST(HardNumbers, BFloat16) { hard_numbers<kRow, Eigen::bfloat16>(1e-5); }

TEST(HardNumbers, HalfRowsOfLargeVariance) {
  Values xs(2 * 96);
  for (std::size_t i = 0; i < xs.size(); ++i) xs[i] = i % 3 == 0 ? 60000 : -60000;
  Guarded<Eigen::half, 2, kRow> x({2, 96}, xs), y({2, 96});
  LayerNorm<Eigen::half> ln({96});
  ln.forward(x.map(), y.map());
  for (const double v : y.values()) EXPECT_NEAR(std::abs(v), v > 0 ? std::sqrt(2.0) : std::sqrt(0.5), 1e-3);
  RMSNorm<Eigen::half> rms({96});
  rms.forward(x.map(), y.map());
  for (const double v : y.values()) EXPECT_EQ(std::abs(v), 1);
}

// dy * (x - mean) leaves float's range where dx and dgamma do not.
// Sums of dy that overflow matter to no layer without a mean.
TEST(HardNumbers, LargeGradientsWithoutAMean) {
  Eigen::ArrayXXf x(1, 64), y, dx;
  const Eigen::ArrayXXf dy = Eigen::ArrayXXf::Constant(1, 64, 2e38F);
  for (Index i = 0; i < 64; ++i) x(0, i) = i / 32 == 0 ? 1.0F : -1.0F;  // so that sums of dy * xhat stay small
  RMSNorm<float> layer(64, 0.0);
  layer.forward(x, y);
  layer.backward(x, dy, dx);
  EXPECT_EQ((dx - dy).abs().maxCoeff(), 0);
}

TEST(HardNumbers, LargeGradientsOfLargeInputs) {
  for (const double scale : {1e33, 1e-30}) {
    Eigen::Tensor<double, 2, kRow> x(3, 40), dy(3, 40), y(3, 40), dx(3, 40);
    for (Index i = 0; i < x.size(); ++i) {
      x.data()[i] = float(scale * std::sin(double(i * i)));
      dy.data()[i] = float((scale > 1 ? 1e8 : 1e-20) * std::cos(double(i * 5)));
    }
    const Eigen::Tensor<float, 2, kRow> xf = x.cast<float>(), dyf = dy.cast<float>();
    Eigen::Tensor<float, 2, kRow> yf(3, 40), dxf(3, 40);
    LayerNormOptions options;
    options.eps = 0;
    LayerNorm<double> reference({40}, options);
    LayerNorm<float> layer({40}, options);
    reference.forward(x, y);
    reference.backward(x, dy, dx);
    layer.forward(xf, yf);
    layer.backward(xf, dyf, dxf);
    const double dy_scale = scale > 1 ? 1e8 : 1e-20;
    for (Index i = 0; i < x.size(); ++i) {
      EXPECT_NEAR(double(dxf.data()[i]), dx.data()[i], 1e-5 * dy_scale / scale) << i << " of scale " << scale;
    }
    for (Index p = 0; p < 40; ++p) EXPECT_NEAR(double(layer.dgamma()[p]), reference.dgamma()[p], 1e-5 * dy_scale);
  }
}

// A statistic's bits are its own: infer, which takes smaller blocks than forward, finds the same ones beside channels
// that underflow, overflow or mislead the estimate.
TEST(HardNumbers, OthersOfABlockChangeNoBits) {
  constexpr Index n = 96, channels = 256;
  for (const double strange : {1e30, 1e-20, 0.0}) {
    Eigen::Tensor<float, 2, kRow> x(n, channels), y, inferred;
    const Values values = normal(n * channels, 5);
    for (Index i = 0; i < n; ++i) {
      for (Index c = 0; c < channels; ++c) {
        x(i, c) = static_cast<float>(values[std::size_t(i * channels + c)]) * (c < 8 ? 1e-20F : 1.0F);
      }
      // Without another strange value: 1 wherever the estimate looks, and 0 elsewhere.
      x(i, 200) = strange > 0 ? x(i, 200) * float(strange) : float(i % 3 == 1);
    }
    BatchNormOptions options;
    options.eps = 0;
    options.affine = options.track_running_stats = false;
    BatchNorm<float> layer(channels, options);
    layer.forward(x, y);
    layer.infer(x, inferred);
    EXPECT_EQ(bytes(y), bytes(inferred)) << strange;
  }
}

}  // namespace
}  // namespace tensornorm_test
