// expect: tensornorm needs C\+\+17
// flags: -std=c++14
#include <tensornorm/layer_norm.hpp>
