// PyTorch's own entries as contenders, through ATen. A module of its own: see contender.hpp.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>
#include <torch/csrc/api/include/torch/version.h>

#include "contender.hpp"

namespace bench {

namespace {

at::ScalarType type_of(Scalar scalar) {
  switch (scalar) {
    case Scalar::kDouble:
      return at::kDouble;
    case Scalar::kHalf:
      return at::kHalf;
    case Scalar::kBfloat16:
      return at::kBFloat16;
    default:
      return at::kFloat;
  }
}

/// Column-major cells are given to PyTorch row-major: no layout of its own is like them.
class Torch : public Contender {
 public:
  Torch(const Cell& cell, const Operands& o) : cell_(cell) {
    use_threads();
    x_ = tensor(o.x);
    if (cell.pass == Pass::kBackward) dy_ = tensor(o.dy);
    gamma_ = params(o.gamma);
    beta_ = params(o.beta);
    running_mean_ = params(o.running_mean).clone();
    running_var_ = params(o.running_var).clone();
    if (cell.pass == Pass::kBackward) forward(true);
  }

  void run() override {
    use_threads();
    if (cell_.pass == Pass::kBackward) {
      backward();
    } else {
      forward(cell_.pass == Pass::kTrain);
    }
  }

  const void* result() const override {
    const at::Tensor& result = cell_.pass == Pass::kBackward ? dx_ : y_;
    return cell_.is_row_major() && result.strides() == x_.strides() ? result.data_ptr() : nullptr;
  }

 private:
  // Setting the number, even to what it was, starts new threads.
  void use_threads() const {
    if (at::get_num_threads() != cell_.threads) at::set_num_threads(cell_.threads);
  }
  at::Tensor tensor(const void* data) const {
    const auto options = at::TensorOptions().dtype(type_of(cell_.scalar));
    void* const from = const_cast<void*>(data);  // from_blob takes no const
    if (!cell_.is_image()) return at::from_blob(from, {cell_.n, cell_.c}, options);
    if (cell_.channels_last()) {
      return at::from_blob(from, {cell_.n, cell_.h, cell_.w, cell_.c}, options).permute({0, 3, 1, 2});
    }
    return at::from_blob(from, {cell_.n, cell_.c, cell_.h, cell_.w}, options);
  }
  at::Tensor params(const void* data) const {
    const auto type = cell_.scalar == Scalar::kDouble ? at::kDouble : at::kFloat;
    const auto result = at::from_blob(const_cast<void*>(data), {cell_.c}, at::TensorOptions().dtype(type));
    // 16-bit LayerNorm and GroupNorm take 16-bit parameters.
    return cell_.layer == Layer::kBatch ? result : result.to(type_of(cell_.scalar));
  }

  void forward(bool training) {
    switch (cell_.layer) {
      case Layer::kBatch:
        std::tie(y_, mean_, rstd_) =
            at::native_batch_norm(x_, gamma_, beta_, running_mean_, running_var_, training, kMomentum, kEps);
        return;
      case Layer::kInstance:
      case Layer::kGroup:
        std::tie(y_, mean_, rstd_) =
            at::native_group_norm(x_, gamma_, beta_, cell_.n, cell_.c, cell_.space(), groups(), kEps);
        return;
      case Layer::kLayer:
        std::tie(y_, mean_, rstd_) = at::native_layer_norm(x_, {cell_.c}, gamma_, beta_, kEps);
        return;
      case Layer::kRms:  // has no entry of its own
        y_ = x_ * at::rsqrt(x_.square().mean(1, true) + kEps) * gamma_;
        return;
    }
  }

  void backward() {
    at::Tensor dgamma, dbeta;
    const std::array<bool, 3> all = {true, true, true};
    switch (cell_.layer) {
      case Layer::kBatch:
        std::tie(dx_, dgamma, dbeta) =
            at::native_batch_norm_backward(dy_, x_, gamma_, running_mean_, running_var_, mean_, rstd_, true, kEps, all);
        return;
      case Layer::kInstance:
      case Layer::kGroup:
        std::tie(dx_, dgamma, dbeta) = at::native_group_norm_backward(as_taken(dy_), as_taken(x_), mean_, rstd_, gamma_,
                                                                      cell_.n, cell_.c, cell_.space(), groups(), all);
        return;
      default:
        std::tie(dx_, dgamma, dbeta) =
            at::native_layer_norm_backward(dy_, x_, {cell_.c}, mean_, rstd_, gamma_, beta_, all);
    }
  }

  /// Before 2.0 GroupNorm's backward takes channels first only, and autograd copies what is not.
  static at::Tensor as_taken(const at::Tensor& t) { return TORCH_VERSION_MAJOR < 2 ? t.contiguous() : t; }

  Index groups() const { return cell_.layer == Layer::kInstance ? cell_.c : cell_.groups; }

  Cell cell_;
  c10::InferenceMode no_graph_;
  at::Tensor x_, dy_, gamma_, beta_, running_mean_, running_var_, y_, mean_, rstd_, dx_;
};

}  // namespace

extern "C" __attribute__((visibility("default"))) Contender* make_torch(PeerKind, const Cell& cell,
                                                                        const Operands& operands) {
  if (cell.layer == Layer::kRms && cell.pass == Pass::kBackward) return nullptr;
  try {
    auto contender = std::make_unique<Torch>(cell, operands);
    contender->run();
    return contender.release();
  } catch (const c10::Error&) {  // no kernel for this scalar
    return nullptr;
  }
}

extern "C" __attribute__((visibility("default"))) const char* torch_version() { return TORCH_VERSION; }

}  // namespace bench
