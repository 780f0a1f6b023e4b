// The passes; a program of many files may compile them once.
//
// Define TENSORNORM_EXTERN for all of its files (-DTENSORNORM_EXTERN): they leave the passes of every scalar to the one
// that includes tensornorm/instantiate.hpp, and compile in half the time.
#pragma once

#include "tensornorm/requirements.hpp"

#include "tensornorm/core/pass/backward_apart.hpp"
#include "tensornorm/core/pass/forward.hpp"

// NOLINTBEGIN(bugprone-macro-parentheses): `declaration` is keywords
#define TENSORNORM_PASSES_OF(Scalar, declaration)                \
  declaration void Forward<Scalar>::run(const Runner&, double*); \
  declaration void BackwardPass<Scalar>::run(const Runner&, double*) const
// NOLINTEND(bugprone-macro-parentheses)

#ifdef TENSORNORM_EXTERN
namespace tensornorm {
namespace core {

TENSORNORM_FOR_EACH_SCALAR(TENSORNORM_PASSES_OF, extern template);

}  // namespace core
}  // namespace tensornorm
#endif
