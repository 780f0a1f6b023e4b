// ChannelMatrix: a tensor as positions by channels, and how products over it are taken.
//
// A layer's axes are kept or reduced. The other layers sum along the reduced axes, one bin at a time; a covariance is
// the same sum for every pair of channels, a product of the tensor with itself: channels (kept) against everything that
// is reduced, merged as far as x lets it. That product is taken panel by panel: some positions by a group's channels,
// copied in double, centred there, and multiplied. A panel is small, so an image needs no transposed copy of itself,
// and once gathered every layout is one case. The map to y and dx takes the same panels: a panel times a small matrix,
// scattered to where it came from.
//
// All of it is in double: whitening divides by the small variances, so what rounding lost of the large ones would show.
#pragma once

#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/kernel/product.hpp"
#include "tensornorm/core/plan/bin_runs.hpp"
#include "tensornorm/core/thread/runner.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

using MatrixMap = Eigen::Map<Matrix>;
using VectorMap = Eigen::Map<Vector>;

constexpr Index kMostGroupChannels = 8192;

// Positions of a part, at the least, hold so many values or are so many.
constexpr Index kPartValues = 8192, kPartRows = 1024;

// Lanes of double that a panel reckons with, at least those of any vector. Groups of fewer channels lie across vectors:
// their positions are side by side, and zeros fill the last of them.
constexpr Index kPanelLanes = 8;
constexpr bool is_narrow(Index k) { return k < kPanelLanes; }
constexpr Index padded(Index n) { return (n + kPanelLanes - 1) / kPanelLanes * kPanelLanes; }

// Some positions by some channels, in double: the value of channel c at position p is at[c * channel + p *
// position].
struct Panel {
  double* at;
  Index channel, position;

  Panel from_channel(Index c) const { return {at + c * channel, channel, position}; }
  ConstMatrix by_channel() const { return {at, channel, position}; }
  // @pre position is 1, channel a multiple of kPanelLanes
  void pad_positions(Index channels, Index rows) const {
    for (Index c = 0; c < channels; ++c) std::fill(at + c * channel + rows, at + c * channel + padded(rows), 0.0);
  }
};

// A double of a Scalar and back; 16-bit ones by way of float.
template <class Scalar>
double widened_value(Scalar v) {
  return static_cast<double>(static_cast<ParamOf<Scalar>>(v));
}
template <class Scalar>
Scalar narrowed_value(double v) {
  return static_cast<Scalar>(static_cast<ParamOf<Scalar>>(v));
}

class ChannelMatrix {
 public:
  // @pre groups divides the extent of channel_axis
  ChannelMatrix(const Shape& x, int channel_axis, Index groups)
      : groups_(groups), channels_(x.extent(channel_axis)), channel_stride_(x.stride(channel_axis)) {
    Axes reduced;
    for (int d = 0; d < x.rank; ++d) {
      if (d == channel_axis) continue;
      rows_ *= x.extent(d);
      reduced.push_back({x.extent(d), x.stride(d), x.stride(d), 0});
    }
    if (rows_ > 0) positions_ = coalesce(reduced);
  }

  Index rows() const { return rows_; }
  Index groups() const { return groups_; }
  Index channels() const { return channels_; }
  Index group_channels() const { return channels_ / groups_; }

  // An element costs as many multiply-adds as a group has channels, each about what another layer spends on one.
  Index work() const { return rows_ * channels_ * group_channels(); }

  // In how many parts the positions are cut for sums of group_channels^2 values, and for a map. By shape alone; sums
  // have at most a quarter of the values they are taken from.
  Index sum_parts() const { return parts((std::max)(4 * group_channels(), part_rows())); }
  Index map_parts() const { return parts(part_rows()); }

  // Calls visit(element, p, c) for the positions first + p, p < rows, and channels from + c, c < cols, of x or y. The
  // innermost loop runs along whichever is closer in memory.
  template <class Scalar, class Visit>
  void each(Scalar* x, Index first, Index rows, Index from, Index cols, const Visit& visit) const {
    Scalar* const base = x + from * channel_stride_;
    for_each_bin_run(positions_, first, rows, [&](const BinRun& run) {
      if (channel_stride_ < run.stat_stride) {
        for (Index p = 0; p < run.n; ++p) {
          Scalar* const at = base + run.stat + p * run.stat_stride;
          for (Index c = 0; c < cols; ++c) visit(at[c * channel_stride_], run.first + p, c);
        }
        return;
      }
      for (Index c = 0; c < cols; ++c) {
        Scalar* const at = base + run.stat + c * channel_stride_;
        for (Index p = 0; p < run.n; ++p) visit(at[p * run.stat_stride], run.first + p, c);
      }
    });
  }

  // panel(p, c) = value(x, from + c) for p < rows and c < cols, x widened to double.
  template <class Scalar, class Value>
  void gather(const Scalar* x, Index first, Index rows, Index from, Index cols, const Panel& panel,
              const Value& value) const {
    double* const to = panel.at;
    const Index channel = panel.channel, position = panel.position;
    each(x, first, rows, from, cols, [&](const Scalar& element, Index p, Index c) {
      to[p * position + c * channel] = value(widened_value(element), from + c);
    });
  }

  // y = value(panel(p, c), from + c), rounded once.
  template <class Scalar, class Value>
  void scatter(const Panel& panel, Index first, Index rows, Index from, Index cols, Scalar* y,
               const Value& value) const {
    const double* const values = panel.at;
    const Index channel = panel.channel, position = panel.position;
    each(y, first, rows, from, cols, [&](Scalar& element, Index p, Index c) {
      element = narrowed_value<Scalar>(value(values[p * position + c * channel], from + c));
    });
  }

  // Runs visit(unit, group, first, rows) for every panel of every group, of so many rows at most; unit = group * parts
  // + part, and the panels of a unit come in order.
  template <class Visit>
  void each_panel(const Runner& runner, Index parts, Index panel_rows, const Visit& visit) const {
    runner(groups_ * parts, work(), [&](Index unit, Index) {
      const Index part = unit % parts, end = part_begin(rows_, part + 1, parts);
      for (Index p = part_begin(rows_, part, parts); p < end; p += panel_rows) {
        visit(unit, unit / parts, p, (std::min)(panel_rows, end - p));
      }
    });
  }

 private:
  Index part_rows() const { return (std::min)((std::max)(kPartValues / group_channels(), Index{1}), kPartRows); }
  Index parts(Index least) const {
    constexpr Index kUnits = 64;
    return (std::max<Index>)((std::min)(kUnits / groups_, rows_ / least), 1);
  }

  Index groups_, channels_, channel_stride_, rows_ = 1;
  Axes positions_;  // the reduced axes, coalesced, with x's strides as stat
};

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
