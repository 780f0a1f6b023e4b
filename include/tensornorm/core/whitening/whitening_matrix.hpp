// Whitening matrices: from the covariance of a group of channels to the matrix that whitens it, and gradients back.
//
// Sigma is the covariance, eps on its diagonal already; W whitens it: W Sigma W^T = I, on the range of Sigma where it
// is singular. The classes are templates only so that they cost a program that does not whiten nothing to compile; Real
// is double, see channel_matrix.hpp.
#pragma once

#include <Eigen/Cholesky>
#include <Eigen/SVD>
#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/whitening/householder.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

// The eigenvalue of k channels' correlations below which a direction counts as one without variance: what the
// covariance's own rounding makes, more with every channel; and, where no eps hides it, what rounding x to `digits`
// binary digits makes, in each channel by itself.
inline double least_variance(Index k, int digits, double eps) {
  const double own = 64 * std::numeric_limits<double>::epsilon() * static_cast<double>(k);
  const double step = std::ldexp(4.0, -digits);
  return eps > 0 ? own : (std::max)(own, step * step);
}

// A factor of Sigma = (a diag(scale))^T (a diag(scale)), a row of `a` for each direction that has variance. Digits and
// rank are those of the correlations, a^T a, whatever the channels' scales are.
template <class Real>
struct CovarianceFactor {
  using Matrix = MatrixOf<Real>;
  using Vector = VectorOf<Real>;

  Matrix a;
  Vector scale;

  CovarianceFactor(const Matrix& sigma, Real least) : scale(sigma.diagonal().cwiseSqrt()) {
    const Vector inverse = (scale.array() > 0).select(scale.array().inverse(), Real(0));
    const SymmetricEigen<Real> eigen(inverse.asDiagonal() * sigma * inverse.asDiagonal());
    const Index rank = (eigen.values.array() > least).count();  // they ascend
    a = eigen.values.tail(rank).cwiseSqrt().asDiagonal() * eigen.vectors.rightCols(rank).transpose();
  }
};

// Sigma = vectors * diag(deviations^2) * vectors^T, largest first; a direction without variance is a zero column.
template <class Real>
struct Spectrum {
  using Matrix = MatrixOf<Real>;
  using Vector = VectorOf<Real>;

  Matrix vectors;
  Vector deviations;

  // @pre sigma is finite
  // The eigenvalues of Sigma are good to an absolute 1e-16 of the largest. Where that is not enough, the roots come
  // from the singular values of a factor of Sigma, which hold twice the range.
  Spectrum(Matrix v, Vector s) : vectors(std::move(v)), deviations(std::move(s)) {}
  Spectrum(const Matrix& sigma, Real least) {
    const Real trusted = (std::max)(least, Real(1e-8));
    const SymmetricEigen<Real> eigen(sigma);
    const Vector& ascending = eigen.values;
    if (eigen.converged && ascending[0] > trusted * ascending[ascending.size() - 1]) {
      vectors = eigen.vectors.rowwise().reverse();
      deviations = ascending.reverse().cwiseSqrt();
      return;
    }
    const CovarianceFactor<Real> factor(sigma, least);
    const Index rank = factor.a.rows();
    vectors.setZero(sigma.rows(), sigma.rows());
    deviations.setZero(sigma.rows());
    if (rank > 0) take_singular_values(factor.a * factor.scale.asDiagonal());
  }

  // 1 / deviations, 0 for a direction without.
  Vector rstd() const { return (deviations.array() > 0).select(deviations.array().inverse(), Real(0)); }

 private:
  using Svd = Eigen::JacobiSVD<Matrix, Eigen::NoQRPreconditioner>;

