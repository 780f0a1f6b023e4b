// Gradients of every layer against central differences.
#include <string>

#include <tensornorm/tensornorm.hpp>

#include "differences.hpp"

using namespace tensornorm;
using namespace tensornorm_test;

namespace {

template <class Layer>
void in_every_layout(const Layer& layer, const Extents& extents, const std::string& name) {
  const Values x = normal(count(extents), 31, 0.5);
  in_both_layouts<2, 3, 4>(extents,
                           [&](auto rank, auto layout) { check_gradient<rank, layout>(layer, extents, x, name); });
}

const Extents kShapes[] = {{7, 5}, {2, 3, 5}, {3, 6, 5}, {2, 3, 5, 7}};

/// Running statistics that are not those of x.
template <class Layer>
void draw_running_statistics(Layer& layer) {
  assign(layer.running_mean(), normal(layer.running_mean().size(), 34));
  Values var = normal(layer.running_var().size(), 35);
  for (double& v : var) v = 0.5 + v * v;
  assign(layer.running_var(), var);
}

TEST(Gradient, BatchNorm) {
  for (const Extents& extents : kShapes) {
    for (int axis = 0; axis < int(extents.size()); ++axis) {
      BatchNormOptions options;
      options.channel_axis = axis;
      BatchNorm<double> layer(extents[std::size_t(axis)], options);
      in_every_layout(layer, extents, "BatchNorm, channel axis " + std::to_string(axis));
      draw_running_statistics(layer);
      layer.eval();
      in_every_layout(layer, extents, "BatchNorm in eval mode, channel axis " + std::to_string(axis));
      options.affine = false;
      in_every_layout(BatchNorm<double>(extents[std::size_t(axis)], options), extents, "BatchNorm without affine");
    }
  }
}

TEST(Gradient, BatchNormInEvalModeWithoutRunningStatisticsUsesThoseOfX) {
  BatchNormOptions options;
  options.track_running_stats = false;
  BatchNorm<double> layer(3, options);
  layer.eval();
  in_every_layout(layer, {2, 3, 5, 7}, "BatchNorm in eval mode, untracked");
}

TEST(Gradient, InstanceNorm) {
  for (const Extents& extents : kShapes) {
    for (int axis = 1; axis < int(extents.size()) && extents.size() > 2; ++axis) {
      InstanceNormOptions options;
      options.channel_axis = axis;
      in_every_layout(InstanceNorm<double>(extents[std::size_t(axis)], options), extents,
                      "InstanceNorm without affine, channel axis " + std::to_string(axis));
      options.affine = true;
      options.track_running_stats = true;
      InstanceNorm<double> layer(extents[std::size_t(axis)], options);
      in_every_layout(layer, extents, "InstanceNorm, channel axis " + std::to_string(axis));
      draw_running_statistics(layer);
      layer.eval();
      in_every_layout(layer, extents, "InstanceNorm in eval mode, channel axis " + std::to_string(axis));
    }
  }
}

TEST(Gradient, GroupNorm) {
  for (const Extents& extents : {Extents{7, 6}, {2, 6, 5}, {3, 6, 5, 2}, {2, 3, 4, 6}}) {
    for (int axis = 1; axis < int(extents.size()); ++axis) {
      const Index channels = extents[std::size_t(axis)];
      for (Index groups = 1; groups <= channels; ++groups) {
        if (channels % groups != 0 || count(extents) == extents[0] * groups) continue;
        GroupNormOptions options;
        options.channel_axis = axis;
        const std::string name =
            "GroupNorm of " + std::to_string(groups) + " groups, channel axis " + std::to_string(axis);
        in_every_layout(GroupNorm<double>(groups, channels, options), extents, name);
        options.affine = false;
        in_every_layout(GroupNorm<double>(groups, channels, options), extents, name + " without affine");
      }
    }
  }
}

TEST(Gradient, LayerNormAndRmsNorm) {
  for (const Extents& extents : kShapes) {
    for (int trailing = 1; trailing <= int(extents.size()); ++trailing) {
      const Extents row(extents.end() - trailing, extents.end());
      const std::string over = " over " + std::to_string(trailing) + " axes";
      in_every_layout(LayerNorm<double>(row), extents, "LayerNorm" + over);
      in_every_layout(RMSNorm<double>(row), extents, "RMSNorm" + over);
      LayerNormOptions options;
      options.bias = false;
      in_every_layout(LayerNorm<double>(row, options), extents, "LayerNorm without beta" + over);
      options.affine = false;
      in_every_layout(LayerNorm<double>(row, options), extents, "LayerNorm without affine" + over);
      RMSNormOptions rms_options;
      rms_options.affine = false;
      in_every_layout(RMSNorm<double>(row, rms_options), extents, "RMSNorm without affine" + over);
    }
  }
}

}  // namespace
