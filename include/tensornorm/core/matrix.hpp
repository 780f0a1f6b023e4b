// Whitening's matrices.
#pragma once

#include <Eigen/Core>

namespace tensornorm {
namespace core {

// But for those that are a user's too: in this order whatever Eigen's default is.
template <class Real>
using MatrixOf = Eigen::Matrix<Real, Eigen::Dynamic, Eigen::Dynamic, Eigen::ColMajor>;
template <class Real>
using VectorOf = Eigen::Matrix<Real, Eigen::Dynamic, 1>;
using Matrix = MatrixOf<double>;
using Vector = VectorOf<double>;

}  // namespace core
}  // namespace tensornorm
