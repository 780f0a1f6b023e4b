// Memory for the copies that a call makes of tensors.
#pragma once

#include <array>
#include <memory>

#include "tensornorm/core/memory.hpp"

namespace tensornorm {
namespace core {

// A few arrays, handed out one after the other and kept for the next call. A copy of this starts empty, and an
// assignment keeps the target's own.
template <class Scalar>
class CopyMemory {
 public:
  CopyMemory() = default;
  // The first arrays come from a workspace, which outlives this, as long as they fit.
  explicit CopyMemory(const Workspace& first)
      : first_(reinterpret_cast<Scalar*>(first.memory)),
        first_size_(first.doubles * static_cast<Index>(sizeof(double) / sizeof(Scalar))) {}
  CopyMemory(const CopyMemory&) : CopyMemory() {}
  CopyMemory(CopyMemory&&) noexcept = default;
  CopyMemory& operator=(const CopyMemory& other) {
    if (this != &other) restart();
    return *this;
  }
  CopyMemory& operator=(CopyMemory&&) noexcept = default;
  ~CopyMemory() = default;

  // The arrays are free again.
  void restart() {
    if (kept_ != nullptr) kept_->used = 0;
  }

  // An array, not initialized. Throws std::bad_alloc. @pre at most five calls since the last restart need more than the
  // workspace has
  Scalar* take(Index n) {
    if (n <= first_size_) {
      Scalar* const array = first_;
      first_ += n;
      first_size_ -= n;
      return array;
    }
    if (kept_ == nullptr) kept_ = std::make_unique<Kept>();
    Array& array = kept_->arrays[static_cast<std::size_t>(kept_->used)];
    if (array.size < n) {
      array = Array();
      array.values.reset(new Scalar[static_cast<std::size_t>(n)]);  // not make_unique, which would write all of it
      array.size = n;
    }
    ++kept_->used;
    return array.values.get();
  }

 private:
  struct Array {
    std::unique_ptr<Scalar[]> values;
    Index size = 0;
  };
  struct Kept {
    std::array<Array, 5> arrays;  // the most that a call takes: x and r, their sum, y and z
    int used = 0;
  };

  Scalar* first_ = nullptr;
  Index first_size_ = 0;
  std::unique_ptr<Kept> kept_;  // apart: most layers need none
};

}  // namespace core
}  // namespace tensornorm
