// The trailing axes LayerNorm and RMSNorm normalize over.
#pragma once

#include <algorithm>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "tensornorm/axis_list.hpp"

namespace tensornorm {
namespace core {

class TrailingAxes {
 public:
  TrailingAxes() = default;
  // `first`: the first of the axes, where they are not the trailing ones.
  // @throws std::invalid_argument without extents or with one below 1
  explicit TrailingAxes(std::vector<Index> extents, const std::optional<Index>& first = std::nullopt)
      : extents_(std::move(extents)), first_(first) {
    check_that(!extents_.empty(), "a layer over ", extents_.size(), " axes: at least 1 is needed");
    check_that(extents_.size() < Axes::kCapacity, "a layer over ", extents_.size(), " axes: at most 15 are possible");
    Index count = 1;
    for (const Index extent : extents_) {
      check_that(extent > 0, "a layer over an extent of ", extent, ": at least 1 is needed");
      check_that(extent <= (std::numeric_limits<Index>::max)() / count, "a layer over ", all(), ": too many elements");
      count *= extent;
    }
  }

  const std::vector<Index>& extents() const { return extents_; }

  Index count() const {
    Index n = 1;
    for (const Index extent : extents_) n *= extent;
    return n;
  }

  // Statistics along the other axes, parameters along these. A column is one sample of a layer over one axis.
  // @throws std::invalid_argument when x has not the layer's extents there
  Axes axes(const Shape& x) const {
    check_made(static_cast<Index>(extents_.size()));
    const int count = static_cast<int>(extents_.size());
    const Index first = !first_ ? x.rank - count : *first_ < 0 ? *first_ + x.rank : *first_;
    const int begin = static_cast<int>((std::min)((std::max)(first, Index{-1}), Index{Axes::kCapacity}));
    if (!fits(x, begin)) {
      if (x.rank == 2 && x.extent(1) == 1 && !first_ && fits(x, 0)) return along(x, 0);
      refuse(x);
    }
    return along(x, begin);
  }

 private:
  bool fits(const Shape& x, int begin) const {
    const int count = static_cast<int>(extents_.size());
    bool result = begin >= 0 && begin + count <= x.rank;
    for (int d = 0; result && d < count; ++d) result = x.extent(begin + d) == extents_[static_cast<std::size_t>(d)];
    return result;
  }
  Axes along(const Shape& x, int begin) const {
    const AxisSet these = axes_below(begin + static_cast<int>(extents_.size())) & ~axes_below(begin);
    return make_axes(x, axes_below(x.rank) & ~these, these);
  }

  MessagePart all() const { return {extents_.data(), static_cast<int>(extents_.size())}; }

  [[noreturn]] __attribute__((cold, noinline)) void refuse(const Shape& x) const {
    const bool turned = !first_ && x.rank == 2 && extents_.size() == 1 && x.extent(0) == extents_.front();
    if (first_) fail("x has extents ", x, " but the layer normalizes over ", all(), " from axis ", *first_, " on");
    fail("x has extents ", x, " but the layer normalizes over ", all(),
         turned ? ": its columns fit and its rows are normalized; give the transposes of x and y, or axis = 0" : "");
  }

  std::vector<Index> extents_;
  std::optional<Index> first_;
};

}  // namespace core
}  // namespace tensornorm
