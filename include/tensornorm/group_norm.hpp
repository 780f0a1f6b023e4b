// GroupNorm: groups of channels of each sample normalized over their channels and spatial axes.
#pragma once

#include "tensornorm/requirements.hpp"

#include "tensornorm/layer.hpp"

namespace tensornorm {

/// Options of GroupNorm.
struct GroupNormOptions {
  double eps = 1e-5;       ///< Added to the variance; 0 is allowed.
  bool affine = true;      ///< Whether there are gamma and beta.
  Index channel_axis = 1;  ///< The axis of the channels, not that of the batch; negative: from the end.
  Index batch_axis = 0;    ///< The axis of the samples; negative: from the end. If samples are columns it is 1 or -1.
};

/// Group normalization: y = (x - mean) / sqrt(var + eps) * gamma + beta. Mean and biased variance are those of each
/// group of each sample, over the channels of the group and space. A group is channels / groups neighbouring channels.
///
/// Shapes: x is (N, ..., channels, ...) of rank 2 or more, in any layout. batch_axis is the batch. gamma and beta have
/// the extents (channels): a value for each channel, not for each group. mean and rstd have N * groups values,
/// row-major.
///
/// Modes: train and eval mode compute the same.
///
/// Edges: a constant group, such as one of one element, gives y = beta; with eps = 0 its rstd and dx are 0. NaN and
/// infinity stay in their group.
///
/// Precision: as BatchNorm. Source: Wu and He 2018, equations 1 to 7.
template <class Scalar>
class GroupNorm : public Layer<GroupNorm<Scalar>, Scalar, false> {
  using Base = Layer<GroupNorm<Scalar>, Scalar, false>;
  friend Base;

 public:
  /// With gamma 1 and beta 0. Throws std::invalid_argument when groups or channels is below 1, groups does not divide
  /// channels, eps is negative or not finite, or channel_axis is 0.
  GroupNorm(Index groups, Index channels, const GroupNormOptions& options = {})
      : Base(options.eps, true, checked(groups, channels, options), true), groups_(groups), channels_(channels),
        options_(options) {}

  /// The same with the usual options but eps.
  template <class Eps, class = std::enable_if_t<std::is_floating_point<Eps>::value>>
  GroupNorm(Index groups, Index channels, Eps eps)
      : GroupNorm(groups, channels, core::with_eps<GroupNormOptions>(static_cast<double>(eps))) {}
  /// A layer of nothing, to be assigned to: its calls throw std::invalid_argument.
  GroupNorm() : Base(1e-5, true, 0, false), groups_(0), channels_(0) {}

  using Base::beta, Base::dbeta, Base::mean;

  /// The number of groups.
  Index groups() const { return groups_; }
  /// The number of channels.
  Index channels() const { return channels_; }
  /// The options of the layer.
  const GroupNormOptions& options() const { return options_; }

 private:
  void describe(std::ostream& out) const {
    out << "GroupNorm(" << groups_ << ", " << channels_ << ", eps=" << options_.eps
        << ", affine=" << (options_.affine ? "True" : "False") << ')';
  }

  static Index checked(Index groups, Index channels, const GroupNormOptions& options) {
    core::check_that(groups > 0 && channels > 0, groups, " groups of ", channels,
                     " channels: at least 1 of each is needed");
    core::check_that(channels % groups == 0, groups, " groups do not divide ", channels, " channels");
    core::check_that(options.channel_axis != options.batch_axis, "channel_axis is ", options.channel_axis, " but axis ",
                     options.batch_axis, " is the batch");
    return options.affine ? channels : 0;
  }

  core::Axes axes(const core::Shape& x, bool) const {
    core::check_made(channels_);
    const int c = core::channel_axis(x, options_.channel_axis, channels_, 0);
    const int n = core::batch_axis(x, options_.batch_axis, c);
    const core::AxisSet group = core::axis(c), within_group = core::axis(c + 1);
    return core::make_axes(core::split_axis(x, c, groups_), core::axis(n < c ? n : n + 1) | group,
                           group | within_group);
  }

  Index groups_, channels_;
  GroupNormOptions options_;
};

}  // namespace tensornorm
