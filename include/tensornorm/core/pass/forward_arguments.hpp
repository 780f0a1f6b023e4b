// What a forward pass is given.
#pragma once

#include "tensornorm/core/kernel/packet.hpp"
#include "tensornorm/core/pass/parameters.hpp"

namespace tensornorm {
namespace core {

// Arrays of one value per statistic, in the layer's order (Axis::stat); a null one is not wanted.
template <class T>
struct SavedStatistics {
  T *hi = nullptr, *lo = nullptr, *rstd = nullptr;
  double* m2 = nullptr;  // sums of squared deviations
};

template <class Scalar>
struct ForwardArguments : Parameters<ParamOf<Scalar>> {
  const Scalar* x;
  Scalar* y;  // x itself, or disjoint from it
  SavedStatistics<ParamOf<Scalar>> saved;
};

}  // namespace core
}  // namespace tensornorm
