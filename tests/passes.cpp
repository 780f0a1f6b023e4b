#define TENSORNORM_TEST_PASSES template
#include "passes.hpp"
