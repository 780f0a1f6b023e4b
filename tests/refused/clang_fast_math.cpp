// expect: tensornorm is wrong under -ffast-math by this clang
#include <cstdint>
#include <cstring>
#undef __clang__
#undef __clang_major__
#undef __FAST_MATH__
#define __clang__ 1
#define __clang_major__ 17
#define __FAST_MATH__ 1
#include <tensornorm/rms_norm.hpp>
