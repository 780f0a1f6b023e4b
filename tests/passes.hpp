// Included in front of every test: the passes of each scalar type are compiled once, in passes.cpp, not in every test
// again. That halves the time to build the tests, and more under the sanitizers.
#pragma once

#include "tensornorm/core/backward_across.hpp"
#include "tensornorm/core/forward.hpp"

#ifndef TENSORNORM_TEST_PASSES
#define TENSORNORM_TEST_PASSES extern template
#endif

#define TENSORNORM_TEST_PASSES_OF(Scalar)                                \
  TENSORNORM_TEST_PASSES void Forward<Scalar>::run(const Runner&) const; \
  TENSORNORM_TEST_PASSES void BackwardPass<Scalar>::run(const Runner&, double*) const

namespace tensornorm::core {
TENSORNORM_TEST_PASSES_OF(float);
TENSORNORM_TEST_PASSES_OF(double);
TENSORNORM_TEST_PASSES_OF(Eigen::half);
TENSORNORM_TEST_PASSES_OF(Eigen::bfloat16);
}  // namespace tensornorm::core
