// The scalars of cells as types.
#pragma once

#include <Eigen/Core>
#include <type_traits>

#include "cell.hpp"

namespace bench {

template <class Real = double, class T>
Real to_real(T value) {
  if constexpr (sizeof(T) == 2) {
    return static_cast<Real>(static_cast<float>(value));
  } else {
    return static_cast<Real>(value);
  }
}

/// use(T()) for the scalar's type.
template <class Use>
auto with_type(Scalar scalar, const Use& use) {
  switch (scalar) {
    case Scalar::kDouble:
      return use(double{});
    case Scalar::kHalf:
      return use(Eigen::half{});
    case Scalar::kBfloat16:
      return use(Eigen::bfloat16{});
    default:
      return use(float{});
  }
}

inline Scalar param_of(Scalar scalar) { return scalar == Scalar::kDouble ? Scalar::kDouble : Scalar::kFloat; }

template <class T>
using ParamOf = std::conditional_t<std::is_same_v<T, double>, double, float>;

}  // namespace bench
