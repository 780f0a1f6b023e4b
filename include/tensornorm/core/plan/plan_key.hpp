// PlanKey: what a plan is looked for by.
#pragma once

#include "tensornorm/core/plan/shape.hpp"

namespace tensornorm {
namespace core {

// What a plan depends on: the shape of x, which outlives this, and whether statistics are the batch's or frozen.
struct PlanKey {
  const Shape& shape;
  bool batch;
};

}  // namespace core
}  // namespace tensornorm
