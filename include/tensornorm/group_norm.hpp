// GroupNorm: groups of channels of each sample normalized over their channels and spatial axes.
#pragma once

#include "tensornorm/requirements.hpp"

#include "tensornorm/layer.hpp"

namespace tensornorm {

struct GroupNormOptions {
  double eps = 1e-5;
  bool affine = true;
  Index channel_axis = 1;  // negative: from the end; never the batch, axis 0
};

/// Group normalization: y = (x - mean) / sqrt(var + eps) * gamma + beta, with mean and biased variance of each group of
/// channels / groups neighbouring channels of each sample.
///
/// x: (N, ..., channels, ...), rank 2 or more, any layout. gamma, beta: (channels), one for each channel, not group;
/// mean, rstd: (N * groups). Train and eval mode compute the same. One element to a group gives y = beta.
/// Edges: an empty x gives an empty y; var + eps = 0 gives y = beta; NaN and Inf stay in their group.
/// Precision: statistics in double, the mean kept as two Params: no offset of x costs digits of y.
/// The constructor throws std::invalid_argument when groups do not divide channels, either is below 1, eps is below 0
/// or not finite, or channel_axis is 0. Source: Wu and He 2018, equations 1 to 7.
template <class Scalar>
class GroupNorm : public Layer<GroupNorm<Scalar>, Scalar, false> {
  using Base = Layer<GroupNorm<Scalar>, Scalar, false>;
  friend Base;

 public:
  GroupNorm(Index groups, Index channels, const GroupNormOptions& options = {})
      : Base(options.eps, true, checked(groups, channels, options), true), groups_(groups), channels_(channels),
        options_(options) {}

  using Base::beta, Base::dbeta, Base::mean;

  Index groups() const { return groups_; }
  Index channels() const { return channels_; }
  const GroupNormOptions& options() const { return options_; }

 private:
  static Index checked(Index groups, Index channels, const GroupNormOptions& options) {
    core::check_that(groups > 0 && channels > 0, groups, " groups of ", channels,
                     " channels: at least 1 of each is needed");
    core::check_that(channels % groups == 0, groups, " groups do not divide ", channels, " channels");
    core::check_that(options.channel_axis != 0, "channel_axis is ", options.channel_axis, " but axis 0 is the batch");
    return options.affine ? channels : 0;
  }

  core::Axes axes(const core::Shape& x, bool) const {
    const int c = core::channel_axis(x, options_.channel_axis, channels_, 1);
    const core::AxisSet group = core::axis(c), within_group = core::axis(c + 1);
    return core::make_axes(core::split_axis(x, c, groups_), core::axis(0) | group, group | within_group);
  }

  Index groups_, channels_;
  GroupNormOptions options_;
};

}  // namespace tensornorm
