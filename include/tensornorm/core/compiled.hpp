// What is compiled where.
//
// A file *-inl.hpp holds bodies in which no type of a program's appears. Header-only, the default, each header includes
// its own, and every file of a program compiles the bodies that it uses. With TENSORNORM_COMPILED defined for all files
// of a program they compile none: the files of tensornorm/instantiate/ hold them.
#pragma once

/// @def TENSORNORM_COMPILED
/// @ingroup macros
/// Defined for all files of a program: they leave the passes to other files, and compile in a fraction of the time.
///
/// With CMake, link tensornorm::compiled: a library that holds the passes and defines this macro. Otherwise one file of
/// the program includes tensornorm/instantiate.hpp, which also says how to compile fewer scalars.

#ifdef TENSORNORM_COMPILED
#define TENSORNORM_BODY
#else
#define TENSORNORM_BODY inline
#endif

#include <Eigen/Core>

namespace tensornorm {
namespace core {

// What of a file's flags decides how Eigen's arrays lie in a layer, how they are allocated, and how errors leave a
// call: part of the names of what is compiled once. Files of other flags than the library's then fail to link, and do
// not go wrong when they run.
constexpr unsigned kSettings = EIGEN_DEFAULT_ALIGN_BYTES
#ifdef EIGEN_DEFAULT_TO_ROW_MAJOR
                               + 1
#endif
#ifdef __cpp_exceptions
                               + 2
#endif
    ;

}  // namespace core
}  // namespace tensornorm
