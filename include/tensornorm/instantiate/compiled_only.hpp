// The headers in this folder hold the code that the others leave out where TENSORNORM_COMPILED is defined.
#pragma once

#ifndef TENSORNORM_COMPILED
#error "tensornorm/instantiate/ is for programs that define TENSORNORM_COMPILED, for all of their files"
#endif

#include "tensornorm/requirements.hpp"
