// tensornorm as a contender. Included once for each scalar.
#pragma once

#define EIGEN_USE_THREADS
#include <tensornorm/tensornorm.hpp>

#include "contender.hpp"
#include "pool.hpp"

namespace bench {

template <class Tensor>
using Extents = std::array<Index, Tensor::NumIndices>;

/// A layer of ours on maps of the operands.
template <class L, class Tensor, class Device>
class Ours : public Contender {
 public:
  using T = typename L::Scalar;

  Ours(L layer, Pass pass, const Device& device, const Extents<Tensor>& extents, const Operands& o)
      : layer_(std::move(layer)), pass_(pass), device_(device), x_(static_cast<const T*>(o.x), extents),
        dy_(static_cast<const T*>(o.dy), extents), y_(static_cast<T*>(o.y), extents) {
    if (pass_ == Pass::kBackward) layer_.forward(device_, x_, y_);
    if (pass_ == Pass::kInfer) layer_.eval();
  }

  void run() override {
    switch (pass_) {
      case Pass::kTrain:
        return layer_.forward(device_, x_, y_);
      case Pass::kInfer:
        return layer_.infer(device_, x_, y_);
      case Pass::kBackward:
        return layer_.backward(device_, x_, dy_, y_);
    }
  }
  const void* result() const override { return y_.data(); }
  Parameters parameters() const override {
    Parameters p;
    if (pass_ == Pass::kBackward) {
      p.dgamma = layer_.dgamma().data();
      if constexpr (!std::is_same_v<L, tensornorm::RMSNorm<T>>) p.dbeta = layer_.dbeta().data();
    }
    if constexpr (std::is_same_v<L, tensornorm::BatchNorm<T>>) {
      p.running_mean = layer_.running_mean().data();
      p.running_var = layer_.running_var().data();
    }
    return p;
  }

 private:
  L layer_;
  Pass pass_;
  const Device& device_;
  Eigen::TensorMap<const Tensor> x_, dy_;
  Eigen::TensorMap<Tensor> y_;
};

template <class L, class Tensor>
ContenderPtr make_ours_on(L layer, const Cell& cell, const Extents<Tensor>& extents, const Operands& o) {
  if (cell.threads == 1) {
    static const Eigen::DefaultDevice device;
    return std::make_unique<Ours<L, Tensor, Eigen::DefaultDevice>>(std::move(layer), cell.pass, device, extents, o);
  }
  return std::make_unique<Ours<L, Tensor, Eigen::ThreadPoolDevice>>(std::move(layer), cell.pass,
                                                                    pool_device(cell.threads), extents, o);
}

template <class L>
ContenderPtr make_ours_of(L layer, const Cell& cell, const Operands& o) {
  using T = typename L::Scalar;
  using P = typename L::Param;
  const auto assign = [](auto& array, const void* from) {
    array = Eigen::Map<const Eigen::Array<P, Eigen::Dynamic, 1>>(static_cast<const P*>(from), array.size());
  };
  assign(layer.gamma(), o.gamma);
  if constexpr (!std::is_same_v<L, tensornorm::RMSNorm<T>>) assign(layer.beta(), o.beta);
  if constexpr (std::is_same_v<L, tensornorm::BatchNorm<T>>) {
    assign(layer.running_mean(), o.running_mean);
    assign(layer.running_var(), o.running_var);
  }
  if (!cell.is_image()) {
    if (cell.is_row_major())
      return make_ours_on<L, Eigen::Tensor<T, 2, Eigen::RowMajor>>(layer, cell, {cell.n, cell.c}, o);
    return make_ours_on<L, Eigen::Tensor<T, 2>>(layer, cell, {cell.n, cell.c}, o);
  }
  if constexpr (!std::is_same_v<L, tensornorm::RMSNorm<T>> && !std::is_same_v<L, tensornorm::LayerNorm<T>>) {
    if (!cell.is_row_major()) {
      return make_ours_on<L, Eigen::Tensor<T, 4>>(layer, cell, {cell.n, cell.c, cell.h, cell.w}, o);
    }
    using Image = Eigen::Tensor<T, 4, Eigen::RowMajor>;
    if (cell.channels_last()) return make_ours_on<L, Image>(layer, cell, {cell.n, cell.h, cell.w, cell.c}, o);
    return make_ours_on<L, Image>(layer, cell, {cell.n, cell.c, cell.h, cell.w}, o);
  }
  return nullptr;
}

template <class T>
ContenderPtr make_ours(const Cell& cell, const Operands& o) {
  const auto with = [&](auto options) {
    options.eps = kEps;
    if constexpr (!std::is_same_v<decltype(options), tensornorm::LayerNormOptions> &&
                  !std::is_same_v<decltype(options), tensornorm::RMSNormOptions>) {
      options.channel_axis = cell.channels_last() ? -1 : 1;
    }
    options.affine = true;
    return options;
  };
  switch (cell.layer) {
    case Layer::kBatch:
      return make_ours_of(tensornorm::BatchNorm<T>(cell.c, with(tensornorm::BatchNormOptions{})), cell, o);
    case Layer::kInstance:
      return make_ours_of(tensornorm::InstanceNorm<T>(cell.c, with(tensornorm::InstanceNormOptions{})), cell, o);
    case Layer::kGroup:
      return make_ours_of(tensornorm::GroupNorm<T>(cell.groups, cell.c, with(tensornorm::GroupNormOptions{})), cell, o);
    case Layer::kLayer:
      return make_ours_of(tensornorm::LayerNorm<T>({cell.c}, with(tensornorm::LayerNormOptions{})), cell, o);
    case Layer::kRms:
      return make_ours_of(tensornorm::RMSNorm<T>({cell.c}, with(tensornorm::RMSNormOptions{})), cell, o);
  }
  return nullptr;
}

}  // namespace bench
