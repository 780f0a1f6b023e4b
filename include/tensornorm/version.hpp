#pragma once

// CMakeLists.txt reads the version from these three lines.
#define TENSORNORM_VERSION_MAJOR 0
#define TENSORNORM_VERSION_MINOR 1
#define TENSORNORM_VERSION_PATCH 0
