// Covariance: sums over a ChannelMatrix of products of channels: x with x for the statistics, dy with x for gradients.
#pragma once

#include <vector>

#include "tensornorm/core/channel_matrix.hpp"

namespace tensornorm {
namespace core {

// Means and co-moments of a group's channels over some positions, in memory of the caller's. The lower triangle of m2,
// the sums of (x_i - mean_i) * (x_j - mean_j), is kept.
struct CoMoments {
  double n;
  VectorMap mean;  // without the shift that all parts share
  MatrixMap m2;

  // The union of two disjoint sets: Chan's formula (see merge of Moments) for pairs. It adds `step * step^T` and hence
  // also takes `other` by its mean alone, m2 being added before.
  void merge_mean(double other_n, const Eigen::Ref<const Eigen::VectorXd>& other_mean, VectorMap step) {
    const double share = other_n / (n + other_n), weight = n * share;
    step = other_mean - mean;
    mean += share * step;
    for (Index j = 0; weight > 0 && j < m2.cols(); ++j) {
      m2.col(j).tail(m2.rows() - j) += (weight * step[j]) * step.tail(m2.rows() - j);
    }
    n += other_n;
  }
};

// The biased covariance of every group of channels, group by group in the rows of a (channels, group_channels) matrix,
// and the channels' means as hi + lo. Each panel is centred on its own mean before its product is taken, so neither an
// offset of x nor an outlier costs digits.
template <class Scalar>
class Covariance {
 public:
  Covariance(const ChannelMatrix& m, const Scalar* x) : m_(m), x_(x), parts_(m.sum_parts()) {}

  // Doubles the sums need.
  std::size_t workspace_size() const {
    const Index k = m_.group_channels();
    return static_cast<std::size_t>(m_.channels() + m_.groups() * parts_ * part_size(k));
  }

  // @pre there is a position; hi, lo, covariance have their sizes
  void run(const Runner& runner, double* workspace, Eigen::ArrayXd& hi, Eigen::ArrayXd& lo,
           Eigen::MatrixXd& covariance) const;

 private:
  // n, mean, step (memory for a difference of means), m2
  static Index part_size(Index k) { return 1 + 2 * k + k * k; }
  static CoMoments part_at(double* at, Index k) { return {at[0], {at + 1, k}, {at + 1 + 2 * k, k, k}}; }
  static VectorMap step_at(double* at, Index k) { return {at + 1 + k, k}; }

  void add_panel(const double* shift, Index group, Index first, Index rows, double* at) const {
    const Index k = m_.group_channels();
    CoMoments part = part_at(at, k);
    Panel memory;
    MatrixMap panel = memory.matrix(rows, k);
    m_.gather(x_, first, group * k, panel, [shift](double x, Index c) { return x - shift[c]; });
    alignas(kLine) double mean_values[kPanelValues];
    VectorMap mean(mean_values, k);
    mean.noalias() = panel.colwise().mean().transpose();
    panel.rowwise() -= mean.transpose();
    for_each_tile(k, [&](Index j, Index n) {
      auto diagonal = part.m2.block(j, j, n, n);
      diagonal.template selfadjointView<Eigen::Lower>().rankUpdate(panel.middleCols(j, n).transpose());
      for_each_tile(k - j - n, [&](Index below, Index count) {
        part.m2.block(j + n + below, j, count, n).noalias() +=
            panel.middleCols(j + n + below, count).transpose() * panel.middleCols(j, n);
      });
    });
    part.merge_mean(static_cast<double>(rows), mean, step_at(at, k));
    at[0] = part.n;
  }

  // Parts in order.
  void finish(Index group, const double* shift, double* sums, Eigen::ArrayXd& hi, Eigen::ArrayXd& lo,
              Eigen::MatrixXd& covariance) const {
    const Index k = m_.group_channels();
    double* const first = sums + group * parts_ * part_size(k);
    CoMoments total = part_at(first, k);
    for (Index part = 1; part < parts_; ++part) {
      const CoMoments other = part_at(first + part * part_size(k), k);
      total.m2 += other.m2;
      total.merge_mean(other.n, other.mean, step_at(first, k));
    }
    for (Index i = 0; i < k; ++i) {
      const Index c = group * k + i;
      hi[c] = shift[c] + total.mean[i];
      lo[c] = (shift[c] - hi[c]) + total.mean[i];
    }
    covariance.middleRows(group * k, k) = total.m2.selfadjointView<Eigen::Lower>();
    covariance.middleRows(group * k, k) /= total.n;
  }

