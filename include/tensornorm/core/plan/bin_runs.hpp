// Runs of neighbouring bins, and the parameters along a tile's line.
#pragma once

#include "tensornorm/core/plan/walk.hpp"

namespace tensornorm {
namespace core {

// The parameters along the line of a tile, the same for all of its bins.
class LineParams {
 public:
  LineParams(const Axes& line, Index base, Index position, Index count)
      : line_(line), base_(base), position_(position), count_(count) {}

  // How many lie side by side in the order of the line before the next must be looked up; 0 where none do.
  static Index contiguous_run(const Axes& line) {
    if (line.empty()) return 1;
    return line.back().param == 1 ? line.back().extent : 0;
  }
  // @pre the tile lies within one such run
  bool are_contiguous() const { return contiguous_run(line_) > 0; }

  // Calls visit(i, p): the tile's parameter i is number p.
  template <class Visit>
  void each(const Visit& visit) const {
    Odometer at(line_, position_);
    for (Index i = 0; i < count_; ++i, at.next()) visit(i, base_ + at.param());
  }

  // Where they are in `params`, or a copy of them in the order of the line.
  template <class T>
  const T* of(const T* params, T* buffer) const {
    return are_contiguous() ? first_of(params) : copied(params, buffer);
  }

  // @pre are_contiguous()
  template <class T>
  T* first_of(T* params) const {
    return params + base_ + (position_ == 0 ? 0 : offset());
  }

 private:
  template <class T>
  __attribute__((noinline)) const T* copied(const T* params, T* buffer) const {
    each([&](Index i, Index p) { buffer[i] = params[p]; });
    return buffer;
  }
  __attribute__((noinline)) Index offset() const { return Odometer(line_, position_).param(); }

  const Axes& line_;
  Index base_, position_, count_;
};

// Neighbouring bins along the innermost axis of a tensor of bins: `n` of them from `first` on; stat and param of the
// first, and how they go on.
struct BinRun {
  Index first, n, stat, stat_stride, param, param_stride;
};

// Calls visit(BinRun) for the runs that `count` bins from number `begin` on consist of; BinRun::first counts from
// there.
inline void for_each_bin_run(const Axes& bins, Index begin, Index count, FunctionRef<void(const BinRun&)> visit) {
  const Axis inner = bins.empty() ? Axis{1, 0, 0, 0} : bins.back();
  if (begin == 0 && count <= inner.extent) return visit({0, count, 0, inner.stat, 0, inner.param});
  Odometer at(bins.begin(), (std::max)(bins.size() - 1, 0), begin / inner.extent);
  Index in = begin % inner.extent;
  for (Index i = 0; i < count; at.next(), in = 0) {
    const Index n = (std::min)(inner.extent - in, count - i);
    visit({i, n, at.stat() + in * inner.stat, inner.stat, at.param() + in * inner.param, inner.param});
    i += n;
  }
}

}  // namespace core
}  // namespace tensornorm
