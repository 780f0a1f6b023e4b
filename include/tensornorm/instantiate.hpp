// Included by one file of a program that defines TENSORNORM_EXTERN for all: see passes.hpp.
#pragma once

#include "tensornorm/passes.hpp"
#include "tensornorm/whitening_passes.hpp"

namespace tensornorm {
namespace core {

TENSORNORM_PASSES_OF(float, template);
TENSORNORM_PASSES_OF(double, template);
TENSORNORM_PASSES_OF(Eigen::half, template);
TENSORNORM_PASSES_OF(Eigen::bfloat16, template);

TENSORNORM_WHITENING_PASSES(template);
TENSORNORM_WHITENING_PASSES_OF(float, template);
TENSORNORM_WHITENING_PASSES_OF(double, template);
TENSORNORM_WHITENING_PASSES_OF(Eigen::half, template);
TENSORNORM_WHITENING_PASSES_OF(Eigen::bfloat16, template);

}  // namespace core
}  // namespace tensornorm
