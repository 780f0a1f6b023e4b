// CentredLayer: a layer that takes the mean away and may shift; all but RMSNorm.
#pragma once

#include "tensornorm/layer.hpp"

namespace tensornorm {

template <class Derived, class Scalar>
class CentredLayer : public Layer<Derived, Scalar> {
 public:
  using typename Layer<Derived, Scalar>::Array;

  /// The learnable shift; of size 0 without affine.
  Array& beta() { return this->beta_; }
  const Array& beta() const { return this->beta_; }
  /// The gradient of beta from the last backward.
  Array& dbeta() { return this->dbeta_; }
  const Array& dbeta() const { return this->dbeta_; }
  /// The mean that the last forward took away.
  const Array& mean() const { return this->mean_; }

 protected:
  // `params` values of gamma (0: not affine), as many of beta if there is one.
  CentredLayer(double eps, Index params, bool bias) : Layer<Derived, Scalar>(eps, true, params, bias ? params : 0) {}
};

}  // namespace tensornorm
