// Included by one file of a program that defines TENSORNORM_EXTERN for all: see passes.hpp.
#pragma once

#include "tensornorm/passes.hpp"
#include "tensornorm/whitening_passes.hpp"

namespace tensornorm {
namespace core {

TENSORNORM_FOR_EACH_SCALAR(TENSORNORM_PASSES_OF, template);

TENSORNORM_WHITENING_PASSES(template);
TENSORNORM_FOR_EACH_SCALAR(TENSORNORM_WHITENING_PASSES_OF, template);

}  // namespace core
}  // namespace tensornorm
