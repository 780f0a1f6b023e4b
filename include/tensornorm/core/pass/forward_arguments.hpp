// What a forward pass is given.
#pragma once

#include "tensornorm/core/kernel/packet.hpp"

namespace tensornorm {
namespace core {

// Arrays of one value per statistic, in the layer's order (Axis::stat); a null one is not wanted.
template <class T>
struct SavedStatistics {
  T *hi = nullptr, *lo = nullptr, *rstd = nullptr;
  double* m2 = nullptr;  // sums of squared deviations
};

template <class Scalar>
struct ForwardArguments {
  using T = ParamOf<Scalar>;
  const Scalar* x;
  Scalar* y;  // x itself, or disjoint from it
  const T *gamma = nullptr, *beta = nullptr;
  double eps = 0;
  bool centred = true;                                    // false: the mean is taken to be 0
  const T *frozen_mean = nullptr, *frozen_var = nullptr;  // statistics given, not taken from x
  const T* frozen_scale = nullptr;                        // -rstd * gamma by channel, where it is known
  SavedStatistics<T> saved;

  bool is_frozen() const { return frozen_mean != nullptr; }
};

}  // namespace core
}  // namespace tensornorm
