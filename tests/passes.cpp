#include "tensornorm/instantiate.hpp"
