// The types of a tensor's elements, and of what belongs to them.
#pragma once

#include <Eigen/Core>
#include <type_traits>

namespace tensornorm {

/// The type of parameters and statistics: double for double tensors, float for float and 16-bit ones.
template <class Scalar>
using ParamOf = std::conditional_t<std::is_same<Scalar, double>::value, double, float>;

namespace core {

// Whether elements of a tensor may have the type.
template <class Scalar>
constexpr bool kIsScalar = std::is_same<Scalar, float>::value || std::is_same<Scalar, double>::value ||
                           std::is_same<Scalar, Eigen::half>::value || std::is_same<Scalar, Eigen::bfloat16>::value;

}  // namespace core

}  // namespace tensornorm
