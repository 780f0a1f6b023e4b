#pragma once

// CMakeLists.txt reads the version from the three definitions.

/// @ingroup macros
/// The first number of the version.
#define TENSORNORM_VERSION_MAJOR 0
/// @ingroup macros
/// The second number of the version.
#define TENSORNORM_VERSION_MINOR 1
/// @ingroup macros
/// The third number of the version.
#define TENSORNORM_VERSION_PATCH 0