  // Those of a, and its right singular vectors. Of fewer rows than columns a^T P = Q R comes first, and then V = Q
  // V(R^T).
  void take_singular_values(const Matrix& a) {
    const Index rank = a.rows(), k = a.cols();
    if (rank == k) return take(Svd(a, Eigen::ComputeFullV), k);
    const PivotedQr<Real> qr(a.transpose());
    const Matrix r = qr.packed.topRows(rank).template triangularView<Eigen::Upper>();
    take(Svd(r.transpose(), Eigen::ComputeFullV), rank);
    for (Index i = rank; i-- > 0;) {
      reflect(qr.packed.col(i).tail(k - i - 1), qr.taus[i], vectors.bottomLeftCorner(k - i, rank));
    }
  }
  void take(const Svd& svd, Index rank) {
    vectors.topLeftCorner(rank, rank) = svd.matrixV();
    deviations.head(rank) = svd.singularValues();
  }
};

// ZCA: W = Sigma^(-1/2), the symmetric one, nearest to the identity: y stays closest to x.
template <class Real>
struct Zca {
  using Matrix = typename Spectrum<Real>::Matrix;
  using Vector = typename Spectrum<Real>::Vector;

  static Matrix matrix(const Spectrum<Real>& s) {
    return product(s.vectors * s.rstd().asDiagonal(), s.vectors.transpose());
  }

  // The symmetric gradient of Sigma from that of W. W is a function of Sigma, not of its eigenvectors: V (K o V^T dW V)
  // V^T with the divided differences K_ij of f(t) = t^(-1/2) at the eigenvalues (Daleckii and Krein 1965). They are
  // -1 / (s_i s_j (s_i + s_j)) in the roots s. Back-propagation by way of the eigenvectors (Huang et al. 2018, section
  // 3) gives the same sum divided by differences of eigenvalues; here these have cancelled, and equal ones are no
  // special case. Directions without variance have no gradient.
  static Matrix gradient(const Spectrum<Real>& s, const Matrix& dw) {
    const Vector r = s.rstd();
    const Matrix rows = s.vectors.transpose();
    Matrix inner = product(rows, product(dw, s.vectors));
    for (Index j = 0; j < inner.cols(); ++j) {
      for (Index i = 0; i < inner.rows(); ++i) {
        if (r[i] <= 0 || r[j] <= 0) {
          inner(i, j) = 0;
          continue;
        }
        // -r_i^2 r_j^2 / (r_i + r_j), in an order that stays near 1: dW grows as x does, and r^3 would underflow.
        inner(i, j) = -((inner(i, j) * r[i]) * (r[j] / (r[i] + r[j])) * r[i]) * r[j];
      }
    }
    return product(s.vectors, product((inner + inner.transpose()) / 2, rows));
  }
};

// PCA: row j of W is the j-th principal direction over its deviation, its largest entry positive.
template <class Real>
struct Pca {
  using Matrix = typename Spectrum<Real>::Matrix;

  static Matrix matrix(const Spectrum<Real>& s) {
    Matrix w = s.rstd().asDiagonal() * s.vectors.transpose();
    for (Index i = 0; i < w.rows(); ++i) {
      Index largest = 0;
      w.row(i).cwiseAbs().maxCoeff(&largest);
      if (w(i, largest) < 0) w.row(i) *= Real(-1);
    }
    return w;
  }
};

// Cholesky: W = L^-1 with Sigma = L L^T, so that y_i is made of the channels up to i alone. A channel that others
// determine is left out, its row is 0.
template <class Real>
struct CholeskyWhitening {
  using Matrix = typename Spectrum<Real>::Matrix;

  static Matrix matrix(const Matrix& sigma, Real least) {
    const std::vector<Index> kept = independent(CovarianceFactor<Real>(sigma, least).a);
    const Index rank = static_cast<Index>(kept.size());
    Matrix part(rank, rank), w = Matrix::Zero(sigma.rows(), sigma.cols());
    const auto at = [&kept](Index i) { return kept[static_cast<std::size_t>(i)]; };
    for (Index j = 0; j < rank; ++j) {
      for (Index i = 0; i < rank; ++i) part(i, j) = sigma(at(i), at(j));
    }
    if (rank == 0) return w;
    const Matrix inverse = inverse_factor(part);
    for (Index j = 0; j < rank; ++j) {
      for (Index i = 0; i < rank; ++i) w(at(i), at(j)) = inverse(i, j);
    }
    return w;
  }

