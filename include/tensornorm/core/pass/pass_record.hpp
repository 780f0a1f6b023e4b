// PassRecord: the rule that a backward pass follows its forward pass.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "tensornorm/core/check.hpp"

namespace tensornorm {
namespace core {

// Tells one x from another by the bits of sixteen elements spread over it; all of them where there are fewer.
template <class Scalar>
std::uint64_t fingerprint(const Scalar* x, Index n) {
  using Bits = std::conditional_t<sizeof(Scalar) == 8, std::uint64_t,
                                  std::conditional_t<sizeof(Scalar) == 4, std::uint32_t, std::uint16_t>>;
  constexpr int kElements = 16;
  std::uint64_t sum = 0;
  // Each element has an odd factor of its own, so that two that change places change the sum.
  const auto add = [&](int i, Index at) {
    Bits bits;
    std::memcpy(&bits, x + at, sizeof bits);
    sum += static_cast<std::uint64_t>(bits) * static_cast<std::uint64_t>(0x1b873593 + 0x2000102 * i);
  };
  if (n < kElements) {
    for (int i = 0; i < static_cast<int>(n); ++i) add(i, i);
    return sum;
  }
  // A little more than a sixteenth apart, so that not all of them are in the same column.
  const Index step = n / kElements + n / kElements / kElements;
  for (int i = 0; i < kElements; i += 4) {
    add(i, i * step);
    add(i + 1, (i + 1) * step);
    add(i + 2, (i + 2) * step);
    add(i + 3, (i + 3) * step);
  }
  return sum;
}

// The forward pass that backward follows.
struct PassRecord {
  Shape shape;
  std::uint64_t fingerprint = 0;  // of x
  bool done = false, training = false, batch = false;

  void set(const Shape& x, std::uint64_t fingerprint_of_x, bool is_training, bool has_batch_statistics);
  // @throws std::invalid_argument where backward does not follow it
  void check_backward(const Shape& x, const Shape& dy, bool is_training) const;
  void check_same(const Shape& x, std::uint64_t fingerprint_of_x) const;
};

}  // namespace core
}  // namespace tensornorm

#ifndef TENSORNORM_COMPILED
#include "tensornorm/core/pass/pass_record-inl.hpp"
#endif
