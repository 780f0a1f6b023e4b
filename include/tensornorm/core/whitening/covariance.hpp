// Covariance: sums over a ChannelMatrix of products of channels: x with x for the statistics, dy with x for gradients.
#pragma once

#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/kernel/lane_sums.hpp"
#include "tensornorm/core/whitening/channel_matrix.hpp"
#include "tensornorm/core/whitening/whitening_statistics.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

// Panels for sums over positions, in memory of a unit's own.
class SumPanels {
 public:
  // A position's channels lie side by side; they begin lines, an odd number of them apart, so that those of many
  // positions share no set of a cache. Of fewer channels than a vector has lanes a channel's positions do.
  explicit SumPanels(const ChannelMatrix& m)
      : k_(m.group_channels()),
        rows_((std::min)((std::min)((std::max)(kValues / k_, kFewest), kMost), padded(m.rows()))),
        stride_(is_narrow(k_) ? rows_ : (padded(k_) / kPanelLanes | 1) * kPanelLanes) {}

  Index rows() const { return rows_; }
  Index size() const { return is_narrow(k_) ? k_ * stride_ : rows_ * stride_; }

  template <class Scalar, class Value>
  Panel gather(const ChannelMatrix& m, const Scalar* x, Index first, Index rows, Index group, double* memory,
               const Value& value) const {
    const Panel panel = is_narrow(k_) ? Panel{memory, stride_, 1} : Panel{memory, 1, stride_};
    m.gather(x, first, rows, group * k_, k_, panel, value);
    if (is_narrow(k_)) panel.pad_positions(k_, rows);
    return panel;
  }

  // to[c] += the sum over positions of channel c.
  void add_positions(const Panel& a, Index rows, double* to) const {
    if (is_narrow(k_)) return dispatch_to_avx2(LaneSums{a.at, nullptr, stride_, k_, padded(rows), to});
    for (Index p = 0; p < rows; ++p) VectorMap(to, k_) += VectorMap(a.at + p * stride_, k_);
  }

  void subtract(const VectorMap& mean, Index rows, const Panel& a) const {
    for (Index p = 0; !is_narrow(k_) && p < rows; ++p) VectorMap(a.at + p * stride_, k_) -= mean;
    for (Index c = 0; is_narrow(k_) && c < k_; ++c) VectorMap(a.at + c * stride_, rows).array() -= mean[c];
  }

  // to(i, j) += the sum over positions of a_i * b_j; of a lower triangle at least i >= j.
  void add_products(const Panel& a, const Panel& b, Index rows, double* to, bool is_lower) const {
    if (is_narrow(k_)) return dispatch_to_avx2(LaneSums{a.at, b.at, stride_, k_, padded(rows), to, is_lower});
    Product{a.by_channel(), b.by_channel().transposed(), to, k_, k_, k_, rows, is_lower}.add();
  }

 private:
  static constexpr Index kValues = 4096, kFewest = 16, kMost = 256;

  Index k_, rows_, stride_;
};

// Means and co-moments of a group's channels over some positions, in memory of the caller's. The lower triangle of m2,
// the sums of (x_i - mean_i) * (x_j - mean_j), is kept.
struct CoMoments {
  double n;
  VectorMap mean;  // without the shift that all parts share
  MatrixMap m2;

