// What a program that includes tensornorm must be compiled with. Every header for programs reaches this one first, and
// one error says what to change. The last lines include a file that does not exist: unlike #error, that ends the
// compilation at once.
#pragma once

/// @defgroup macros Macros
/// Macros that a program may define before the first include, and the version of the library.

/// @def TENSORNORM_ALLOW_FAST_MATH
/// @ingroup macros
/// Defined by a program that is compiled with -ffast-math, -Ofast, -ffinite-math-only or -fassociative-math: compiles
/// anyway. Tests for NaN and infinity then vanish, and sums lose digits.

#if defined(_MSC_VER) && !defined(__clang__)
#define TENSORNORM_REFUSED
#error "tensornorm does not compile with cl.exe, which has no vector types: use clang-cl, or GCC or clang of MinGW-w64"
#elif __cplusplus < 201703L && !(defined(_MSVC_LANG) && _MSVC_LANG >= 201703L)
#define TENSORNORM_REFUSED
#error "tensornorm needs C++17: compile with -std=c++17 or newer (clang-cl: /std:c++17)"
#elif defined(__GNUC__) && !defined(__clang__) && __GNUC__ < 12
#define TENSORNORM_REFUSED
#error "tensornorm needs GCC 12 or newer, or clang: older ones have no __builtin_shufflevector"
#elif !defined(TENSORNORM_ALLOW_FAST_MATH) && \
    (defined(__FAST_MATH__) || defined(__ASSOCIATIVE_MATH__) || (__FINITE_MATH_ONLY__ + 0) > 0)
#define TENSORNORM_REFUSED
// Tests for NaN and infinity vanish, so that infinite gradients pass for finite ones, and so do corrections of what
// rounding lost.
#error "tensornorm is wrong under -ffast-math and -Ofast: add -fno-fast-math (or -DTENSORNORM_ALLOW_FAST_MATH: I know)"
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
