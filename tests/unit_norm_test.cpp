// UnitNorm and unit_norm against plain loops in long double: forward, backward, where eps rules, in any layout.
#include <gtest/gtest.h>

#define EIGEN_USE_THREADS
#include <sstream>

#include "counted_malloc.hpp"
#include "every_layer.hpp"

namespace tensornorm_test {
namespace {

using namespace tensornorm;

constexpr double kEps = 1e-12;

/// Of rows of n numbers: y, and dx from dy.
struct Wanted {
  Reals y, dx;
};
Wanted wanted(const Values& x, const Values& dy, Index n, double eps) {
  Wanted result{Reals(x.size()), Reals(x.size())};
  for (std::size_t first = 0; first < x.size(); first += std::size_t(n)) {
    Real squares = 0, dot = 0;
    for (std::size_t i = first; i < first + std::size_t(n); ++i) squares += Real(x[i]) * x[i];
    const bool is_free = squares > Real(eps);
    const Real sum = is_free ? squares : Real(eps), rstd = sum > 0 ? 1 / std::sqrt(sum) : 0;
    for (std::size_t i = first; i < first + std::size_t(n); ++i) {
      result.y[i] = x[i] * rstd;
      dot += dy[i] * result.y[i];
    }
    for (std::size_t i = first; i < first + std::size_t(n); ++i) {
      result.dx[i] = rstd * (dy[i] - (is_free ? result.y[i] * dot : 0));
    }
  }
  return result;
}

/// Of the right value: four units of double, three of float.
template <class Scalar>
double unit_of() {
  return std::is_same<Scalar, double>::value        ? 9e-16
         : std::is_same<Scalar, float>::value       ? 4e-7
         : std::is_same<Scalar, Eigen::half>::value ? 1e-3
                                                    : 8e-3;
}

template <class Scalar, int Layout>
void expect_loops(const Extents& extents, double scale) {
  using T = Guarded<Scalar, 3, Layout>;
  const Index n = count(extents), d = extents[2];
  const Values xs = rounded<Scalar>(normal(n, 1, scale, scale / 2)), dys = rounded<Scalar>(normal(n, 2));
  T x(extents, xs), dy(extents, dys), y(extents), dx(extents);
  UnitNorm<Scalar> layer;
  layer.forward(x.map(), y.map());
  layer.backward(x.map(), dy.map(), dx.map());
  const Wanted want = wanted(xs, dys, d, kEps);
  const Values ys = y.values(), dxs = dx.values();
  const std::string where = text(extents) + layout_name(Layout) + name_of<Scalar>();
  for (std::size_t i = 0; i < xs.size(); ++i) {
    ASSERT_NEAR(ys[i], double(want.y[i]), unit_of<Scalar>() * (std::abs(double(want.y[i])) + 1e-3))
        << where << " " << i;
    const double rstd = double(layer.rstd()[Index(i) / d]);
    ASSERT_NEAR(dxs[i], double(want.dx[i]), 6 * unit_of<Scalar>() * rstd) << where << ": dx " << i;
  }
  T again(extents);
  layer.infer(x.map(), again.map());
  EXPECT_TRUE(again.same_bits(y)) << where;
  EXPECT_TRUE(x.guards_intact() && y.guards_intact() && dx.guards_intact()) << where;
}

TEST(UnitNorm, IsThePlainLoops) {
  for (const Extents& extents :
       {Extents{3, 5, 1}, {3, 5, 7}, {2, 9, 16}, {4, 4, 64}, {1, 6, 257}, {1, 2, 4099}, {70, 80, 24}}) {
    for (const double scale : {1.0, 100.0}) {
      expect_loops<float, kRow>(extents, scale);
      expect_loops<float, kCol>(extents, scale);
      expect_loops<double, kRow>(extents, scale);
      expect_loops<double, kCol>(extents, scale);
      expect_loops<Eigen::half, kRow>(extents, scale);
      expect_loops<Eigen::bfloat16, kCol>(extents, scale);
    }
  }
}

// Past the cache, on threads.
TEST(UnitNorm, OfALargeTensorOnThreads) {
  Eigen::ThreadPool threads(3);
  const Eigen::ThreadPoolDevice pool(&threads, 3);
  Eigen::Tensor<float, 2, kRow> x(40000, 96), y, z, dx, dz;
  x.setRandom();
  UnitNorm<float> layer;
  layer.forward(x, y);
  layer.backward(x, y, dx);
  layer.forward(pool, x, z);
  layer.backward(pool, x, y, dz);
  EXPECT_EQ(bytes(z), bytes(y));
  EXPECT_EQ(bytes(dz), bytes(dx));
  for (Index r = 0; r < 40000; r += 997) {
    double squares = 0;
    for (Index j = 0; j < 96; ++j) squares += double(y(r, j)) * double(y(r, j));
    EXPECT_NEAR(squares, 1, 1e-6);
  }
}

// Below eps the divisor is constant; above it eps is nowhere.
template <class Scalar>
void eps_rules() {
  using T = Guarded<Scalar, 2, kRow>;
  for (const double eps : {1e-12, 1.0, 1e-30, 0.0, 1e-3, 1e-13, 1e-15, 3.0, 4.09805e-05}) {
    for (const double size : {0.0, 1e-18, 1e-8, 1e-4, 1.0, 1e5, 1e18}) {
      const Values xs = rounded<Scalar>({size, -size / 2, size / 4, 0, size / 3}), dys{1, 0.5, -1, 2, 0.25};
      T x({1, 5}, xs), dy({1, 5}, dys), y({1, 5}), dx({1, 5});
      UnitNorm<Scalar> layer(UnitNormOptions{eps, -1});
      layer.forward(x.map(), y.map());
      layer.backward(x.map(), dy.map(), dx.map());
      const Wanted want = wanted(xs, dys, 5, eps);
      const Values ys = y.values(), dxs = dx.values();
      const double rstd = double(layer.rstd()[0]);
      for (std::size_t i = 0; i < 5; ++i) {
        EXPECT_NEAR(ys[i], double(want.y[i]), 2 * unit_of<Scalar>() * std::abs(double(want.y[i])))
            << "eps " << eps << " size " << size << " " << name_of<Scalar>();
        EXPECT_NEAR(dxs[i], double(want.dx[i]), 8 * unit_of<Scalar>() * rstd)
            << "dx, eps " << eps << " size " << size << " " << name_of<Scalar>();
      }
    }
  }
}

TEST(UnitNorm, EpsIsTheLeastSumOfSquares) {
  eps_rules<float>();
  eps_rules<double>();
}

// Just below eps, for many eps, whose roots round in every way.
template <class Scalar>
void eps_of_any_root() {
  using T = Guarded<Scalar, 2, kRow>;
  for (int i = 0; i < 2000; ++i) {
    const double eps = std::pow(10, -6 + i * 0.004), size = std::sqrt(eps) * (i % 3 == 0 ? 0.999 : 0.6);
    const Values xs = rounded<Scalar>({size, 0}), dys{1, 0.5};
    T x({1, 2}, xs), dy({1, 2}, dys), y({1, 2}), dx({1, 2});
    UnitNorm<Scalar> layer(UnitNormOptions{eps, -1});
    layer.forward(x.map(), y.map());
    layer.backward(x.map(), dy.map(), dx.map());
    const Wanted want = wanted(xs, dys, 2, eps);
    for (std::size_t k = 0; k < 2; ++k) {
      ASSERT_NEAR(dx.values()[k], double(want.dx[k]), 8 * unit_of<Scalar>() * double(layer.rstd()[0]))
          << "eps " << eps << " " << name_of<Scalar>();
    }
  }
}

TEST(UnitNorm, AnyEpsIsConstantBelowIt) {
  eps_of_any_root<float>();
  eps_of_any_root<double>();
}

// Squares that overflow or underflow in the tensor's own type.
TEST(UnitNorm, OfNumbersOfAnySize) {
  UnitNormOptions options;
  options.eps = 0;
  for (const float size : {1e-37F, 1e-25F, 1e25F, 3e37F}) {
    Eigen::MatrixXf x(1, 3), y;
    x << 3 * size, 0, -4 * size;
    UnitNorm<float>(options).infer(x, y);
    EXPECT_NEAR(y(0, 0), 0.6F, 1e-6F) << size;
    EXPECT_NEAR(y(0, 2), -0.8F, 1e-6F) << size;
  }
  for (const double size : {1e-150, 1e-140, 1e140, 1e150}) {
    Eigen::MatrixXd x(1, 3), y;
    x << 3 * size, 0, -4 * size;
    UnitNorm<double>(options).infer(x, y);
    EXPECT_NEAR(y(0, 0), 0.6, 1e-14) << size;
    EXPECT_NEAR(y(0, 2), -0.8, 1e-14) << size;
  }
}

TEST(UnitNorm, GradientIsThatOfDifferences) {
  using Matrix = Eigen::MatrixXd;
  Matrix x = Matrix::Random(4, 6), y, dx;
  const Matrix w = Matrix::Random(4, 6);
  UnitNorm<double> layer;
  layer.forward(x, y);
  layer.backward(x, w, dx);
  for (Index i = 0; i < x.size(); ++i) {
    const double kept = x.data()[i], step = 1e-6;
    x.data()[i] = kept + step;
    layer.infer(x, y);
    const double above = y.cwiseProduct(w).sum();
    x.data()[i] = kept - step;
    layer.infer(x, y);
    EXPECT_NEAR((above - y.cwiseProduct(w).sum()) / (2 * step), dx.data()[i], 1e-8);
    x.data()[i] = kept;
  }
}

TEST(UnitNorm, FunctionsAxesAndManners) {
  const Eigen::MatrixXf x = Eigen::MatrixXf::Random(6, 5), dy = Eigen::MatrixXf::Random(6, 5);
  Eigen::MatrixXf y, dx, want, want_dx;
  UnitNorm<float> rows;
  rows.forward(x, want);
  rows.backward(x, dy, want_dx);
  unit_norm(x, 1e-12, y);
  EXPECT_EQ(y, want);
  Pass<float> pass;
  unit_norm(x, 1e-12, y, pass);
  unit_norm_backward(x, dy, pass, dx);
  EXPECT_EQ(y, want);
  EXPECT_EQ(dx, want_dx);
  std::vector<float> values(x.data(), x.data() + 30);
  unit_norm(view(values.data(), {6, 5}, {1, 6}), 1e-12, view(values.data(), {6, 5}, {1, 6}));
  EXPECT_EQ(Eigen::Map<Eigen::MatrixXf>(values.data(), 6, 5), want);

  UnitNormOptions columns;
  columns.axis = 0;
  UnitNorm<float> of_columns(columns);
  of_columns.forward(x, y);
  EXPECT_TRUE(y.colwise().norm().isOnes(1e-6F));
  const Eigen::MatrixXf turned = rows(x.transpose().eval()).transpose();
  EXPECT_TRUE(y.isApprox(turned, 1e-6F));

  AnyNorm<float> any = rows;
  any.forward(x, y);
  EXPECT_EQ(y, want);
  EXPECT_EQ(any.parameters().size(), 0);
  any.forward(x, then_relu(y));
  EXPECT_EQ(y, want.cwiseMax(0));
  std::ostringstream printed;
  printed << of_columns;
  EXPECT_EQ(printed.str(), "UnitNorm(axis=0, eps=1e-12)");
  Eigen::VectorXf vector = Eigen::VectorXf::Random(9);
  of_columns.infer(vector, vector);
  EXPECT_NEAR(vector.norm(), 1, 1e-6F);
  const Eigen::MatrixXf none(0, 5);
  rows.forward(none, y);
  EXPECT_EQ(y.rows(), 0);
  rows.backward(none, none, dx);

  EXPECT_THROW(UnitNorm<float>(UnitNormOptions{-1, -1}), std::invalid_argument);
  UnitNorm<float> third(UnitNormOptions{1e-12, 2});
  EXPECT_EQ(refusal_of([&] { third.infer(x, y); }), "tensornorm: axis is 2 but x has extents (6, 5)");
}

TEST(UnitNorm, AllocatesNothingOnceWarm) {
  const Eigen::MatrixXf x = Eigen::MatrixXf::Random(40, 64);
  Eigen::MatrixXf y = x, dx = x;
  UnitNorm<float> layer;
  layer.forward(x, y);
  layer.backward(x, y, dx);
  const long before = allocations;
  layer.infer(x, y);
  layer.forward(x, y);
  layer.backward(x, x, dx);
  EXPECT_EQ(allocations, before);
}

}  // namespace
}  // namespace tensornorm_test