  // The union of two disjoint sets: Chan's formula (see merge of Moments) for pairs. It adds `step * step^T` and hence
  // also takes `other` by its mean alone, m2 being added before.
  void merge_mean(double other_n, const VectorMap& other_mean, VectorMap step) {
    const double share = other_n / (n + other_n), weight = n * share;
    step = other_mean - mean;
    for (Index i = 0; i < mean.size(); ++i) mean[i] += product(share, step[i]);
    for (Index j = 0; weight > 0 && j < m2.cols(); ++j) {
      for (Index i = j; i < m2.rows(); ++i) m2(i, j) += product(weight * step[j], step[i]);
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
  Covariance(const ChannelMatrix& m, const Scalar* x)
      : m_(m), x_(x), k_(m.group_channels()), parts_(m.sum_parts()), panels_(m) {}

  // Doubles the sums need.
  std::size_t workspace_size() const {
    return static_cast<std::size_t>(m_.channels() + m_.groups() * parts_ * (part_size() + panels_.size()));
  }

  // @pre there is a position; hi, lo, covariance have their sizes
  void run(const Runner& runner, double* workspace, Eigen::ArrayXd& hi, Eigen::ArrayXd& lo, Matrix& covariance) const;

 private:
  // n, mean, a panel's mean, step (memory for a difference of means), m2
  Index part_size() const { return 1 + 3 * k_ + k_ * k_; }
  CoMoments part_at(double* at) const { return {at[0], {at + 1, k_}, {at + 1 + 3 * k_, k_, k_}}; }
  VectorMap panel_mean_at(double* at) const { return {at + 1 + k_, k_}; }
  VectorMap step_at(double* at) const { return {at + 1 + 2 * k_, k_}; }

  void add_panel(const double* shift, Index group, Index first, Index rows, double* at, double* memory) const {
    const Panel panel =
        panels_.gather(m_, x_, first, rows, group, memory, [shift](double x, Index c) { return x - shift[c]; });
    VectorMap mean = panel_mean_at(at);
    mean.setZero();
    panels_.add_positions(panel, rows, mean.data());
    mean /= static_cast<double>(rows);
    panels_.subtract(mean, rows, panel);
    CoMoments part = part_at(at);
    panels_.add_products(panel, panel, rows, part.m2.data(), true);
    part.merge_mean(static_cast<double>(rows), mean, step_at(at));
    at[0] = part.n;
  }

  // Parts in order.
  void finish(Index group, const double* shift, double* sums, Eigen::ArrayXd& hi, Eigen::ArrayXd& lo,
              Matrix& covariance) const {
    double* const first = sums + group * parts_ * part_size();
    CoMoments total = part_at(first);
    for (Index part = 1; part < parts_; ++part) {
      const CoMoments other = part_at(first + part * part_size());
      total.m2 += other.m2;
      total.merge_mean(other.n, other.mean, step_at(first));
    }
    for (Index i = 0; i < k_; ++i) {
      const Index c = group * k_ + i;
      hi[c] = shift[c] + total.mean[i];
      lo[c] = (shift[c] - hi[c]) + total.mean[i];
    }
    covariance.middleRows(group * k_, k_) = total.m2.selfadjointView<Eigen::Lower>();
    covariance.middleRows(group * k_, k_) /= total.n;
  }

  const ChannelMatrix& m_;
  const Scalar* x_;
  Index k_, parts_;
  SumPanels panels_;
};

template <class Scalar>
void Covariance<Scalar>::run(const Runner& runner, double* workspace, Eigen::ArrayXd& hi, Eigen::ArrayXd& lo,
                             Matrix& covariance) const {
  double* const shift = workspace;
  double* const sums = workspace + m_.channels();
  // Any value of a channel will do for its shift.
  m_.each(x_, 0, 1, 0, m_.channels(), [&](const Scalar& v, Index, Index c) { shift[c] = widened_value(v); });
  double* const panels = sums + m_.groups() * parts_ * part_size();
  std::fill(sums, panels, 0.0);
  m_.each_panel(runner, parts_, panels_.rows(), [&](Index unit, Index group, Index first, Index rows) {
    add_panel(shift, group, first, rows, sums + unit * part_size(), panels + unit * panels_.size());
  });
  for (Index group = 0; group < m_.groups(); ++group) finish(group, shift, sums, hi, lo, covariance);
}

// The sums every gradient is made of: of dy, by channel, and of dy_i * (x_j - mean_j) for the channels of a group, as a
// (channels, group_channels) matrix.
template <class Scalar>
class GradientSums {
 public:
  GradientSums(const ChannelMatrix& m, const Scalar* x, const Scalar* dy, const SplitMean& mean)
      : m_(m), x_(x), dy_(dy), mean_(mean), k_(m.group_channels()), parts_(m.sum_parts()), panels_(m) {}

  std::size_t workspace_size() const {
    return static_cast<std::size_t>(m_.groups() * parts_ * (part_size() + 2 * panels_.size()));
  }

  void run(const Runner& runner, double* workspace, Eigen::ArrayXd& sum_dy, Matrix& products) const;

 private:
  // sums of dy, of products
  Index part_size() const { return k_ + k_ * k_; }

  void add_panel(Index group, Index first, Index rows, double* at, double* memory) const {
    const Panel x =
        panels_.gather(m_, x_, first, rows, group, memory, [this](double v, Index c) { return mean_.centred(v, c); });
    const Panel dy =
        panels_.gather(m_, dy_, first, rows, group, memory + panels_.size(), [](double v, Index) { return v; });
    panels_.add_positions(dy, rows, at);
    panels_.add_products(dy, x, rows, at + k_, false);
  }

  const ChannelMatrix& m_;
  const Scalar *x_, *dy_;
  SplitMean mean_;
  Index k_, parts_;
  SumPanels panels_;
};

template <class Scalar>
void GradientSums<Scalar>::run(const Runner& runner, double* workspace, Eigen::ArrayXd& sum_dy,
                               Matrix& products) const {
  double* const panels = workspace + m_.groups() * parts_ * part_size();
  std::fill(workspace, panels, 0.0);
  m_.each_panel(runner, parts_, panels_.rows(), [&](Index unit, Index group, Index first, Index rows) {
    add_panel(group, first, rows, workspace + unit * part_size(), panels + unit * 2 * panels_.size());
  });
  for (Index group = 0; group < m_.groups(); ++group) {
    sum_dy.segment(group * k_, k_).setZero();
    products.middleRows(group * k_, k_).setZero();
    for (Index part = 0; part < parts_; ++part) {
      double* const at = workspace + (group * parts_ + part) * part_size();
      sum_dy.segment(group * k_, k_) += VectorMap(at, k_).array();
      products.middleRows(group * k_, k_) += MatrixMap(at + k_, k_, k_);
    }
  }
}

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
