// What each function normalizes over, for an x and the gamma that it is given.
#pragma once

#include <vector>

#include "tensornorm/axis_list.hpp"
#include "tensornorm/core/pass/function_axes.hpp"

namespace tensornorm {
namespace core {

inline NormRule trailing_rule(const Shape& x, int trailing, bool centred) {
  NormRule rule;
  rule.kept = axes_below(x.rank - trailing);
  rule.affine = axes_below(x.rank) & ~rule.kept;
  rule.centred = centred;
  return rule;
}

// Over the trailing axes that gamma has, or the last.
template <bool centred>
struct TrailingRule {
  template <class Gamma>
  NormRule operator()(const Shape& x, const Gamma& gamma) const {
    if constexpr (Gamma::is_given) return trailing_rule(x, trailing_axes(x, gamma.shape()), centred);
    return trailing_rule(x, 1, centred);
  }
};

// Over the last axis, to length 1.
struct UnitRule {
  template <class Gamma>
  NormRule operator()(const Shape& x, const Gamma&) const {
    NormRule rule = trailing_rule(x, 1, false);
    rule.is_unit = true;
    return rule;
  }
};

// Over the groups of channels of each sample.
struct GroupRule {
  Index groups, channel_axis;

  template <class Gamma>
  NormRule operator()(const Shape& x, const Gamma&) const {
    const int c = core::channel_axis(x, channel_axis, 1);
    check_that(groups > 0 && x.extent(c) % groups == 0, groups, " groups do not divide ", x.extent(c), " channels");
    NormRule rule;
    rule.kept = axis(0);
    rule.affine = axis(c);
    rule.split = c;
    rule.groups = groups;
    return rule;
  }
};

// Over the space of each channel of each sample.
struct InstanceRule {
  Index channel_axis;

  template <class Gamma>
  NormRule operator()(const Shape& x, const Gamma&) const {
    const int c = core::channel_axis(x, channel_axis, 1);
    if (x.count() > 0) check_instances(x, x.extent(0), x.extent(c));
    NormRule rule;
    rule.kept = axis(0) | axis(c);
    rule.affine = axis(c);
    return rule;
  }
};

// Over the batch and space of each channel, with statistics of the batch or given ones.
struct ChannelRule {
  bool batch;

  template <class Gamma>
  NormRule operator()(const Shape& x, const Gamma&) const {
    const int c = core::channel_axis(x, 1, 0);
    if (batch && x.count() > 0) check_batch(x, x.extent(c));
    NormRule rule;
    rule.kept = rule.affine = axis(c);
    return rule;
  }
};

// Over a list of axes.
struct ListRule {
  const std::vector<int>& over;

  template <class Gamma>
  NormRule operator()(const Shape& x, const Gamma&) const {
    NormRule rule;
    rule.affine = axis_set(x, over);
    check_that(rule.affine != 0, "over ", over.size(), " axes of x of extents ", x, ": at least 1 is needed");
    rule.kept = axes_below(x.rank) & ~rule.affine;
    return rule;
  }
};

}  // namespace core
}  // namespace tensornorm
