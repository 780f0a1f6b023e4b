// Whiten: the maps of whitening, a panel of a group's channels times the group's matrix; gradients.
#pragma once

#include "tensornorm/core/group_whitening.hpp"

namespace tensornorm {
namespace core {

// Writes y of x, panel by panel: after(W * before(x)), with the matrix W of each group in its rows of a (channels,
// group_channels) matrix. before(x, c) and after(z, c) see one value of channel c. y may be x: a panel is read before
// it is written.
template <class Scalar, class Before, class After>
void map_groups(const Runner& runner, const ChannelMatrix& m, const Scalar* x, Scalar* y,
                const Eigen::MatrixXd& matrices, const Before& before, const After& after) {
  const Index k = m.group_channels();
  m.each_panel(runner, m.map_parts(), [&](Index group, Index, Index first, Index rows) {
    Panel memory, out_memory;
    MatrixMap panel = memory.matrix(rows, k);
    m.gather(x, first, group * k, panel, before);
    for_each_tile(k, [&](Index from, Index n) {
      MatrixMap out = out_memory.matrix(rows, n);
      out.setZero();
      add_product(out, panel, matrices.middleRows(group * k + from, n).transpose());
      m.scatter(out, first, group * k + from, y, after);
    });
  });
}

// y = z * gamma + beta and back; null where a layer has neither.
template <class Param>
struct Affine {
  const Param *gamma = nullptr, *beta = nullptr;

  double operator()(double z, Index c) const {
    return gamma == nullptr ? z : z * static_cast<double>(gamma[c]) + static_cast<double>(beta[c]);
  }
  // A gamma of 0 took z away: 0 stands for it.
  double inverse(double y, Index c) const {
    if (gamma == nullptr) return y;
    return gamma[c] == 0 ? 0 : (y - static_cast<double>(beta[c])) / static_cast<double>(gamma[c]);
  }
};

// y = affine(W (x - mean)).
template <class Scalar, class Param>
void whiten(const Runner& runner, const ChannelMatrix& m, const Scalar* x, Scalar* y, const SplitMean& mean,
            const Eigen::MatrixXd& whitening, const Affine<Param>& affine) {
  map_groups(
      runner, m, x, y, whitening, [&](double v, Index c) { return mean.centred(v, c); }, affine);
}

// x = mean + C affine^-1(y), C being what the groups' matrices colour with.
template <class Scalar, class Param>
void color(const Runner& runner, const ChannelMatrix& m, const Scalar* y, Scalar* x, const Eigen::ArrayXd& mean,
           const Eigen::MatrixXd& coloring, const Affine<Param>& affine) {
  map_groups(
      runner, m, y, x, coloring, [&](double v, Index c) { return affine.inverse(v, c); },
      [&](double z, Index c) { return z + mean[c]; });
}

// What backward finds before it writes dx. Of each group, dx = dy_factors^T * dy + x_factors * (x - mean) - shift.
struct WhiteningGradients {
  Eigen::ArrayXd dgamma, dbeta;           // (channels)
  Eigen::MatrixXd dy_factors, x_factors;  // (channels, group_channels); no x_factors: (0, 0)
  Eigen::ArrayXd shift;                   // (channels)
};

// From the sums of dy and of dy (x - mean)^T. With z = W (x - mean): dgamma = sum of dy * z = the diagonal of (sum of
// dy (x - mean)^T) W^T, dW = sum of (gamma * dy) (x - mean)^T, and dx = W^T (gamma * dy - its mean) + 2 / n * dSigma (x
// - mean), dSigma being symmetric. With frozen statistics W^T (gamma * dy) is left.
template <class Real>
WhiteningGradients whitening_gradients(const GroupWhitening<Real>& rule, const WhiteningStatistics& s, Index n,
                                       const Eigen::ArrayXd& sum_dy, const Eigen::MatrixXd& products,
                                       const Eigen::VectorXd& gamma, bool frozen) {
  const Index k = rule.k, channels = sum_dy.size();
  const double share = 1 / static_cast<double>(n);
  WhiteningGradients g;
  g.dgamma = products.cwiseProduct(s.whitening).rowwise().sum();
  g.dbeta = sum_dy;
  g.dy_factors = gamma.asDiagonal() * s.whitening;
  g.shift = Eigen::ArrayXd::Zero(channels);
  if (frozen) return g;
  g.x_factors.resize(channels, k);
  for (Index from = 0; from < channels; from += k) {
    const Eigen::MatrixXd dw = gamma.segment(from, k).asDiagonal() * products.middleRows(from, k);
    g.x_factors.middleRows(from, k) = 2 * share * rule.gradient(s, from, dw);
    g.shift.segment(from, k) =
        share * (g.dy_factors.middleRows(from, k).transpose() * sum_dy.matrix().segment(from, k)).array();
  }
  return g;
}

// dx may be x or dy.
template <class Scalar>
void input_gradient(const Runner& runner, const ChannelMatrix& m, const Scalar* x, const Scalar* dy, Scalar* dx,
                    const SplitMean& mean, const WhiteningGradients& g) {
  const Index k = m.group_channels();
  m.each_panel(runner, m.map_parts(), [&](Index group, Index, Index first, Index rows) {
    Panel x_memory, dy_memory, out_memory;
    MatrixMap x_panel = x_memory.matrix(rows, k), dy_panel = dy_memory.matrix(rows, k);
    m.gather(dy, first, group * k, dy_panel, [](double v, Index) { return v; });
    const bool frozen = g.x_factors.size() == 0;
    if (!frozen) m.gather(x, first, group * k, x_panel, [&](double v, Index c) { return mean.centred(v, c); });
    for_each_tile(k, [&](Index from, Index n) {
      MatrixMap out = out_memory.matrix(rows, n);
      out.setZero();
      add_product(out, dy_panel, g.dy_factors.block(group * k, from, k, n));
      if (!frozen) add_product(out, x_panel, g.x_factors.block(group * k, from, k, n));
      m.scatter(out, first, group * k + from, dx, [&](double v, Index c) { return v - g.shift[c]; });
    });
  });
}

}  // namespace core
}  // namespace tensornorm
