// What a call has of parameters and given statistics, in the memory of a layer or of its caller.
#pragma once

namespace tensornorm {
namespace core {

template <class T>
struct Parameters {
  const T *gamma = nullptr, *beta = nullptr;  // null: 1 and 0; no beta without gamma
  double eps = 0;
  bool centred = true;   // false: the mean is taken to be 0
  bool is_unit = false;  // the sum of squares, eps at least, takes the place of their mean and eps
  const T *frozen_mean = nullptr, *frozen_var = nullptr;  // statistics given, not taken from x
  const T* frozen_scale = nullptr;                        // -rstd * gamma by channel, where it is known

  bool is_affine() const { return gamma != nullptr; }
  bool is_frozen() const { return frozen_mean != nullptr; }
};

// Statistics that another pass of the same x found, one value each, in the layer's order (Axis::stat); null: they are
// to be found.
template <class T>
struct FoundStatistics {
  const T *hi = nullptr, *lo = nullptr, *rstd = nullptr;
};

// Null: not wanted.
template <class T>
struct ParameterGradients {
  T *dgamma = nullptr, *dbeta = nullptr;
};

}  // namespace core
}  // namespace tensornorm