  const ChannelMatrix& m_;
  const Scalar* x_;
  Index parts_;
};

template <class Scalar>
void Covariance<Scalar>::run(const Runner& runner, double* workspace, Eigen::ArrayXd& hi, Eigen::ArrayXd& lo,
                             Eigen::MatrixXd& covariance) const {
  double* const shift = workspace;
  double* const sums = workspace + m_.channels();
  // Any value of a channel will do for its shift.
  m_.each(x_, 0, 1, 0, m_.channels(), [&](const Scalar& v, Index, Index c) { shift[c] = widened_value(v); });
  std::fill(sums, workspace + workspace_size(), 0.0);
  m_.each_panel(runner, parts_, [&](Index group, Index part, Index first, Index rows) {
    double* const at = sums + (group * parts_ + part) * part_size(m_.group_channels());
    add_panel(shift, group, first, rows, at);
  });
  for (Index group = 0; group < m_.groups(); ++group) finish(group, shift, sums, hi, lo, covariance);
}

// A mean as hi + lo, by channel.
struct SplitMean {
  const double *hi, *lo;

  double centred(double x, Index c) const { return (x - hi[c]) - lo[c]; }
};

// The sums every gradient is made of: of dy, by channel, and of dy_i * (x_j - mean_j) for the channels of a group, as a
// (channels, group_channels) matrix.
template <class Scalar>
class GradientSums {
 public:
  GradientSums(const ChannelMatrix& m, const Scalar* x, const Scalar* dy, const SplitMean& mean)
      : m_(m), x_(x), dy_(dy), mean_(mean), parts_(m.sum_parts()) {}

  std::size_t workspace_size() const {
    return static_cast<std::size_t>(m_.groups() * parts_ * part_size(m_.group_channels()));
  }

  void run(const Runner& runner, double* workspace, Eigen::ArrayXd& sum_dy, Eigen::MatrixXd& products) const;

 private:
  static Index part_size(Index k) { return k + k * k; }

  void add_panel(Index group, Index first, Index rows, double* at) const {
    const Index k = m_.group_channels();
    Panel x_memory, dy_memory;
    MatrixMap x = x_memory.matrix(rows, k), dy = dy_memory.matrix(rows, k);
    m_.gather(x_, first, group * k, x, [this](double v, Index c) { return mean_.centred(v, c); });
    m_.gather(dy_, first, group * k, dy, [](double v, Index) { return v; });
    VectorMap(at, k) += dy.colwise().sum().transpose();
    MatrixMap products(at + k, k, k);
    for_each_tile(k, [&](Index i, Index rows_of) {
      for_each_tile(k, [&](Index j, Index cols_of) {
        products.block(i, j, rows_of, cols_of).noalias() +=
            dy.middleCols(i, rows_of).transpose() * x.middleCols(j, cols_of);
      });
    });
  }

  const ChannelMatrix& m_;
  const Scalar *x_, *dy_;
  SplitMean mean_;
  Index parts_;
};

template <class Scalar>
void GradientSums<Scalar>::run(const Runner& runner, double* workspace, Eigen::ArrayXd& sum_dy,
                               Eigen::MatrixXd& products) const {
  const Index k = m_.group_channels();
  std::fill_n(workspace, workspace_size(), 0.0);
  m_.each_panel(runner, parts_, [&](Index group, Index part, Index first, Index rows) {
    add_panel(group, first, rows, workspace + (group * parts_ + part) * part_size(k));
  });
  for (Index group = 0; group < m_.groups(); ++group) {
    sum_dy.segment(group * k, k).setZero();
    products.middleRows(group * k, k).setZero();
    for (Index part = 0; part < parts_; ++part) {
      double* const at = workspace + (group * parts_ + part) * part_size(k);
      sum_dy.segment(group * k, k) += VectorMap(at, k).array();
      products.middleRows(group * k, k) += MatrixMap(at + k, k, k);
    }
  }
}

}  // namespace core
}  // namespace tensornorm
