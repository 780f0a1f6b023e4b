// The passes of whitening; a program of many files may compile them once, see passes.hpp.
#pragma once

#include "tensornorm/requirements.hpp"

#include "tensornorm/core/whitening/running_whitening.hpp"
#include "tensornorm/core/whitening/whiten.hpp"

// NOLINTBEGIN(bugprone-macro-parentheses): `declaration` is keywords
#define TENSORNORM_WHITENING_PASSES(declaration)                                                                       \
  declaration struct GroupWhitening<double>;                                                                           \
  declaration WhiteningGradients whitening_gradients(const GroupWhitening<double>&, const WhiteningStatistics&, Index, \
                                                     const Eigen::ArrayXd&, const Matrix&, const Vector&, bool)
#define TENSORNORM_WHITENING_PASSES_OF(Scalar, declaration)                                                            \
  declaration void Covariance<Scalar>::run(const Runner&, double*, Eigen::ArrayXd&, Eigen::ArrayXd&, Matrix&) const;   \
  declaration void GradientSums<Scalar>::run(const Runner&, double*, Eigen::ArrayXd&, Matrix&) const;                  \
  declaration void whiten(const Runner&, const ChannelMatrix&, double*, const Scalar*, Scalar*, const SplitMean&,      \
                          const ConstMatrix&, const Affine<ParamOf<Scalar>>&);                                         \
  declaration void color(const Runner&, const ChannelMatrix&, double*, const Scalar*, Scalar*, const Eigen::ArrayXd&,  \
                         const ConstMatrix&, const Affine<ParamOf<Scalar>>&);                                          \
  declaration void input_gradient(const Runner&, const ChannelMatrix&, double*, const Scalar*, const Scalar*, Scalar*, \
                                  const SplitMean&, const WhiteningGradients&)
// NOLINTEND(bugprone-macro-parentheses)

#ifdef TENSORNORM_EXTERN
namespace tensornorm {
namespace core {

TENSORNORM_WHITENING_PASSES(extern template);
TENSORNORM_FOR_EACH_SCALAR(TENSORNORM_WHITENING_PASSES_OF, extern template);

}  // namespace core
}  // namespace tensornorm
#endif
