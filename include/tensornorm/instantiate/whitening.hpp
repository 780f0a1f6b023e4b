// TENSORNORM_INSTANTIATE_WHITENING(Scalar); compiles the passes of Whitening for a scalar, besides its layers.
#pragma once

#include "tensornorm/instantiate/compiled_only.hpp"

#include "tensornorm/core/whitening/whitening_engine-inl.hpp"

// The members that a program's files call; what those call follows.
#define TENSORNORM_INSTANTIATE_WHITENING(Scalar)                                                                       \
  namespace tensornorm {                                                                                               \
  namespace core {                                                                                                     \
  template WhiteningEngine<Scalar>::WhiteningEngine(Index, const WhiteningOptions&);                                   \
  template void WhiteningEngine<Scalar>::run_forward(const Runner&, const Scalar*, const Shape&, Target<Scalar>&,      \
                                                     const WhiteningRankCall*);                                        \
  template void WhiteningEngine<Scalar>::run_check(const Shape&) const;                                                \
  template void WhiteningEngine<Scalar>::run_infer(const Runner&, const Scalar*, const Shape&, Target<Scalar>&) const; \
  template void WhiteningEngine<Scalar>::run_backward(const Runner&, const Scalar*, const Shape&,                      \
                                                      const OutputGradient<Scalar>&, Target<Scalar>*,                  \
                                                      const WhiteningRankCall*);                                       \
  template void WhiteningEngine<Scalar>::run_fit(const Runner&, const Scalar*, const Shape&);                          \
  template void WhiteningEngine<Scalar>::run_inverse(const Runner&, const Scalar*, const Shape&,                       \
                                                     Target<Scalar>&) const;                                           \
  }                                                                                                                    \
  }                                                                                                                    \
  static_assert(true, "")
