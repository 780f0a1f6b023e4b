// Bodies of layer_state.hpp.
#pragma once

#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/pass/layer_state.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

template <class Scalar, unsigned settings>
LayerState<Scalar, settings>::LayerState(double eps, Index gamma_size, Index beta_size)
    : gamma_(Array::Ones(gamma_size)), dgamma_(Array::Zero(gamma_size)), beta_(Array::Zero(beta_size)),
      dbeta_(Array::Zero(beta_size)), gamma_size_(gamma_size), beta_size_(beta_size), eps_(eps) {
  check_eps(eps);
}

template <class Scalar, unsigned settings>
void LayerState<Scalar, settings>::set_parameter_count(Index gamma_size, Index beta_size) {
  if (gamma_.size() == 0) gamma_ = Array::Ones(gamma_size);
  if (beta_.size() == 0) beta_ = Array::Zero(beta_size);
  dgamma_ = Array::Zero(gamma_size);
  dbeta_ = Array::Zero(beta_size);
  gamma_size_ = gamma_size;
  beta_size_ = beta_size;
}

template <class Scalar, unsigned settings>
auto LayerState<Scalar, settings>::gradients_wanted() -> ParameterGradients<Param> {
  if (is_frozen_) return {};
  if (accumulates_) {
    added_dgamma_.resize(gamma_size_);
    added_dbeta_.resize(beta_size_);
  }
  Array &dgamma = accumulates_ ? added_dgamma_ : dgamma_, &dbeta = accumulates_ ? added_dbeta_ : dbeta_;
  return {gamma_size_ > 0 ? dgamma.data() : nullptr, beta_size_ > 0 ? dbeta.data() : nullptr};
}

template <class Scalar, unsigned settings>
void LayerState<Scalar, settings>::finish_gradients() {
  if (is_frozen_ || !accumulates_) return;
  dgamma_ += added_dgamma_;
  dbeta_ += added_dbeta_;
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
TENSORNORM_IEEE_MATH_END
