// Whitening: its numbers. Forward against an oracle in long double, gradients against central differences, and what the
// covariance of y is on data of every kind.
#include <tensornorm/batch_norm.hpp>
#include <tensornorm/whitening.hpp>

#include "differences.hpp"

using namespace tensornorm;
using namespace tensornorm_test;

namespace {

using Method = WhiteningMethod;
using Rows = Eigen::Tensor<float, 2, Eigen::RowMajor>;
using Matrix = Eigen::MatrixXd;
using RealMatrix = Eigen::Matrix<Real, Eigen::Dynamic, Eigen::Dynamic>;

const char* name_of(Method method) {
  const char* const names[] = {"ZCA", "Newton", "PCA", "Cholesky"};
  return names[int(method)];
}

WhiteningOptions options_of(Method method, double eps = 1e-5, Index groups = 1, int axis = 1) {
  WhiteningOptions options;
  options.method = method;
  options.eps = eps;
  options.groups = groups;
  options.channel_axis = axis;
  return options;
}

// ---- the oracle -----------------------------------------------------------------------------------------------------

/// Positions by channels, positions in row-major order of the other logical axes.
Matrix matrix_of(const Values& x, const Extents& extents, int axis) {
  const Index c = extents[std::size_t(axis)], inner = count(Extents(extents.begin() + axis + 1, extents.end()));
  Matrix result(c == 0 ? 0 : Index(x.size()) / c, c);
  for (Index i = 0; i < Index(x.size()); ++i) {
    result(i / (inner * c) * inner + i % inner, i / inner % c) = x[std::size_t(i)];
  }
  return result;
}

/// Eigen's own product in long double would cost more to compile than the rest of the test.
RealMatrix product(const RealMatrix& a, const RealMatrix& b) {
  RealMatrix result = RealMatrix::Zero(a.rows(), b.cols());
  for (Index j = 0; j < b.cols(); ++j) {
    for (Index k = 0; k < a.cols(); ++k) result.col(j) += b(k, j) * a.col(k);
  }
  return result;
}

RealMatrix centred(const Matrix& x) {
  RealMatrix result = x.cast<Real>();
  for (Index c = 0; c < x.cols(); ++c) result.col(c).array() -= result.col(c).sum() / Real(x.rows());
  return result;
}

RealMatrix covariance_of(const Matrix& x) {
  const RealMatrix d = centred(x);
  return product(d.transpose(), d) / Real(x.rows());
}

/// Sigma^(-1/2) by Jacobi's rotations: sigma becomes diagonal, v its eigenvectors.
RealMatrix inverse_root(RealMatrix sigma) {
  const Index k = sigma.rows();
  RealMatrix v = RealMatrix::Identity(k, k);
  for (int sweep = 0; sweep < 30; ++sweep) {
    for (Index i = 0; i < k; ++i) {
      for (Index j = i + 1; j < k; ++j) {
        const Real angle = std::atan2(2 * sigma(i, j), sigma(j, j) - sigma(i, i)) / 2;
        RealMatrix turn = RealMatrix::Identity(k, k);
        turn(i, i) = turn(j, j) = std::cos(angle);
        turn(i, j) = std::sin(angle);
        turn(j, i) = -std::sin(angle);
        sigma = product(turn.transpose(), product(sigma, turn));
        v = product(v, turn);
      }
    }
  }
  RealMatrix scaled = v;
  for (Index i = 0; i < k; ++i) scaled.col(i) /= std::sqrt(sigma(i, i));
  return product(scaled, v.transpose());
}

RealMatrix newton_root(const RealMatrix& sigma, int iterations) {
  const Real trace = sigma.trace();
  RealMatrix p = RealMatrix::Identity(sigma.rows(), sigma.cols());
  for (int k = 0; k < iterations; ++k) p = 1.5L * p - 0.5L * product(product(p, product(p, p)), sigma) / trace;
  return p / std::sqrt(trace);
}

/// y without gamma and beta, as matrix_of gives it.
RealMatrix oracle(const Matrix& x, const WhiteningOptions& options) {
  const Index k = x.cols() / options.groups;
  RealMatrix y(x.rows(), x.cols());
  for (Index from = 0; from < x.cols(); from += k) {
    RealMatrix sigma = covariance_of(x.middleCols(from, k));
    for (Index c = 0; c < k; ++c) sigma(c, c) += Real(options.eps);
    const bool zca = options.method == Method::kZca;
    const RealMatrix w = zca ? inverse_root(sigma) : newton_root(sigma, options.iterations);
    y.middleCols(from, k) = product(centred(x.middleCols(from, k)), w);
  }
  return y;
}

void expect_near(const std::string& what, const RealMatrix& got, const RealMatrix& want, Real allowed) {
  ASSERT_EQ(got.size(), want.size()) << what;
  const Real worst = got.size() == 0 ? 0 : (got - want).cwiseAbs().maxCoeff();
  EXPECT_TRUE(worst <= allowed) << what << ": off by " << double(worst) << ", allowed " << double(allowed);
}

template <class Scalar, int Rank, int Layout>
void check_forward(const WhiteningOptions& options, const Extents& extents, double mean) {
  const int axis = int(options.channel_axis);
  const Index c = extents[std::size_t(axis)];
  const std::string what = std::string(name_of(options.method)) + "<" + tensornorm_test::name_of<Scalar>() + "> " +
                           text(extents) + " " + layout_name(Layout) + " axis " + std::to_string(axis) + ", " +
                           std::to_string(options.groups) + " groups";
  Guarded<Scalar, Rank, Layout> x(extents, normal(count(extents), 5, mean, 2), 1), y(extents, 3);
  Whitening<Scalar> layer(c, options);
  draw_parameters(layer, 13);
  layer.forward(x.map(), y.map());
  EXPECT_TRUE(y.guards_intact()) << what;
  RealMatrix want = oracle(matrix_of(x.values(), extents, axis), options);
  for (Index i = 0; i < c; ++i) want.col(i) = (want.col(i).array() * Real(layer.gamma()[i])) + Real(layer.beta()[i]);
  const Real allowed = std::is_same_v<Scalar, double> ? 1e-12L : 2e-6L;
  expect_near(what, matrix_of(y.values(), extents, axis).template cast<Real>(), want, allowed);
}

TEST(Whitening, IsWhatTheOracleSays) {
  for (const Method method : {Method::kZca, Method::kNewton}) {
    for (const Extents& extents :
         {Extents{40, 6}, {700, 4}, {5, 6, 4, 7}, {4, 5, 6, 8}, {3, 50, 6, 4}, {4, 6, 33, 31}}) {
      for (int axis = 1; axis < int(extents.size()); ++axis) {
        for (const Index groups : {1, 2, 3}) {
          const Index c = extents[std::size_t(axis)];
          if (c % groups != 0 || c / groups > 6) continue;
          in_both_layouts<2, 4>(extents, [&](auto rank, auto layout) {
            check_forward<float, rank, layout>(options_of(method, 1e-3, groups, axis), extents, 0.5);
            check_forward<double, rank, layout>(options_of(method, 1e-5, groups, axis), extents, 100);
          });
        }
      }
    }
  }
}

// ---- gradients ------------------------------------------------------------------------------------------------------

TEST(Whitening, GradientsAreCentralDifferences) {
  for (const Method method : {Method::kZca, Method::kNewton}) {
    for (const Extents& extents : {Extents{9, 4}, {2, 3, 4, 6}}) {
      for (int axis = extents.size() == 2 ? 1 : 0; axis < int(extents.size()); ++axis) {
        const Index c = extents[std::size_t(axis)];
        for (Index groups = 1; groups <= c; ++groups) {
          if (c % groups != 0) continue;
          WhiteningOptions options = options_of(method, 1e-2, groups, axis);
          const std::string name = std::string(name_of(method)) + ", channel axis " + std::to_string(axis) + ", " +
                                   std::to_string(groups) + " groups";
          const Values x = normal(count(extents), 31, 0.5);
          in_both_layouts<2, 4>(extents, [&](auto rank, auto layout) {
            check_gradient<rank, layout>(Whitening<double>(c, options), extents, x, name);
          });
          options.affine = groups % 2 == 0;
          Whitening<double> eval(c, options);
          eval.running_whitening() += 0.1 * Matrix::Random(c, c / groups);
          eval.running_mean() += 0.5;
          eval.eval();
          in_both_layouts<2, 4>(extents, [&](auto rank, auto layout) {
            check_gradient<rank, layout>(eval, extents, x, name + " in eval mode");
          });
        }
      }
    }
  }
}

/// Columns of +1 and -1, orthogonal to one another and to the constant: their covariance is the identity, exactly.
Values orthogonal_columns(Index columns, const std::vector<double>& scales = {}) {
  Values x;
  for (int row = 0; row < 16; ++row) {
    for (int c = 1; c <= int(columns); ++c) {
      int bits = row & c, sign = 1;
      for (; bits != 0; bits &= bits - 1) sign = -sign;
      x.push_back(sign * (scales.empty() ? 1.0 : scales[std::size_t(c - 1)]));
    }
  }
  return x;
}

TEST(Whitening, RepeatedEigenvaluesHaveGradients) {
  const Extents extents{16, 6};
  const std::vector<double> two_values{2, 2, 2, 0.5, 0.5, 0.5}, nearly{1, 1 + 1e-9, 1 - 1e-12, 1 + 1e-15, 2, 2 + 1e-13};
  for (const double eps : {0.0, 1e-5}) {
    for (const Method method : {Method::kZca, Method::kNewton}) {
      const Whitening<double> layer(6, options_of(method, eps));
      const std::string name = std::string(name_of(method)) + ", eps " + std::to_string(eps);
      check_gradient<2, Eigen::RowMajor>(layer, extents, orthogonal_columns(6), name + ", all equal");
      check_gradient<2, Eigen::RowMajor>(layer, extents, orthogonal_columns(6, two_values), name + ", two values");
      check_gradient<2, Eigen::RowMajor>(layer, extents, orthogonal_columns(6, nearly), name + ", nearly equal");
    }
  }
}

// More channels than a tile of the products holds.
TEST(Whitening, WideGroups) {
  const Extents extents{300, 150};
  for (const Method method : {Method::kZca, Method::kNewton}) {
    WhiteningOptions options = options_of(method, 1e-2);
    options.affine = false;
    const Whitening<double> layer(150, options);
    check_gradient<2, Eigen::RowMajor>(layer, extents, normal(count(extents), 31), std::string(name_of(method)), 12345);
  }
}

// Positions in several parts, whose sums are merged.
TEST(Whitening, ManyPositions) {
  const Extents extents{4, 6, 33, 31};
  for (const Method method : {Method::kZca, Method::kNewton}) {
    const Whitening<double> layer(6, options_of(method, 1e-2, 2));
    in_both_layouts<4>(extents, [&](auto rank, auto layout) {
      check_gradient<rank, layout>(layer, extents, normal(count(extents), 31, 3), std::string(name_of(method)), 3001);
    });
  }
}

// ---- one channel to a group -----------------------------------------------------------------------------------------

template <class Scalar>
void expect_batch_norm(double mean, double allowed) {
  const Extents extents{4, 3, 5, 7};
  for (const Method method : {Method::kZca, Method::kNewton}) {
    for (const double eps : {0.0, 1e-3}) {
      BatchNormOptions batch_options;
      batch_options.eps = eps;
      BatchNorm<Scalar> batch(3, batch_options);
      Whitening<Scalar> layer(3, options_of(method, eps, 3));
      draw_parameters(batch, 7);
      draw_parameters(layer, 7);
      Guarded<Scalar, 4, Eigen::RowMajor> x(extents, normal(420, 1, mean, 2)), dy(extents, normal(420, 2));
      Guarded<Scalar, 4, Eigen::RowMajor> y(extents), dx(extents), want_y(extents), want_dx(extents);
      batch.forward(x.map(), want_y.map());
      batch.backward(x.map(), dy.map(), want_dx.map());
      layer.forward(x.map(), y.map());
      layer.backward(x.map(), dy.map(), dx.map());
      const std::string what = std::string(name_of(method)) + " of one channel, mean " + std::to_string(mean);
      const auto near = [&](const char* which, const Values& got, const Values& want, double scale) {
        expect_close(what + which, got, Reals(want.begin(), want.end()), Reals(want.size(), scale * allowed));
      };
      near(" y", y.values(), want_y.values(), 1);
      near(" dx", dx.values(), want_dx.values(), 1);
      near(" dgamma", values_of(layer.dgamma()), values_of(batch.dgamma()), 20);
      near(" dbeta", values_of(layer.dbeta()), values_of(batch.dbeta()), 20);
      near(" mean", values_of(layer.mean()), values_of(batch.mean()), std::abs(mean) + 1);
    }
  }
}

TEST(Whitening, OfOneChannelToAGroupIsBatchNorm) {
  for (const double mean : {0.0, 1e4}) {
    expect_batch_norm<float>(mean, 2e-6);
    expect_batch_norm<double>(mean, 4e-15);
  }
}

// ---- as a data transform --------------------------------------------------------------------------------------------

const Method kFitted[] = {Method::kZca, Method::kPca, Method::kCholesky};

/// Orthogonal, by Gram and Schmidt.
Matrix orthogonal(Index c, unsigned seed) {
  const Values values = normal(c * c, seed);
  Matrix q = Eigen::Map<const Matrix>(values.data(), c, c);
  for (Index j = 0; j < c; ++j) {
    for (Index i = 0; i < j; ++i) q.col(j) -= q.col(i).dot(q.col(j)) * q.col(i);
    q.col(j).normalize();
  }
  return q;
}

/// (n, c) values of float: normal ones times a (c, c) mixing of this condition, then channel by channel times `scales`.
Matrix mixed(Index n, Index c, double condition, const std::vector<double>& scales = {}) {
  const Values z = normal(n * c, 41);
  Eigen::VectorXd s(c);
  for (Index i = 0; i < c; ++i) s[i] = std::pow(condition, -double(i) / double(std::max<Index>(c - 1, 1)));
  Matrix x = Eigen::Map<const Matrix>(z.data(), n, c) * orthogonal(c, 42) * s.asDiagonal() * orthogonal(c, 43);
  for (std::size_t i = 0; i < scales.size(); ++i) x.col(Index(i)) *= scales[i];
  return x.cast<float>().cast<double>();
}

/// y of x by a fit with eps = 0.
template <class Scalar>
Matrix fitted(Whitening<Scalar>& layer, const Matrix& x) {
  layer.fit(x.cast<Scalar>().eval());
  return layer.infer(x.cast<Scalar>().eval()).template cast<double>();
}

template <class Scalar>
void expect_identity(const std::string& name, const Matrix& x, double allowed) {
  for (const Method method : kFitted) {
    const std::string what = name + ", " + name_of(method) + "<" + tensornorm_test::name_of<Scalar>() + ">";
    Whitening<Scalar> layer(x.cols(), options_of(method, 0));
    const Matrix y = fitted(layer, x);
    expect_near(what, covariance_of(y), RealMatrix::Identity(x.cols(), x.cols()), allowed);
    const Matrix back = layer.inverse(y.cast<Scalar>().eval()).template cast<double>();
    for (Index c = 0; c < x.cols(); ++c) {
      const double scale = x.col(c).cwiseAbs().maxCoeff(), off = (back.col(c) - x.col(c)).cwiseAbs().maxCoeff();
      EXPECT_LE(off, 2e-6 * scale) << what << ": inverse, channel " << c;
    }
  }
}

TEST(WhiteningTransform, CovarianceOfTheOutputIsTheIdentity) {
  expect_identity<float>("random", mixed(500, 12, 1), 1e-5);
  expect_identity<float>("one channel", mixed(500, 1, 1), 1e-5);
  expect_identity<float>("correlated", mixed(500, 12, 1e3), 1e-5);
  expect_identity<double>("correlated", mixed(500, 12, 1e3), 1e-8);
  std::vector<double> scales;
  for (int i = 0; i < 9; ++i) scales.push_back(std::pow(10.0, (i * 5 % 9) - 4));
  expect_identity<float>("badly scaled", mixed(500, 9, 30, scales), 1e-5);
  expect_identity<double>("badly scaled", mixed(500, 9, 30, scales), 1e-5);
  Matrix offset = mixed(500, 12, 10);
  offset.array() += 1e3;
  expect_identity<float>("far from zero", offset.cast<float>().cast<double>(), 1e-5);
}

// ZCA is the standard one, Sigma^(-1/2), not the scaled one: y = Sigma^(-1/2) (x - mean) also where scales differ.
TEST(WhiteningTransform, OfBadlyScaledDataIsStillTheInverseRoot) {
  const std::vector<double> scales{1e-4, 1e4, 1, 100, 1e-2};
  const Matrix x = mixed(500, 5, 10, scales);
  Whitening<double> layer(5, options_of(Method::kZca, 0));
  fitted(layer, x);
  const RealMatrix w = layer.running_whitening().cast<Real>(), want = inverse_root(covariance_of(x));
  for (Index c = 0; c < 5; ++c) {
    EXPECT_LE(double((w - want).row(c).cwiseAbs().maxCoeff()) * scales[std::size_t(c)], 1e-6) << "row " << c;
  }
  EXPECT_LE(double((w - w.transpose()).cwiseAbs().maxCoeff()), 1e-10 * double(w.cwiseAbs().maxCoeff()));
}

TEST(WhiteningTransform, OfRankDeficientDataIsAProjector) {
  for (const Index rank : {1, 3, 7}) {
    const std::vector<double> scales{1, 1e3, 1e-3, 1, 10, 0.1, 1, 1};
    for (const bool scaled : {false, true}) {
      Matrix x = mixed(400, 8, 1).leftCols(rank) * mixed(8, 8, 3).topRows(rank);
      for (Index c = 0; scaled && c < 8; ++c) x.col(c) *= scales[std::size_t(c)];
      x = x.cast<float>().cast<double>().eval();
      for (const Method method : kFitted) {
        Whitening<float> layer(8, options_of(method, 0));
        const Matrix y = fitted(layer, x);
        const std::string what = std::string(name_of(method)) + " of rank " + std::to_string(rank);
        const RealMatrix c = covariance_of(y);
        expect_near(what + ", C C = C", product(c, c), c, 1e-5);
        EXPECT_NEAR(double(c.trace()), double(rank), 1e-4) << what;
        const Matrix back = layer.inverse(y.cast<float>().eval()).cast<double>();
        for (Index i = 0; i < 8; ++i) {
          EXPECT_LE((back.col(i) - x.col(i)).norm(), 1e-5 * x.col(i).norm()) << what << ": inverse, channel " << i;
        }
      }
    }
  }
}

// Equal and opposite channels, and sums of others, wherever they stand.
TEST(WhiteningTransform, OfChannelsThatOthersDetermine) {
  Matrix x = mixed(300, 6, 3);
  x.col(1) = x.col(0);
  x.col(3) = -2 * x.col(2);
  x.col(4) = x.col(0) + x.col(2);
  for (const Method method : kFitted) {
    Whitening<double> layer(6, options_of(method, 0));
    const Matrix y = fitted(layer, x);
    const RealMatrix c = covariance_of(y);
    expect_near(name_of(method), product(c, c), c, 1e-9);
    EXPECT_NEAR(double(c.trace()), 3, 1e-9) << name_of(method);
    EXPECT_LE((layer.inverse(y) - x).cwiseAbs().maxCoeff(), 1e-9) << name_of(method);
  }
}

TEST(WhiteningTransform, FewerSamplesThanChannels) {
  const Matrix x = mixed(5, 8, 1);
  for (const Method method : kFitted) {
    Whitening<float> layer(8, options_of(method, 0));
    const RealMatrix c = covariance_of(fitted(layer, x));
    expect_near(name_of(method), product(c, c), c, 1e-5);
    EXPECT_NEAR(double(c.trace()), 4, 1e-4) << name_of(method);
  }
}

TEST(WhiteningTransform, ConstantChannelsGiveBeta) {
  for (const Method method : {Method::kZca, Method::kNewton, Method::kPca, Method::kCholesky}) {
    for (const double eps : {0.0, 1e-5}) {
      Matrix x = mixed(100, 5, 3);
      x.col(1).setConstant(0.1F);
      x.col(4).setConstant(-1e6);
      const std::string what = std::string(name_of(method)) + ", eps " + std::to_string(eps);
      Whitening<float> layer(5, options_of(method, eps)), all(5, options_of(method, eps));
      layer.beta() << 1, 2, 3, 4, 5;
      const Matrix y = fitted(layer, x);
      EXPECT_TRUE(y.allFinite()) << what;
      for (const Index c : {method == Method::kPca ? Index(3) : Index(1), Index(4)}) {
        EXPECT_EQ(y.col(c).minCoeff(), double(c + 1)) << what;
        EXPECT_EQ(y.col(c).maxCoeff(), double(c + 1)) << what;
      }
      const Matrix same = Matrix::Constant(100, 5, 0.3F);
      EXPECT_EQ(fitted(all, same).cwiseAbs().maxCoeff(), 0) << what;
    }
  }
}

TEST(WhiteningTransform, PcaIsOrderedAndCholeskyTriangular) {
  const Matrix x = mixed(300, 6, 50);
  Whitening<double> pca(6, options_of(Method::kPca, 0)), cholesky(6, options_of(Method::kCholesky, 0));
  fitted(pca, x);
  fitted(cholesky, x);
  const Matrix w = pca.running_whitening(), squares = w * w.transpose();
  for (Index i = 0; i < 6; ++i) {
    for (Index j = 0; j < i; ++j) EXPECT_LE(std::abs(squares(i, j)), 1e-10 * squares(i, i));
    if (i > 0) {
      EXPECT_GT(squares(i, i), squares(i - 1, i - 1)) << "variances decrease";
    }
    Index largest = 0;
    w.row(i).cwiseAbs().maxCoeff(&largest);
    EXPECT_GT(w(i, largest), 0);
  }
  const Matrix l = cholesky.running_whitening();
  EXPECT_EQ(Matrix(l.triangularView<Eigen::StrictlyUpper>()).cwiseAbs().maxCoeff(), 0);
  EXPECT_GT(l.diagonal().minCoeff(), 0);
}

TEST(WhiteningTransform, NewtonComesNearZca) {
  const Matrix x = mixed(300, 6, 3);
  Whitening<double> zca(6, options_of(Method::kZca, 0));
  const Matrix want = fitted(zca, x);
  double last = 1e9;
  for (const int iterations : {2, 5, 8, 20}) {
    WhiteningOptions options = options_of(Method::kNewton, 0);
    options.iterations = iterations;
    Whitening<double> newton(6, options);
    const Matrix y = fitted(newton, x);
    const double off = (y - want).cwiseAbs().maxCoeff();
    EXPECT_LT(off, last);
    last = off;
    EXPECT_LE((newton.inverse(y) - x).cwiseAbs().maxCoeff(), 1e-12);
  }
  EXPECT_LE(last, 1e-12);
}

// Converged, W is Sigma^(-1/2), and so is its gradient: more iterations must not multiply rounding errors.
TEST(Whitening, NewtonsGradientComesNearZcas) {
  const Matrix x = mixed(64, 6, 3), dy = Eigen::Map<const Matrix>(normal(384, 2).data(), 64, 6);
  Whitening<double> zca(6, options_of(Method::kZca));
  Matrix y(64, 6), want(64, 6), dx(64, 6);
  zca.forward(x, y);
  zca.backward(x, dy, want);
  for (const int iterations : {20, 30, 100}) {
    WhiteningOptions options = options_of(Method::kNewton);
    options.iterations = iterations;
    Whitening<double> newton(6, options);
    newton.forward(x, y);
    newton.backward(x, dy, dx);
    expect_near(std::to_string(iterations) + " iterations", dx.cast<Real>(), want.cast<Real>(),
                1e-9L * Real(want.cwiseAbs().maxCoeff()));
  }
}

// dx of x * scale is dx / scale, as far as doubles go.
TEST(Whitening, GradientsScale) {
  const Matrix x = mixed(60, 6, 3), dy = Eigen::Map<const Matrix>(normal(360, 2).data(), 60, 6);
  for (const Method method : {Method::kZca, Method::kNewton}) {
    Matrix y(60, 6), want(60, 6), dx(60, 6);
    Whitening<double> layer(6, options_of(method, 0, 2));
    layer.forward(x, y);
    layer.backward(x, dy, want);
    for (const double scale : {1e-140, 1e-100, 1e100, 1e140}) {
      const Matrix scaled = x * scale;
      layer.forward(scaled, y);
      layer.backward(scaled, dy, dx);
      expect_near(std::string(name_of(method)) + " times " + std::to_string(scale), (dx * scale).cast<Real>(),
                  want.cast<Real>(), 1e-11L * Real(want.cwiseAbs().maxCoeff()));
    }
  }
}

// Rounding x to 16 bits makes next to no variance: a weak direction is still one.
template <class Scalar>
void keeps_weak_directions(Index channels, double weak) {
  using Samples = Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic>;
  Matrix x = mixed(400, channels, 1);
  x.col(0) = x.col(1) + weak * x.col(0);
  const Samples samples = x.template cast<Scalar>();
  Whitening<Scalar> layer(channels, options_of(Method::kZca, 0));
  layer.fit(samples);
  const Matrix w = layer.running_whitening();
  const RealMatrix sigma = covariance_of(samples.template cast<double>());
  const RealMatrix white = product(w.cast<Real>(), product(sigma, w.transpose().cast<Real>()));
  expect_near(tensornorm_test::name_of<Scalar>(), white, RealMatrix::Identity(channels, channels), 1e-6L);
}

TEST(WhiteningTransform, KeepsWeakDirectionsOf16Bits) {
  keeps_weak_directions<Eigen::bfloat16>(64, 0.1);
  keeps_weak_directions<Eigen::half>(64, 0.02);
}

// Directions without variance have neither output nor gradient; nothing blows up.
TEST(Whitening, TrainsOnRankDeficientDataWithoutEps) {
  const Matrix x = mixed(60, 6, 1).leftCols(3) * mixed(6, 6, 3).topRows(3);
  for (const Method method : {Method::kZca, Method::kNewton}) {
    Whitening<double> layer(6, options_of(method, 0));
    Matrix y(60, 6), dx(60, 6);
    const Matrix dy = mixed(60, 6, 1);
    layer.forward(x, y);
    layer.backward(x, dy, dx);
    EXPECT_TRUE(y.allFinite() && dx.allFinite() && layer.dgamma().isFinite().all()) << name_of(method);
    EXPECT_LE(y.cwiseAbs().maxCoeff(), 100) << name_of(method);
    EXPECT_LE(dx.cwiseAbs().maxCoeff(), 100) << name_of(method);
  }
}

TEST(Whitening, NanStaysInItsGroup) {
  for (const Method method : {Method::kZca, Method::kNewton}) {
    Matrix x = mixed(60, 6, 1), y(60, 6), dx(60, 6);
    x(17, 4) = std::numeric_limits<double>::quiet_NaN();
    Whitening<double> layer(6, options_of(method, 1e-5, 3));
    layer.forward(x, y);
    layer.backward(x, x, dx);
    EXPECT_TRUE(y.leftCols(4).allFinite() && dx.leftCols(4).allFinite()) << name_of(method);
    EXPECT_TRUE(y.rightCols(2).array().isNaN().all() && dx.rightCols(2).array().isNaN().all()) << name_of(method);
  }
}

// ---- running statistics ---------------------------------------------------------------------------------------------

TEST(Whitening, RunningStatisticsMoveByMomentum) {
  const Matrix first = mixed(60, 4, 3), second = mixed(80, 4, 7);
  for (const std::optional<double> momentum : {std::optional<double>(0.25), {}, {1.0}, {0.0}}) {
    WhiteningOptions options = options_of(Method::kZca, 1e-3, 2);
    options.momentum = momentum;
    Whitening<double> layer(4, options);
    Matrix mean = Matrix::Zero(4, 1), whitening = Matrix::Identity(2, 2).replicate(2, 1), y;
    double batches = 0;
    for (const Matrix& x : {first, second}) {
      layer.forward(x, y);
      const double weight = momentum ? *momentum : 1 / ++batches;
      mean = ((1 - weight) * mean + weight * layer.mean().matrix()).eval();
      whitening = ((1 - weight) * whitening + weight * layer.whitening()).eval();
      EXPECT_LE((layer.running_mean().matrix() - mean).cwiseAbs().maxCoeff(), 1e-14);
      EXPECT_LE((layer.running_whitening() - whitening).cwiseAbs().maxCoeff(), 1e-13);
    }
    EXPECT_EQ(layer.num_batches_tracked(), 2);
    layer.eval();
    const Matrix eval_y = layer(first), infer_y = layer.infer(first);
    EXPECT_EQ(eval_y, infer_y);
    EXPECT_EQ(layer.num_batches_tracked(), 2);
    for (Index g = 0; g < 2; ++g) {
      const Matrix centred = first.middleCols(2 * g, 2).rowwise() - mean.middleRows(2 * g, 2).col(0).transpose();
      const Matrix want = centred * whitening.middleRows(2 * g, 2).transpose();
      EXPECT_LE((eval_y.middleCols(2 * g, 2) - want).cwiseAbs().maxCoeff(), 1e-12);
    }
  }
}

}  // namespace
