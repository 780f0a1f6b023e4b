// expect: tensornorm needs Eigen 3\.4
#include <Eigen/Core>
#undef EIGEN_VERSION_AT_LEAST
#define EIGEN_VERSION_AT_LEAST(world, major, minor) 0
#include <tensornorm/rms_norm.hpp>
