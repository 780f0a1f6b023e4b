// Lines of Eigen as one writes them by hand for matrices, compiled for this machine alone: sums in float, temporaries
// kept from call to call. One thread, float. A module of its own: see contender.hpp.
#include <Eigen/Dense>

#include "contender.hpp"

namespace bench {

namespace {

/// x as sets x elements: a set has a statistic. order: whether the elements of a set are neighbours.
template <int order>
class Hand : public Contender {
 public:
  using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, order>;
  using Array = Eigen::ArrayXf;

  Hand(const Cell& cell, const Operands& o)
      : cell_(cell), is_batch_(cell.layer == Layer::kBatch), x_(data(o.x), sets(), elements()),
        dy_(data(o.dy), sets(), elements()), y_(static_cast<float*>(o.y), sets(), elements()),
        gamma_(data(o.gamma), cell.c), beta_(data(o.beta), cell.c) {
    if (cell.pass == Pass::kInfer && is_batch_) {
      const Eigen::Map<const Array> mean(data(o.running_mean), cell.c), var(data(o.running_var), cell.c);
      scale_ = gamma_ * (var + static_cast<float>(kEps)).rsqrt();
      shift_ = beta_ - mean * scale_;
    } else {
      find_statistics();
    }
  }

  void run() override {
    if (cell_.pass == Pass::kBackward) return backward();
    if (cell_.pass == Pass::kInfer && is_batch_) {
      y_ = ((x_.array().colwise() * scale_).colwise() + shift_).matrix();
      return;
    }
    find_statistics();
    if (is_batch_) {
      y_ = ((h_.array().colwise() * (rstd_ * gamma_)).colwise() + beta_).matrix();
    } else if (is_rms()) {
      y_ = ((h_.array().colwise() * rstd_).rowwise() * gamma_.transpose()).matrix();
    } else {
      y_ = (((h_.array().colwise() * rstd_).rowwise() * gamma_.transpose()).rowwise() + beta_.transpose()).matrix();
    }
  }
  const void* result() const override { return y_.data(); }

 private:
  static const float* data(const void* p) { return static_cast<const float*>(p); }
  bool is_rms() const { return cell_.layer == Layer::kRms; }
  Index sets() const { return is_batch_ ? cell_.c : cell_.n; }
  Index elements() const { return is_batch_ ? cell_.n : cell_.c; }

  /// h = x - mean; x itself for RMSNorm.
  void find_statistics() {
    if (is_rms()) {
      h_ = x_;
    } else {
      mean_ = x_.rowwise().mean();
      h_ = x_.colwise() - mean_;
    }
    rstd_ = (h_.array().square().rowwise().mean() + static_cast<float>(kEps)).rsqrt();
  }

  void backward() {
    xhat_ = (h_.array().colwise() * rstd_).matrix();
    if (is_batch_) {
      g_ = dy_;
    } else {
      g_ = (dy_.array().rowwise() * gamma_.transpose()).matrix();
    }
    const Array of_g = is_rms() ? Array(Array::Zero(sets())) : Array(g_.rowwise().mean().array()),
                of_gx = g_.cwiseProduct(xhat_).rowwise().mean().array();
    if (is_batch_) {
      dgamma_ = of_gx * static_cast<float>(elements());
      dbeta_ = of_g * static_cast<float>(elements());
    } else {
      dgamma_ = dy_.cwiseProduct(xhat_).colwise().sum().transpose().array();
      if (!is_rms()) dbeta_ = dy_.colwise().sum().transpose().array();
    }
    const Array factor = is_batch_ ? Array(rstd_ * gamma_) : rstd_;
    y_ = (((g_.array().colwise() - of_g) - xhat_.array().colwise() * of_gx).colwise() * factor).matrix();
  }

  Cell cell_;
  bool is_batch_;
  Eigen::Map<const Matrix> x_, dy_;
  Eigen::Map<Matrix> y_;
  Eigen::Map<const Array> gamma_, beta_;
  Matrix h_, xhat_, g_;
  Eigen::VectorXf mean_;
  Array rstd_, scale_, shift_, dgamma_, dbeta_;
};

}  // namespace

extern "C" __attribute__((visibility("default"))) Contender* make_hand(PeerKind, const Cell& cell, const Operands& o) {
  if (cell.scalar != Scalar::kFloat || cell.is_image() || cell.threads != 1) return nullptr;
  const bool are_neighbours = cell.is_row_major() != (cell.layer == Layer::kBatch);
  if (are_neighbours) return new Hand<Eigen::RowMajor>(cell, o);
  return new Hand<Eigen::ColMajor>(cell, o);
}

extern "C" __attribute__((visibility("default"))) const char* hand_version() { return __VERSION__; }

}  // namespace bench
