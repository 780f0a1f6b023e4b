// Compiled by one file of a program that defines TENSORNORM_COMPILED for all: what belongs to no scalar.
#pragma once

#include "tensornorm/instantiate/compiled_only.hpp"

#include "tensornorm/core/check-inl.hpp"
#include "tensornorm/core/clip/gradient-inl.hpp"
#include "tensornorm/core/pass/function_axes-inl.hpp"
#include "tensornorm/core/pass/pass_record-inl.hpp"
#include "tensornorm/core/pass/ranks-inl.hpp"
#include "tensornorm/core/plan/plan_cache-inl.hpp"
#include "tensornorm/core/whitening/whitening_ranks-inl.hpp"

namespace tensornorm {
namespace core {
template class Ranks<float>;
template class Ranks<double>;
}  // namespace core
}  // namespace tensornorm
