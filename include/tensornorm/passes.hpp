// The passes of every scalar, compiled once for a whole program. Optional: a program of many files that use layers
// builds faster so.
//
// Define TENSORNORM_EXTERN for all of its files (-DTENSORNORM_EXTERN): they leave the passes to the one file that says
//
//   #define TENSORNORM_INSTANTIATE
//   #include <tensornorm/passes.hpp>
#pragma once

#include "tensornorm/core/backward_across.hpp"
#include "tensornorm/core/forward.hpp"

#if defined(TENSORNORM_INSTANTIATE) || defined(TENSORNORM_EXTERN)

#ifdef TENSORNORM_INSTANTIATE
#define TENSORNORM_PASSES template
#else
#define TENSORNORM_PASSES extern template
#endif
#define TENSORNORM_PASSES_OF(Scalar)                                \
  TENSORNORM_PASSES void Forward<Scalar>::run(const Runner&) const; \
  TENSORNORM_PASSES void BackwardPass<Scalar>::run(const Runner&, double*) const

namespace tensornorm {
namespace core {

TENSORNORM_PASSES_OF(float);
TENSORNORM_PASSES_OF(double);
TENSORNORM_PASSES_OF(Eigen::half);
TENSORNORM_PASSES_OF(Eigen::bfloat16);

}  // namespace core
}  // namespace tensornorm

#undef TENSORNORM_PASSES_OF
#undef TENSORNORM_PASSES

#endif
