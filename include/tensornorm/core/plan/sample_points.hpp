// SamplePoints: where the mean of a bin is estimated.
#pragma once

#include "tensornorm/core/plan/axis.hpp"

namespace tensornorm {
namespace core {

// Offsets from a bin's first element.
struct SamplePoints {
  static constexpr int kMost = 32;
  Index offsets[kMost];
  int count = 0;
};

}  // namespace core
}  // namespace tensornorm
