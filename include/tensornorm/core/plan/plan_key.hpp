// PlanKey: what a plan is looked for by.
#pragma once

#include "tensornorm/core/plan/shape.hpp"

namespace tensornorm {
namespace core {

// What a plan depends on: the shape of x, and whether statistics are the batch's or frozen; and the shapes of the
// pass's other tensors (Axis::y, Axis::z), null where they lie as x does. All outlive this.
struct PlanKey {
  const Shape& shape;
  bool batch;
  const Shape *y = nullptr, *z = nullptr;

  static const Shape* unless_same(const Shape& x, const Shape& other) { return x == other ? nullptr : &other; }
};

// A key and its shapes.
struct KeptPlanKey {
  Shape shape, y, z;
  bool batch = false, has_y = false, has_z = false;

  void set(const PlanKey& key) {
    shape = key.shape;
    batch = key.batch;
    has_y = key.y != nullptr;
    has_z = key.z != nullptr;
    if (has_y) y = *key.y;
    if (has_z) z = *key.z;
  }
  bool is_of(const PlanKey& key) const {
    const bool is_alike = has_y == (key.y != nullptr) && has_z == (key.z != nullptr) && batch == key.batch;
    return is_alike && shape == key.shape && (!has_y || y == *key.y) && (!has_z || z == *key.z);
  }
};

}  // namespace core
}  // namespace tensornorm
