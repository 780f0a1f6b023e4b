// What a program that includes tensornorm must be compiled with. Every header for programs reaches this one first, and
// one error says what to change. The last lines include a file that does not exist: unlike #error, that ends the
// compilation at once.
#pragma once

/// @defgroup macros Macros
/// Macros that a program may define before the first include, and the version of the library.

#include "tensornorm/core/ieee_math.hpp"

#if defined(_MSC_VER) && !defined(__clang__)
#define TENSORNORM_REFUSED
#error "tensornorm does not compile with cl.exe, which has no vector types: use clang-cl, or GCC or clang of MinGW-w64"
#elif __cplusplus < 201703L && !(defined(_MSVC_LANG) && _MSVC_LANG >= 201703L)
#define TENSORNORM_REFUSED
#error "tensornorm needs C++17: compile with -std=c++17 or newer (clang-cl: /std:c++17)"
#elif defined(__GNUC__) && !defined(__clang__) && __GNUC__ < 12
#define TENSORNORM_REFUSED
#error "tensornorm needs GCC 12 or newer, or clang: older ones have no __builtin_shufflevector"
#elif defined(TENSORNORM_FAST_MATH) && defined(__clang__) && \
    (__clang_major__ > 16 || defined(__apple_build_version__) || !defined(__x86_64__))
#define TENSORNORM_REFUSED
// Clang 17 takes arguments for numbers that are not NaN or infinite, whatever the function; clang before 19 lets no
// function of other processors keep IEEE arithmetic.
#error "tensornorm is wrong under -ffast-math by this clang (14 to 16 for x86-64 are right): add -fno-fast-math"
#else
#include <Eigen/Core>
#if !EIGEN_VERSION_AT_LEAST(3, 4, 0)
#define TENSORNORM_REFUSED
#error "tensornorm needs Eigen 3.4 or newer, and finds an older one first: put -I and a newer one's folder before it"
#endif
#endif

#ifdef TENSORNORM_REFUSED
#include "tensornorm: see the error above"
#endif
