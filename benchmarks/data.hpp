// Data: the operands of a cell in memory of their own.
#pragma once

#include <cstdlib>
#include <memory>

#include "contender.hpp"

namespace bench {

/// Memory on a cache line's boundary, touched, so that nobody pays for page faults later.
class Memory {
 public:
  explicit Memory(std::size_t bytes);
  void* data() const { return data_.get(); }

 private:
  std::unique_ptr<void, decltype(&std::free)> data_;
};

/// Normal x and dy, gamma around 1, beta around 0, running statistics near those of x.
class Data {
 public:
  explicit Data(const Cell& cell);
  Operands operands() const;

 private:
  Memory x_, dy_, y_, gamma_, beta_, running_mean_, running_var_;
};

/// Element i of an array of the scalar, as double.
double value_at(const void* array, Scalar scalar, Index i);

/// The largest difference between a result and plain loops in double, in units of what rounding to the scalar explains:
/// at most 1 where both agree.
double disagreement(const Cell& cell, const Operands& operands, const void* result);

}  // namespace bench