 private:
  // L^-1 of a = L L^T, column by column.
  static Matrix inverse_factor(Matrix a) {
    const Index n = a.rows();
    Matrix inverse = Matrix::Identity(n, n);
    for (Index j = 0; j < n; ++j) {
      a.col(j).tail(n - j) /= std::sqrt(a(j, j));
      for (Index i = j + 1; i < n; ++i) a.col(i).tail(n - i) -= a(i, j) * a.col(j).tail(n - i);
    }
    for (Index j = 0; j < n; ++j) {
      for (Index i = j; i < n; ++i) {
        inverse(i, j) /= a(i, i);
        inverse.col(j).tail(n - i - 1) -= inverse(i, j) * a.col(i).tail(n - i - 1);
      }
    }
    return inverse;
  }

  // As many columns as `a` has rows that determine the others, in order.
  static std::vector<Index> independent(const Matrix& a) {
    std::vector<Index> result = PivotedQr<Real>(a).order;
    result.resize(static_cast<std::size_t>(a.rows()));
    std::sort(result.begin(), result.end());
    return result;
  }
};

// Newton's iterations for Sigma^(-1/2): with S = Sigma / tr(Sigma), P_0 = I and P_k = (3 P_(k-1) - P_(k-1)^3 S) / 2, W
// is P_T / sqrt(tr(Sigma)) (IterNorm, Huang et al. 2019, algorithm 1). All P are polynomials of S: symmetric,
// commuting.
template <class Real>
struct Newton {
  using Matrix = typename Spectrum<Real>::Matrix;

  static Matrix matrix(const Matrix& sigma, int iterations) {
    const Real trace = sigma.trace();
    if (trace <= 0) return Matrix::Zero(sigma.rows(), sigma.cols());
    return iterates(sigma / trace, iterations).back().p / std::sqrt(trace);
  }

  // The symmetric gradient of Sigma from that of W, back through every iteration and through the trace. The literal
  // iteration would multiply rounding errors here too.
  static Matrix gradient(const Matrix& sigma, int iterations, const Matrix& dw) {
    const Real trace = sigma.trace();
    if (trace <= 0) return Matrix::Zero(sigma.rows(), sigma.cols());
    const std::vector<Iterate> all = iterates(sigma / trace, iterations);
    Matrix dp = dw / std::sqrt(trace), dy = Matrix::Zero(sigma.rows(), sigma.cols());
    Real dtrace = Real(-0.5) * dp.cwiseProduct(all.back().p).sum() / trace;
    for (std::size_t k = all.size() - 1; k-- > 0;) {
      const Matrix &p = all[k].p, &y = all[k].y, step = step_of(all[k]);
      const Matrix dstep = product(dp, p.transpose()) + product(y.transpose(), dy);
      const Matrix step_t = step.transpose();
      dp = product(step_t, dp) - Real(0.5) * product(dstep, y.transpose());
      dy = product(dy, step_t) - Real(0.5) * product(p.transpose(), dstep);
    }
    dtrace -= dy.cwiseProduct(sigma).sum() / trace / trace;
    dy /= trace;
    dy.diagonal().array() += dtrace;
    return (dy + dy.transpose()) / 2;
  }

 private:
  struct Iterate {
    Matrix p, y;
  };

  static Matrix step_of(const Iterate& at) {
    return Real(1.5) * Matrix::Identity(at.p.rows(), at.p.cols()) - Real(0.5) * product(at.p, at.y);
  }

  // P_0 to P_T. Taken literally the iteration multiplies its rounding errors; coupled with Y_k = S P_k, the same P come
  // out and the errors stay (Newton and Schulz's form: Higham 2008, Functions of Matrices, chapter 6): P_k = E P_(k-1)
  // and Y_k = Y_(k-1) E with E = (3 - P_(k-1) Y_(k-1)) / 2.
  static std::vector<Iterate> iterates(const Matrix& s, int iterations) {
    std::vector<Iterate> all(1, {Matrix::Identity(s.rows(), s.cols()), s});
    for (int k = 0; k < iterations; ++k) {
      const Matrix step = step_of(all.back());
      all.push_back({product(step, all.back().p), product(all.back().y, step)});
    }
    return all;
  }
};

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
