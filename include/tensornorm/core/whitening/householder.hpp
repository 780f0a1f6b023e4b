// Decompositions by Householder's reflections, column by column: Eigen's own work through a copy of each reflection on
// the stack, 8 bytes for every channel of a group.
#pragma once

#include <Eigen/Eigenvalues>
#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/kernel/product.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

// block = (I - tau * v v^T) * block, v being 1 and then `essential`.
template <class Essential, class Real, class Block>
void reflect(const Essential& essential, Real tau, Block&& block) {
  const Index n = block.rows() - 1;
  for (Index j = 0; j < block.cols(); ++j) {
    auto column = block.col(j);
    const Real step = tau * (column[0] + essential.dot(column.tail(n)));
    column[0] -= step;
    column.tail(n) -= step * essential;
  }
}

// a = vectors * diag(values) * vectors^T, values ascending, of a symmetric a.
template <class Real>
struct SymmetricEigen {
  MatrixOf<Real> vectors;
  VectorOf<Real> values;
  bool converged;

  explicit SymmetricEigen(MatrixOf<Real> a)
      : vectors(MatrixOf<Real>::Identity(a.rows(), a.rows())), values(a.diagonal()), converged(true) {
    const Index n = a.rows();
    if (n == 1) return;
    const Real largest = a.cwiseAbs().maxCoeff(), scale = largest > 0 ? largest : Real(1);
    a /= scale;  // squares neither overflow nor vanish
    const Eigen::Tridiagonalization<MatrixOf<Real>> tridiagonal(a);
    Eigen::SelfAdjointEigenSolver<MatrixOf<Real>> solver;
    solver.computeFromTridiagonal(tridiagonal.diagonal(), tridiagonal.subDiagonal());
    converged = solver.info() == Eigen::Success;
    values = solver.eigenvalues() * scale;
    vectors = solver.eigenvectors();
    for (Index i = n - 1; i-- > 0;) {
      reflect(tridiagonal.packedMatrix().col(i).tail(n - i - 2), tridiagonal.householderCoefficients()[i],
              vectors.bottomRows(n - i - 1));
    }
  }
};

// a P = Q R, each column taken when it is the one with most left.
template <class Real>
struct PivotedQr {
  MatrixOf<Real> packed;  // R, and below its diagonal the reflections that make Q
  VectorOf<Real> taus;
  std::vector<Index> order;  // column i of a P is column order[i] of a

  explicit PivotedQr(const MatrixOf<Real>& a)
      : packed(a), taus((std::min)(a.rows(), a.cols())), order(static_cast<std::size_t>(a.cols())) {
    const Index rows = a.rows(), cols = a.cols();
    std::iota(order.begin(), order.end(), Index{0});
    for (Index i = 0; i < taus.size(); ++i) {
      Index pivot = i;
      Real most = -1;
      for (Index j = i; j < cols; ++j) {
        const Real left = packed.col(j).tail(rows - i).squaredNorm();
        if (left > most) pivot = j;
        most = (std::max)(most, left);
      }
      packed.col(i).swap(packed.col(pivot));
      std::swap(order[static_cast<std::size_t>(i)], order[static_cast<std::size_t>(pivot)]);
      Real beta = 0;
      packed.col(i).tail(rows - i).makeHouseholderInPlace(taus[i], beta);
      packed(i, i) = beta;
      reflect(packed.col(i).tail(rows - i - 1), taus[i], packed.bottomRightCorner(rows - i, cols - i - 1));
    }
  }
};

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
