// Bodies of layer_state.hpp.
#pragma once

#include "tensornorm/core/pass/layer_state.hpp"

namespace tensornorm {
namespace core {

template <class Scalar, unsigned settings>
LayerState<Scalar, settings>::LayerState(double eps, Index gamma_size, Index beta_size)
    : gamma_(Array::Ones(gamma_size)), dgamma_(Array::Zero(gamma_size)), beta_(Array::Zero(beta_size)),
      dbeta_(Array::Zero(beta_size)), gamma_size_(gamma_size), beta_size_(beta_size), eps_(eps) {
  check_eps(eps);
}

template <class Scalar, unsigned settings>
void LayerState<Scalar, settings>::check_affine() const {
  check_size(gamma_, gamma_size_, "gamma");
  check_size(beta_, beta_size_, "beta");
  check_size(dgamma_, gamma_size_, "dgamma");
  check_size(dbeta_, beta_size_, "dbeta");
}

}  // namespace core
}  // namespace tensornorm
