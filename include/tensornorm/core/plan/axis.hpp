// Axis: one axis of a tensor as every operand of a pass sees it. The whole library is arithmetic on these numbers.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>

#include "tensornorm/core/function_ref.hpp"

namespace tensornorm {

/// The type of extents: Eigen's default, on every platform.
using Index = std::ptrdiff_t;

namespace core {

// Strides are in elements; 0 means "does not vary along this axis". y and z are those of the pass's other tensors: of y
// in forward, of dy and dx in backward.
struct Axis {
  Index extent, x, stat, param;
  Index y = 0, z = 0;
};

inline bool is_kept(const Axis& a) { return a.stat != 0; }
inline bool is_affine(const Axis& a) { return a.param != 0; }

inline bool operator==(const Axis& a, const Axis& b) {
  return a.extent == b.extent && a.x == b.x && a.stat == b.stat && a.param == b.param && a.y == b.y && a.z == b.z;
}

// Two neighbours are one axis when every operand steps from the end of the inner one to the next of the outer one.
inline bool can_merge(const Axis& outer, const Axis& inner) {
  return outer.x == inner.extent * inner.x && outer.stat == inner.extent * inner.stat &&
         outer.param == inner.extent * inner.param && outer.y == inner.extent * inner.y &&
         outer.z == inner.extent * inner.z;
}

// Axes from outer to inner, in place: nothing here allocates. Eigen's ranks are small; a layer adds one by splitting.
class Axes {
 public:
  static constexpr int kCapacity = 16;

  Axes() = default;
  Axes(const Axes& other) : size_(other.size_) { std::copy(other.begin(), other.end(), begin()); }
  Axes& operator=(const Axes& other) {
    size_ = other.size_;
    std::copy(other.begin(), other.end(), begin());
    return *this;
  }

  int size() const { return size_; }
  bool empty() const { return size_ == 0; }
  const Axis& operator[](int i) const { return axes_[static_cast<std::size_t>(i)]; }
  Axis& operator[](int i) { return axes_[static_cast<std::size_t>(i)]; }
  const Axis& back() const { return (*this)[size_ - 1]; }
  const Axis* begin() const { return axes_.data(); }
  const Axis* end() const { return begin() + size_; }
  Axis* begin() { return axes_.data(); }
  Axis* end() { return begin() + size_; }

  void push_back(const Axis& a) { (*this)[size_++] = a; }
  // @pre size is not more than it was
  void resize(int size) { size_ = size; }

  // Number of elements; 1 for no axes at all.
  Index count() const {
    Index n = 1;
    for (const Axis& a : *this) n *= a.extent;
    return n;
  }

 private:
  std::array<Axis, kCapacity> axes_;  // the first size_ of them are copied and read
  int size_ = 0;
};

// The fewest axes that describe the same walk through x from its first element to its last.
// @pre  every extent is at least 1
// @post visits the same (x, stat, param) offsets as `axes` sorted by decreasing x, in the same order
// @post no extent is 1 and no two neighbours can merge
__attribute__((cold)) inline void merge(Axes& axes) {
  // Insertion: stable, and unlike std::stable_sort without memory of its own.
  for (Axis* a = axes.begin(); a != axes.end(); ++a) {
    std::rotate(std::upper_bound(axes.begin(), a, *a, [](const Axis& l, const Axis& r) { return l.x > r.x; }), a,
                a + 1);
  }
  int merged = 0;
  for (const Axis& a : axes) {
    if (a.extent == 1) continue;
    if (merged == 0 || !can_merge(axes[merged - 1], a)) {
      axes[merged++] = a;
    } else {
      axes[merged - 1] = {axes[merged - 1].extent * a.extent, a.x, a.stat, a.param, a.y, a.z};
    }
  }
  axes.resize(merged);
}
inline Axes coalesce(const Axes& axes) {
  Axes result = axes;
  merge(result);
  return result;
}

// Where part i of n of [0, count) begins. Either end is known without a division.
inline Index part_begin(Index count, Index i, Index n) {
  return i == 0 ? 0 : i == n ? count : count / n * i + (std::min)(i, count % n);
}

// Cuts [begin, end) in chunks of about one size, at most `most`: all but the last end at a multiple of 16 from `begin`,
// so no chunk is narrower than a vector unless the range is.
// @pre most is a multiple of 16, at least 32
class Chunks {
 public:
  Chunks(Index begin, Index end, Index most)
      : begin_(begin), end_(end), count_(end - begin <= most ? 1 : (end - begin + most - 1) / most) {}

  Index count() const { return count_; }
  Index begin_of(Index chunk) const {
    constexpr Index kTogether = 16;
    if (chunk == 0 || chunk == count_) return chunk == 0 ? begin_ : end_;
    return begin_ + part_begin((end_ - begin_) / kTogether, chunk, count_) * kTogether;
  }

 private:
  Index begin_, end_, count_;
};

// Calls visit(begin, end) for each chunk, none for an empty range.
__attribute__((noinline)) inline void for_each_chunk(Index begin, Index end, Index most,
                                                     FunctionRef<void(Index begin, Index end)> visit) {
  const Chunks chunks(begin, end, most);
  for (Index chunk = 0, from = begin; chunk < chunks.count() && from < end; ++chunk) {
    const Index to = chunks.begin_of(chunk + 1);
    visit(from, to);
    from = to;
  }
}

}  // namespace core
}  // namespace tensornorm
