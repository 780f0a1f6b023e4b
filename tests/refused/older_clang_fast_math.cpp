// expect: tensornorm is wrong under -ffast-math on this processor
#include <cstdint>
#include <cstring>
#undef __x86_64__
#undef __clang__
#undef __clang_major__
#undef __FAST_MATH__
#define __clang__ 1
#define __clang_major__ 18
#define __FAST_MATH__ 1
#include <tensornorm/rms_norm.hpp>
