// The trailing axes LayerNorm and RMSNorm normalize over.
#pragma once

#include <limits>
#include <utility>
#include <vector>

#include "tensornorm/core/check.hpp"

namespace tensornorm {
namespace core {

class TrailingAxes {
 public:
  // @throws std::invalid_argument without extents or with one below 1
  explicit TrailingAxes(std::vector<Index> extents) : extents_(std::move(extents)) {
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

  // Statistics along the leading axes, parameters along the trailing ones.
  // @throws std::invalid_argument when x does not end in the layer's extents
  Axes axes(const Shape& x) const {
    const int trailing = static_cast<int>(extents_.size()), leading = x.rank - trailing;
    bool fits = leading >= 0;
    for (int d = 0; fits && d < trailing; ++d) fits = x.extent(leading + d) == extents_[static_cast<std::size_t>(d)];
    if (!fits) refuse(x);
    return make_axes(x, axes_below(leading), axes_below(x.rank) & ~axes_below(leading));
  }

 private:
  MessagePart all() const { return {extents_.data(), static_cast<int>(extents_.size())}; }

  [[noreturn]] __attribute__((cold, noinline)) void refuse(const Shape& x) const {
    const Index n = extents_.front();
    const bool turned = x.rank == 2 && extents_.size() == 1 && x.extent(0) == n;
    if (turned && x.extent(1) == 1)
      fail("x has extents ", x, " but the layer normalizes over ", all(), ": a column vector is ", n,
           " rows of 1 value; give a row vector or the transpose of x");
    fail("x has extents ", x, " but the layer normalizes over ", all(),
         turned ? ": its columns fit and its rows are normalized; give the transposes of x and y" : "");
  }

  std::vector<Index> extents_;
};

}  // namespace core
}  // namespace tensornorm
