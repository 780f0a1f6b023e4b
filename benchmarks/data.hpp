// Data: the operands of a cell in memory of their own.
#pragma once

#include <cstdlib>
#include <memory>

#include "contender.hpp"

namespace bench {

/// Memory that begins `shift` bytes behind a cache line's start, touched, so that nobody pays for page faults later.
class Memory {
 public:
  explicit Memory(std::size_t bytes, std::size_t shift = 0);
  void* data() const { return static_cast<char*>(data_.get()) + shift_; }

 private:
  std::unique_ptr<void, decltype(&std::free)> data_;
  std::size_t shift_;
};

/// x is normal about a mean, with standard deviation 1; gamma is around 1 and beta around 0, or exactly so.
struct Distribution {
  double mean = 0.5;
  bool affine = true;
};

/// Operands of a cell: dy is normal, the running statistics are near those of x. The tensors begin `shift` bytes behind
/// a cache line's start.
class Data {
 public:
  explicit Data(const Cell& cell, const Distribution& distribution = {}, std::size_t shift = 0);
  Operands operands() const;

 private:
  Memory x_, dy_, y_, gamma_, beta_, running_mean_, running_var_;
};

}  // namespace bench
