// Where a pass lays out its arrays: the workspace of a layer, or a few KB of the stack.
#pragma once

#include <cstdint>

#include "tensornorm/core/plan/axis.hpp"

namespace tensornorm {
namespace core {

constexpr Index kCacheLine = 64;  // bytes of a cache line

// Hands out arrays from a piece of memory, one after the other. A copy of an arena hands out the same memory again.
class Arena {
 public:
  Arena() = default;
  explicit Arena(void* memory) : next_(static_cast<unsigned char*>(memory)) {
    next_ += (kCacheLine - static_cast<Index>(reinterpret_cast<std::uintptr_t>(next_) % kCacheLine)) % kCacheLine;
  }

  // Bytes of an array, which begins with a line and has room for whole vectors. A long one has some lines more, so that
  // the same places of two arrays lie in different sets of the first-level cache, and none is taken for the place in
  // another that was just written: processors compare the lowest twelve bits of an address first.
  template <class T>
  static constexpr Index bytes(Index n) {
    const Index size = (n + kTogether - 1) / kTogether * kTogether * static_cast<Index>(sizeof(T));
    return size < kLong ? size : size + (size < kPage ? 1 : 7) * kCacheLine;
  }

  // Doubles that hold arrays of so many bytes in all, wherever they begin.
  static constexpr Index doubles(Index bytes) { return (bytes + 2 * kCacheLine) / static_cast<Index>(sizeof(double)); }

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
  static constexpr Index kTogether = 16, kLong = 1 << 10, kPage = 4 << 10;
  unsigned char* next_ = nullptr;
};

// A pass's frame keeps so much for its arrays: with it infer takes less than 12 KB of the stack.
constexpr Index kLocalBytes = 6400;

// Memory on the stack, not yet aligned.
struct LocalMemory {
  unsigned char bytes[kLocalBytes + kCacheLine];
};

}  // namespace core
}  // namespace tensornorm
