// Where a pass lays out its arrays: the workspace of a layer, or a few KB of the stack.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "tensornorm/core/plan/axis.hpp"

namespace tensornorm {
namespace core {

constexpr Index kCacheLine = 64;  // bytes of a cache line

// Hands out arrays from a piece of memory, one after the other. A copy of an arena hands out the same memory again.
class Arena {
 public:
  Arena() = default;
  // Arrays begin `in_line` bytes behind the start of a line: a multiple of 8, as arrays of double must be aligned.
  explicit Arena(void* memory, Index in_line = 0) : next_(static_cast<unsigned char*>(memory)) {
    const Index found = static_cast<Index>(reinterpret_cast<std::uintptr_t>(next_) % kCacheLine);
    next_ += (in_line - found + kCacheLine) % kCacheLine;
  }

  // Bytes of an array, which is whole lines long. A long one has some lines more, so that the same places of two arrays
  // lie in different sets of the first-level cache, and none is taken for a place in another that was just written:
  // processors compare the lowest twelve bits of an address first.
  template <class T>
  static constexpr Index bytes(Index n) {
    const Index size = (n + kTogether - 1) / kTogether * kTogether * static_cast<Index>(sizeof(T));
    return size < kLong ? size : long_bytes(size);
  }

  // Doubles that hold arrays of so many bytes in all, wherever they begin.
  static constexpr Index doubles(Index bytes) { return (bytes + 2 * kCacheLine) / static_cast<Index>(sizeof(double)); }
  // The bytes of arrays that so many doubles hold.
  static constexpr Index held_bytes(Index doubles) {
    return doubles * static_cast<Index>(sizeof(double)) - 2 * kCacheLine;
  }

  template <class T>
  T* take(Index n) {
    return take_bytes<T>(bytes<T>(n));
  }
  // The same with bytes<T>(n) computed before, for several arrays of one length.
  template <class T>
  T* take_bytes(Index size) {
    T* const array = reinterpret_cast<T*>(next_);
    next_ += size;
    return array;
  }

 private:
  static constexpr Index kTogether = 16, kLong = 1 << 10, kPage = 4 << 10, kApart = 7 * kCacheLine;

  __attribute__((cold, noinline)) static constexpr Index long_bytes(Index size) {
    const Index over = (size + kCacheLine) % kPage;
    return size + kCacheLine + (over < kApart ? kApart - over : over > kPage - kApart ? kPage - over + kApart : 0);
  }

  unsigned char* next_ = nullptr;
};

// What a pass works in.
struct Workspace {
  double* memory = nullptr;
  Index doubles = 0;
};

// Memory of a layer for the arrays of one call of infer at a time, which allocates nothing. A copy has its own; one
// that was moved from has none.
class InferMemory {
 public:
  // Some 400 columns of float, 240 of double (measured on Zen 5 past the cache: of float, a hundred at a time take two
  // to three times as long).
  static constexpr Index kBytes = 24 << 10;

  InferMemory() : memory_(new Memory) {}  // not make_unique, which would write all of it
  InferMemory(const InferMemory&) : InferMemory() {}
  InferMemory(InferMemory&&) noexcept = default;
  InferMemory& operator=(const InferMemory&) = delete;
  InferMemory& operator=(InferMemory&&) noexcept = default;
  ~InferMemory() = default;

  // The memory until the end of a scope, however that is left; none where another thread has it, or it is not wanted.
  class Loan {
   public:
    explicit Loan(const InferMemory& memory, bool is_wanted = true)
        : memory_(memory), workspace_(is_wanted ? memory.borrow() : Workspace()) {}
    Loan(const Loan&) = delete;
    Loan& operator=(const Loan&) = delete;
    ~Loan() { memory_.give_back(workspace_); }
    const Workspace& workspace() const { return workspace_; }

   private:
    const InferMemory& memory_;
    const Workspace workspace_;
  };

 private:
  Workspace borrow() const {
    if (memory_ == nullptr || memory_->is_lent.exchange(true, std::memory_order_acquire)) return {};
    return {memory_->doubles, kDoubles};
  }
  void give_back(const Workspace& workspace) const {
    if (workspace.memory != nullptr) memory_->is_lent.store(false, std::memory_order_release);
  }

  static constexpr Index kDoubles = Arena::doubles(kBytes);
  struct Memory {
    std::atomic<bool> is_lent{false};
    double doubles[static_cast<std::size_t>(kDoubles)];
  };
  std::unique_ptr<Memory> memory_;
};

// A pass's frame keeps so much for its arrays: with it infer takes less than 8 KB of the stack.
constexpr Index kLocalBytes = 1664;

// Memory on the stack, not yet aligned.
struct LocalMemory {
  unsigned char bytes[kLocalBytes + kCacheLine];
};

}  // namespace core
}  // namespace tensornorm
