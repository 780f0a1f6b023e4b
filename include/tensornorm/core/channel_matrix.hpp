// ChannelMatrix: a tensor as positions by channels, and how products over it are taken.
//
// A layer's plan tells kept axes from reduced ones. The other layers sum along the reduced axes, one kept cell at a
// time; a covariance is the same sum for every pair of channels, a product of the tensor with itself: channels (kept)
// against everything that is reduced, merged as far as x lets it. That product is taken panel by panel: some positions
// by a group's channels, copied to the stack in double, centred there, and multiplied by Eigen. A panel is small, so an
// image needs no transposed copy of itself, and once gathered every layout is one case. The map to y and dx is the same
// traversal: a panel times a small matrix, scattered to where it came from.
//
// All of it is in double: whitening divides by the small variances, so what rounding lost of the large ones would show.
#pragma once

#include "tensornorm/core/packet.hpp"
#include "tensornorm/core/parallel.hpp"
#include "tensornorm/core/runs.hpp"

namespace tensornorm {
namespace core {

using MatrixMap = Eigen::Map<Eigen::MatrixXd>;
using VectorMap = Eigen::Map<Eigen::VectorXd>;

// Values of a panel: 64 KiB, which stays in the second-level cache and leaves room on any stack.
constexpr Index kPanelValues = 8192;
constexpr Index kPanelRows = 1024;  // enough to hide what a panel costs however few channels it has
// Products are taken in tiles of as many channels: Eigen packs a tile's operands on the stack where they have up to 128
// KiB, 64 * 64 values of a matrix or the kPanelValues of a panel, and allocates beyond that.
constexpr Index kTileChannels = 64;

// Memory for a panel.
struct Panel {
  alignas(kLine) double values[kPanelValues];

  MatrixMap matrix(Index rows, Index cols) { return {values, rows, cols}; }
};

// Calls visit(first, count) for [0, n) in tiles of channels.
template <class Visit>
void for_each_tile(Index n, const Visit& visit) {
  for (Index first = 0; first < n; first += kTileChannels) visit(first, (std::min)(kTileChannels, n - first));
}

// to += panel * matrix, without allocation where `to` is at most a tile wide.
template <class To, class Matrix>
void add_product(To& to, const MatrixMap& panel, const Matrix& matrix) {
  for_each_tile(panel.cols(), [&](Index first, Index n) {
    to.noalias() += panel.middleCols(first, n) * matrix.middleRows(first, n);
  });
}

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
  Index panel_rows() const { return (std::min)((std::max)(kPanelValues / group_channels(), Index{1}), kPanelRows); }

  // An element costs as many multiply-adds as a group has channels, each about what another layer spends on one.
  Index work() const { return rows_ * channels_ * group_channels(); }

  // In how many parts the positions are cut for sums of group_channels^2 values, and for a map. By shape alone; sums
  // have at most a quarter of the values they are taken from.
  Index sum_parts() const { return parts((std::max)(4 * group_channels(), panel_rows())); }
  Index map_parts() const { return parts(panel_rows()); }

  // Calls visit(element, p, c) for the positions first + p, p < rows, and channels from + c, c < cols, of x or y. The
  // innermost loop runs along whichever is closer in memory.
  template <class Scalar, class Visit>
  void each(Scalar* x, Index first, Index rows, Index from, Index cols, const Visit& visit) const {
    Scalar* const base = x + from * channel_stride_;
    for_each_run(positions_, first, rows, [&](const Run& run) {
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

  // panel(p, c) = value(x, from + c), x widened.
  template <class Scalar, class Value>
  void gather(const Scalar* x, Index first, Index from, MatrixMap panel, const Value& value) const {
    double* const to = panel.data();
    const Index rows = panel.rows();
    each(x, first, rows, from, panel.cols(),
         [&](const Scalar& element, Index p, Index c) { to[p + c * rows] = value(widened_value(element), from + c); });
  }

  // y = value(panel(p, c), from + c), rounded once.
  template <class Scalar, class Value>
  void scatter(const MatrixMap& panel, Index first, Index from, Scalar* y, const Value& value) const {
    const double* const values = panel.data();
    const Index rows = panel.rows();
    each(y, first, rows, from, panel.cols(), [&](Scalar& element, Index p, Index c) {
      element = narrowed_value<Scalar>(value(values[p + c * rows], from + c));
    });
  }

  // Runs visit(group, part, first, rows) for every panel of every group; panels of a part in order, in one unit.
  template <class Visit>
  void each_panel(const Runner& runner, Index parts, const Visit& visit) const {
    runner(groups_ * parts, work(), [&](Index unit, Index) {
      const Index part = unit % parts, end = part_begin(rows_, part + 1, parts);
      for (Index p = part_begin(rows_, part, parts); p < end; p += panel_rows()) {
        visit(unit / parts, part, p, (std::min)(panel_rows(), end - p));
      }
    });
  }

 private:
  Index parts(Index least) const {
    constexpr Index kUnits = 64;
    return (std::max<Index>)((std::min)(kUnits / groups_, rows_ / least), 1);
  }

  Index groups_, channels_, channel_stride_, rows_ = 1;
  Axes positions_;  // the reduced axes, coalesced, with x's strides as stat
};

}  // namespace core
}  // namespace tensornorm
