// LayerState: the parameters of a layer and its mode.
#pragma once

#include <Eigen/Core>

#include "tensornorm/core/check.hpp"
#include "tensornorm/core/compiled.hpp"
#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/pass/parameters.hpp"
#include "tensornorm/core/scalar.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

template <class Scalar_, unsigned settings = kSettings>
class LayerState {
 public:
  /// The type of the elements of x and y: float, double, Eigen::half or Eigen::bfloat16.
  using Scalar = Scalar_;
  /// The type of parameters, and of the statistics of all layers but Whitening.
  using Param = ParamOf<Scalar>;
  /// The type of an array of parameters or statistics.
  using Array = Eigen::Array<Param, Eigen::Dynamic, 1>;

  /// Sets train mode, the default: the statistics of x are used, and move the running statistics.
  void train() { set_training(true); }
  /// Sets eval mode: the running statistics are used if there are any, else the statistics of x.
  void eval() { set_training(false); }
  /// Whether the mode is train mode.
  bool training() const { return training_; }

  /// The learnable scale. Empty without affine. It can be assigned: to load a model, or by an optimizer.
  Array& gamma() { return gamma_; }
  const Array& gamma() const { return gamma_; }
  /// The gradient of gamma, of the last backward; 0 before. Empty without affine.
  Array& dgamma() { return dgamma_; }
  const Array& dgamma() const { return dgamma_; }

  /// Whether backward adds to dgamma() and dbeta(), for a step on several batches; by default it overwrites them.
  void accumulate_gradients(bool accumulates) { accumulates_ = accumulates; }
  /// Sets dgamma() and dbeta() to 0.
  void zero_grad() {
    dgamma_.setZero();
    dbeta_.setZero();
  }
  /// Whether backward computes no dgamma() and dbeta(): they keep their values, which zero_grad() sets to 0.
  /// freeze(false) is the opposite. Statistics move as before; eval() is what stops them.
  void freeze(bool is_frozen = true) { is_frozen_ = is_frozen; }

 protected:
  __attribute__((cold)) LayerState(double eps, Index gamma_size, Index beta_size);

  // Another number of parameters. What was assigned before stays, and the next call says so if its size is wrong.
  void set_parameter_count(Index gamma_size, Index beta_size);

  // Where backward is to write dgamma and dbeta; null where they are not wanted.
  ParameterGradients<Param> gradients_wanted();
  // Afterwards: adds what was written to what was there, where that is wanted.
  void finish_gradients();

  /// The learnable shift. Empty without affine. It can be assigned, as gamma().
  Array& beta() { return beta_; }
  const Array& beta() const { return beta_; }
  /// The gradient of beta, of the last backward; 0 before. Empty without affine.
  Array& dbeta() { return dbeta_; }
  const Array& dbeta() const { return dbeta_; }

  template <class Values>
  static void check_size(const Values& values, Index size, const char* name) {
    check_that(values.size() == size, name, " has ", values.size(), " values but the layer needs ", size);
  }
  void check_affine() const;

  Array gamma_, dgamma_, beta_, dbeta_;
  Index gamma_size_, beta_size_;
  double eps_;
  bool training_ = true, accumulates_ = false, is_frozen_ = false;

 private:
  void set_training(bool training) { training_ = training; }

  Array added_dgamma_, added_dbeta_;  // of one backward
};

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END

#ifndef TENSORNORM_COMPILED
#include "tensornorm/core/pass/layer_state-inl.hpp"
#endif
