// Eigen tensor expressions, as a user writes a normalization by hand.
#include "contender.hpp"
#include "pool.hpp"

namespace bench {

namespace {

template <int rank>
using Dims = std::array<Index, rank>;

/// x as a row-major tensor of `rank` axes of which `reduced` are summed over; a statistic and a parameter as tensors of
/// the same rank, 1 long where they do not vary.
template <int rank, int reduced>
class Expressions : public Contender {
 public:
  using Tensor = Eigen::Tensor<float, rank, Eigen::RowMajor>;

  Expressions(const Cell& cell, const Operands& o, const Dims<rank>& extents, const Dims<reduced>& over,
              const Dims<rank>& param)
      : cell_(cell), device_(full_pool_device(cell.threads)), over_(over), x_(static_cast<const float*>(o.x), extents),
        dy_(static_cast<const float*>(o.dy), extents), gamma_(static_cast<const float*>(o.gamma), param),
        beta_(static_cast<const float*>(o.beta), param),
        running_mean_(static_cast<const float*>(o.running_mean), param),
        running_var_(static_cast<const float*>(o.running_var), param), y_(static_cast<float*>(o.y), extents),
        stat_(extents) {
    for (const Index axis : over) stat_[static_cast<std::size_t>(axis)] = 1;
    for (std::size_t i = 0; i < rank; ++i) {
      spread_stat_[i] = extents[i] / stat_[i];
      spread_param_[i] = extents[i] / param[i];
    }
    if (cell.pass == Pass::kBackward) find_statistics();
  }

  void run() override {
    switch (cell_.pass) {
      case Pass::kTrain:
        find_statistics();
        return normalize();
      case Pass::kInfer:
        if (cell_.layer != Layer::kBatch) return find_statistics(), normalize();
        mean_ = running_mean_;
        rstd_ = (running_var_ + static_cast<float>(kEps)).rsqrt();
        return normalize();
      case Pass::kBackward:
        return backward();
    }
  }
  const void* result() const override { return y_.data(); }

 private:
  void find_statistics() {
    mean_.resize(stat_);
    rstd_.resize(stat_);
    if (is_rms()) {
      rstd_.device(device_) = (x_.square().mean(over_).reshape(stat_) + static_cast<float>(kEps)).rsqrt();
      return;
    }
    mean_.device(device_) = x_.mean(over_).reshape(stat_);
    rstd_.device(device_) =
        ((x_ - mean_.broadcast(spread_stat_)).square().mean(over_).reshape(stat_) + static_cast<float>(kEps)).rsqrt();
  }

  void normalize() {
    if (is_rms()) {
      y_.device(device_) = x_ * rstd_.broadcast(spread_stat_) * gamma_.broadcast(spread_param_);
    } else {
      y_.device(device_) =
          (x_ - mean_.broadcast(spread_stat_)) * rstd_.broadcast(spread_stat_) * gamma_.broadcast(spread_param_) +
          beta_.broadcast(spread_param_);
    }
  }

  void backward() {
    const auto rstd = rstd_.broadcast(spread_stat_);
    const auto g = dy_ * gamma_.broadcast(spread_param_);
    Tensor mean_g(stat_), mean_gx(stat_);
    if (is_rms()) {
      const auto xhat = x_ * rstd;
      mean_gx.device(device_) = (g * xhat).mean(over_).reshape(stat_);
      y_.device(device_) = rstd * (g - xhat * mean_gx.broadcast(spread_stat_));
      parameter_gradients(xhat);
    } else {
      const auto xhat = (x_ - mean_.broadcast(spread_stat_)) * rstd;
      mean_g.device(device_) = g.mean(over_).reshape(stat_);
      mean_gx.device(device_) = (g * xhat).mean(over_).reshape(stat_);
      y_.device(device_) = rstd * (g - mean_g.broadcast(spread_stat_) - xhat * mean_gx.broadcast(spread_stat_));
      parameter_gradients(xhat);
    }
  }

  bool is_rms() const { return cell_.layer == Layer::kRms; }

  template <class Xhat>
  void parameter_gradients(const Xhat& xhat) {
    // Every axis but those the parameters vary along.
    if constexpr (rank == 2) {
      sum_parameters(xhat, Dims<1>{0});
    } else if constexpr (rank == 5) {
      gamma_.dimension(4) == 1 ? sum_parameters(xhat, Dims<3>{0, 3, 4}) : sum_parameters(xhat, Dims<3>{0, 1, 2});
    } else {
      gamma_.dimension(3) == 1 ? sum_parameters(xhat, Dims<3>{0, 2, 3}) : sum_parameters(xhat, Dims<3>{0, 1, 2});
    }
  }
  template <class Xhat, std::size_t axes>
  void sum_parameters(const Xhat& xhat, const std::array<Index, axes>& over) {
    Eigen::Tensor<float, rank - static_cast<int>(axes), Eigen::RowMajor> dgamma, dbeta;
    Dims<rank - static_cast<int>(axes)> sizes{};
    std::size_t kept = 0;
    for (int i = 0; i < rank; ++i) {
      if (std::find(over.begin(), over.end(), i) == over.end()) sizes[kept++] = x_.dimension(i);
    }
    dgamma.resize(sizes);
    dbeta.resize(sizes);
    dgamma.device(device_) = (dy_ * xhat).sum(over);
    if (!is_rms()) dbeta.device(device_) = dy_.sum(over);
  }

  Cell cell_;
  const Eigen::ThreadPoolDevice& device_;
  Dims<reduced> over_;
  Eigen::TensorMap<const Tensor> x_, dy_, gamma_, beta_, running_mean_, running_var_;
  Eigen::TensorMap<Tensor> y_;
  Dims<rank> stat_, spread_stat_, spread_param_;
  Tensor mean_, rstd_;
};

template <int rank, int reduced>
ContenderPtr expressions(const Cell& cell, const Operands& o, const Dims<rank>& extents, const Dims<reduced>& over,
                         const Dims<rank>& param) {
  return std::make_unique<Expressions<rank, reduced>>(cell, o, extents, over, param);
}

}  // namespace

ContenderPtr make_eigen(const Cell& cell, const Operands& o) {
  if (cell.scalar != Scalar::kFloat || !cell.is_row_major()) return nullptr;
  const Index n = cell.n, c = cell.c, h = cell.h, w = cell.w, g = cell.groups;
  if (!cell.is_image()) {
    return expressions<2, 1>(cell, o, {n, c}, {cell.layer == Layer::kBatch ? 0 : 1}, {1, c});
  }
  if (cell.channels_last()) {
    if (cell.layer == Layer::kBatch) return expressions<4, 3>(cell, o, {n, h, w, c}, {0, 1, 2}, {1, 1, 1, c});
    if (cell.layer == Layer::kInstance) return expressions<4, 2>(cell, o, {n, h, w, c}, {1, 2}, {1, 1, 1, c});
    return expressions<5, 3>(cell, o, {n, h, w, g, c / g}, {1, 2, 4}, {1, 1, 1, g, c / g});
  }
  if (cell.layer == Layer::kBatch) return expressions<4, 3>(cell, o, {n, c, h, w}, {0, 2, 3}, {1, c, 1, 1});
  if (cell.layer == Layer::kInstance) return expressions<4, 2>(cell, o, {n, c, h, w}, {2, 3}, {1, c, 1, 1});
  return expressions<5, 3>(cell, o, {n, g, c / g, h, w}, {2, 3, 4}, {1, g, c / g, 1, 1});
}

}  // namespace bench
