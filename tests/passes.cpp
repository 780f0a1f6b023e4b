#define TENSORNORM_INSTANTIATE
#include "tensornorm/passes.hpp"
