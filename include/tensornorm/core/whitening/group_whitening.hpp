// GroupWhitening: the whitening matrices of all groups by one method, what they colour back with, and their gradient.
#pragma once

#include <algorithm>
#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/whitening/covariance.hpp"
#include "tensornorm/core/whitening/whitening_matrix.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {

namespace core {

// A template as those of whitening_matrix.hpp are, for the same reason.
template <class Real>
struct GroupWhitening : WhiteningRule {
  using Matrix = typename Spectrum<Real>::Matrix;

  explicit GroupWhitening(const WhiteningRule& rule) : WhiteningRule(rule) {}

  // The rest of the statistics from the covariance.
  void solve(WhiteningStatistics& s) const;

  // Takes y back to x - mean: Sigma W^T, which is W^-1 where Sigma is regular; for kNewton, whose W is only near, W^-1.
  Matrix coloring(const WhiteningStatistics& s) const;

  // The symmetric gradient of the covariance of the group of channels from `from` on, from that of its W.
  // @pre method is kZca or kNewton
  Matrix gradient(const WhiteningStatistics& s, Index from, const Matrix& dw) const;

 private:
  Matrix matrix(WhiteningStatistics& s, Index from) const {
    const Matrix sigma = s.covariance.middleRows(from, k);
    if (!std::all_of(sigma.data(), sigma.data() + sigma.size(), is_finite)) {
      s.vectors.middleRows(from, k).setConstant(std::numeric_limits<double>::quiet_NaN());
      s.deviations.segment(from, k).setOnes();
      return s.vectors.middleRows(from, k);
    }
    if (method == WhiteningMethod::kNewton) return Newton<Real>::matrix(sigma, iterations);
    if (method == WhiteningMethod::kCholesky) return CholeskyWhitening<Real>::matrix(sigma, least);
    const Spectrum<Real> spectrum(sigma, least);
    s.vectors.middleRows(from, k) = spectrum.vectors;
    s.deviations.segment(from, k) = spectrum.deviations;
    return method == WhiteningMethod::kPca ? Pca<Real>::matrix(spectrum) : Zca<Real>::matrix(spectrum);
  }

  // A channel without variance is nobody's business: what rounding gave it of the others goes.
  void leave_constants(const Matrix& covariance, Index from, Eigen::MatrixXd& whitening) const {
    for (Index c = 0; c < k; ++c) {
      if (!(covariance(c, c) <= 0)) continue;
      const double own = method == WhiteningMethod::kPca ? 0 : whitening(from + c, c);
      whitening.middleRows(from, k).col(c).setZero();
      if (method == WhiteningMethod::kPca) continue;  // its rows are directions, not channels
      whitening.row(from + c).setZero();
      whitening(from + c, c) = own;
    }
  }
};

template <class Real>
void GroupWhitening<Real>::solve(WhiteningStatistics& s) const {
  for (Index from = 0; from < s.mean.size(); from += k) {
    const Matrix plain = s.covariance.middleRows(from, k);
    s.covariance.middleRows(from, k).diagonal().array() += eps;
    s.whitening.middleRows(from, k) = matrix(s, from);
    leave_constants(plain, from, s.whitening);
  }
}

template <class Real>
typename GroupWhitening<Real>::Matrix GroupWhitening<Real>::coloring(const WhiteningStatistics& s) const {
  Matrix result(s.mean.size(), k);
  for (Index from = 0; from < s.mean.size(); from += k) {
    const Matrix w = s.whitening.middleRows(from, k);
    if (method == WhiteningMethod::kNewton) {
      const Eigen::LDLT<Matrix> solver(w);
      for (Index j = 0; j < k; ++j) result.col(j).segment(from, k) = solver.solve(Vector::Unit(k, j));
    } else {
      result.middleRows(from, k) = product(s.covariance.middleRows(from, k), w.transpose());
    }
  }
  return result;
}

template <class Real>
typename GroupWhitening<Real>::Matrix GroupWhitening<Real>::gradient(const WhiteningStatistics& s, Index from,
                                                                     const Matrix& dw) const {
  if (method == WhiteningMethod::kNewton) {
    return Newton<Real>::gradient(s.covariance.middleRows(from, k), iterations, dw);
  }
  return Zca<Real>::gradient({s.vectors.middleRows(from, k), s.deviations.segment(from, k)}, dw);
}

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
