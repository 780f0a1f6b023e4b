// expect: tensornorm needs GCC 12
#undef __clang__
#undef __GNUC__
#define __GNUC__ 11
#include <tensornorm/rms_norm.hpp>
