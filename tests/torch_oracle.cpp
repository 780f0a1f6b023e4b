#include "torch_oracle.hpp"

#include <torch/torch.h>

#include <algorithm>
#include <exception>

namespace tensornorm_test {

namespace {

using torch::Tensor;
using Values = std::vector<double>;

Tensor tensor(const Values& values, torch::IntArrayRef extents) {
  Tensor t = torch::empty(extents, torch::kDouble);
  std::copy(values.begin(), values.end(), t.data_ptr<double>());
  return t;
}

Tensor tensor(const Values& values) { return tensor(values, {std::int64_t(values.size())}); }

Values values(const Tensor& t) {
  if (!t.defined()) return {};
  const Tensor dense = t.detach().contiguous();
  return Values(dense.data_ptr<double>(), dense.data_ptr<double>() + dense.numel());
}

struct Pass {
  const LayerOptions& o;
  TorchState& state;
  bool training;
  Tensor gamma, beta;

  /// A module of BatchNorm or InstanceNorm with the state put in; running statistics are taken out again.
  template <class Module, class Options>
  Tensor running(const Tensor& x, Options options) {
    Module module(options.eps(o.eps).affine(o.affine).track_running_stats(o.track));
    module->to(torch::kDouble);
    module->train(training);
    module->weight = gamma;
    module->bias = beta;
    if (!o.track) return module->forward(x);
    module->running_mean = tensor(state.running_mean);
    module->running_var = tensor(state.running_var);
    module->num_batches_tracked.fill_(state.num_batches_tracked);
    const Tensor y = module->forward(x);
    state.running_mean = values(module->running_mean);
    state.running_var = values(module->running_var);
    state.num_batches_tracked = module->num_batches_tracked.template item<std::int64_t>();
    return y;
  }

  Tensor batch(const Tensor& x) {
    auto options = torch::nn::BatchNormOptions(o.channels);
    options.momentum() = o.momentum ? c10::optional<double>(*o.momentum) : c10::nullopt;
    if (x.dim() <= 3) return running<torch::nn::BatchNorm1d>(x, options);
    return x.dim() == 4 ? running<torch::nn::BatchNorm2d>(x, options) : running<torch::nn::BatchNorm3d>(x, options);
  }

  /// PyTorch has no cumulative average here and counts no batches: momentum and counter are those of its BatchNorm.
  /// A matrix is a batch of instances of one spatial element, not one instance, as it would read it.
  Tensor instance(const Tensor& x) {
    if (x.dim() == 2) return instance(x.unsqueeze(-1)).squeeze(-1);
    const std::int64_t count = state.num_batches_tracked + (training && o.track);
    auto options = torch::nn::InstanceNormOptions(o.channels);
    options.momentum(o.momentum ? *o.momentum : count > 0 ? 1. / double(count) : 0.);
    const Tensor y = x.dim() == 3   ? running<torch::nn::InstanceNorm1d>(x, options)
                     : x.dim() == 4 ? running<torch::nn::InstanceNorm2d>(x, options)
                                    : running<torch::nn::InstanceNorm3d>(x, options);
    state.num_batches_tracked = count;
    return y;
  }

  Tensor rows(const Tensor& x) {
    if (o.kind == LayerKind::kLayer) return torch::layer_norm(x, o.trailing, gamma, beta, o.eps);
    std::vector<std::int64_t> axes;  // PyTorch has an RMSNorm since 2.4; this is its formula
    for (std::size_t a = 1; a <= o.trailing.size(); ++a) axes.push_back(-std::int64_t(a));
    const Tensor xhat = x * torch::rsqrt(x.square().mean(axes, true) + o.eps);
    return gamma.defined() ? xhat * gamma : xhat;
  }

  Tensor forward(const Tensor& x) {
    switch (o.kind) {
      case LayerKind::kBatch:
        return batch(x);
      case LayerKind::kInstance:
        return instance(x);
      case LayerKind::kGroup:
        return torch::group_norm(x, o.groups, gamma, beta, o.eps);
      default:
        return rows(x);
    }
  }
};

/// PyTorch's running variance divides by n - 1. `after` = (1 - m) * before + m * var, where var is to divide by n.
void make_biased(Values& after, const Values& before, double m, double n) {
  for (std::size_t c = 0; c < after.size(); ++c) {
    const double kept = (1 - m) * before[c];
    after[c] = kept + (after[c] - kept) * ((n - 1) / n);
  }
}

}  // namespace

TorchResult run_torch(const LayerOptions& options, TorchState& state, const std::vector<std::int64_t>& extents,
                      const Values& x_values, const Values& dy_values, bool training) try {
  at::set_num_threads(1);  // these tensors are small
  TorchState after = state;
  Pass pass{options, after, training, {}, {}};
  const bool rows = options.kind == LayerKind::kLayer || options.kind == LayerKind::kRms;
  const auto parameter = [&](const Values& of) {
    return (rows ? tensor(of, options.trailing) : tensor(of)).requires_grad_(true);
  };
  if (!state.gamma.empty()) pass.gamma = parameter(state.gamma);
  if (!state.beta.empty()) pass.beta = parameter(state.beta);
  // Channels are moved in copies of plain strides. Of a dy that looks like channels last beside an x that does not, the
  // BatchNorm of 1.13 gives wrong gradients; and its GroupNorm of channels last takes E[x^2] - mean^2.
  const auto move = [&](const Tensor& t, std::int64_t from, std::int64_t to) {
    return rows ? t : t.movedim(from, to).clone(torch::MemoryFormat::Contiguous);
  };
  const Tensor x = move(tensor(x_values, extents), options.channel_axis, 1).requires_grad_(true);
  const Tensor y = pass.forward(x);
  y.backward(move(tensor(dy_values, extents), options.channel_axis, 1));
  if (training && options.track && !options.unbiased && !x_values.empty()) {
    const double count = double(x.numel() / options.channels);
    make_biased(after.running_var, state.running_var,
                options.momentum ? *options.momentum : 1. / double(after.num_batches_tracked),
                options.kind == LayerKind::kBatch ? count : count / double(extents[0]));
  }
  state = after;
  const auto gradient = [](const Tensor& of) { return of.defined() ? values(of.grad()) : Values(); };
  return {values(move(y, 1, options.channel_axis)),
          values(move(x.grad(), 1, options.channel_axis)),
          gradient(pass.gamma),
          gradient(pass.beta),
          {}};
} catch (const std::exception& e) {
  return {{}, {}, {}, {}, e.what()};
}

}  // namespace tensornorm_test
