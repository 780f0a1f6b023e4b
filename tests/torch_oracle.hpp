// PyTorch as a peer: its modules in double, and its autograd. Plain C++, so that only torch_oracle.cpp includes
// libtorch.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace tensornorm_test {

enum class LayerKind { kBatch, kInstance, kGroup, kLayer, kRms };

/// What a layer of either library is made from; each kind reads what it has.
struct LayerOptions {
  LayerKind kind = LayerKind::kBatch;
  std::int64_t channels = 0, groups = 0;
  int channel_axis = 1;
  std::vector<std::int64_t> trailing;
  double eps = 1e-5;
  bool affine = true, bias = true;
  std::optional<double> momentum = 0.1;
  bool track = true, unbiased = true;
};

struct TorchState {
  std::vector<double> gamma, beta, running_mean, running_var;
  std::int64_t num_batches_tracked = 0;
};

/// Tensors are row-major over the logical axes. `refusal` is PyTorch's message where it threw; then the rest is empty.
struct TorchResult {
  std::vector<double> y, dx, dgamma, dbeta;
  std::string refusal;
};

/// One forward and backward of a module with this state, which training moves.
TorchResult run_torch(const LayerOptions& options, TorchState& state, const std::vector<std::int64_t>& extents,
                      const std::vector<double>& x, const std::vector<double>& dy, bool training);

}  // namespace tensornorm_test
