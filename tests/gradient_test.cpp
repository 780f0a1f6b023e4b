// Gradients against central differences: no formula of the backward pass takes part. In double, gamma not 1, beta not
// 0.
#include <string>

#include <tensornorm/tensornorm.hpp>

#include "sweep.hpp"

using namespace tensornorm;
using namespace tensornorm_test;

namespace {

constexpr double kStep = 1e-5;
constexpr Real kAllowed = 1e-7L;  // relative to the largest: truncation (kStep^2) and cancellation (1e-16 / kStep)

void expect_gradient(const std::string& what, const Values& got, const Reals& want) {
  Real largest = 0;
  for (const Real v : want) largest = std::max(largest, std::abs(v));
  EXPECT_GT(largest, 0.01) << what << " is too small to test";
  expect_close(what, got, want, Reals(want.size(), kAllowed * std::max(largest, Real(1))));
}

/// loss = sum(w * y(x, gamma, beta)), and backward's dy is w.
template <int Rank, int Layout, class Layer>
void check(Layer layer, const Extents& extents, const std::string& name) {
  const std::string what = name + " " + text(extents) + " " + layout_name(Layout);
  Guarded<double, Rank, Layout> x(extents, normal(count(extents), 31, 0.5)), dy(extents, normal(count(extents), 32));
  Guarded<double, Rank, Layout> y(extents), dx(extents);
  const Values w = dy.values();
  draw_parameters(layer, 33);

  auto loss = [&] {
    layer.forward(x.map(), y.map());
    Real sum = 0;
    const Values values = y.values();
    for (std::size_t i = 0; i < w.size(); ++i) sum += Real(w[i]) * Real(values[i]);
    return sum;
  };
  auto difference = [&](double& v) {
    const double at = v, above = at + kStep, below = at - kStep;
    v = above;
    const Real up = loss();
    v = below;
    const Real down = loss();
    v = at;
    return (up - down) / (Real(above) - Real(below));
  };

  Reals want_dx(w.size()), want_dgamma, want_dbeta;
  const auto positions = storage_positions(extents, Layout);
  for (std::size_t i = 0; i < w.size(); ++i) want_dx[i] = difference(x.data()[positions[i]]);
  for (Index p = 0; p < layer.gamma().size(); ++p) want_dgamma.push_back(difference(layer.gamma()[p]));
  if constexpr (HasBeta<Layer>::value) {
    for (Index p = 0; p < layer.beta().size(); ++p) want_dbeta.push_back(difference(layer.beta()[p]));
  }

  loss();
  layer.backward(x.map(), dy.map(), dx.map());
  expect_gradient(what + " dx", dx.values(), want_dx);
  if (!want_dgamma.empty()) expect_gradient(what + " dgamma()", values_of(layer.dgamma()), want_dgamma);
  if constexpr (HasBeta<Layer>::value) {
    if (!want_dbeta.empty()) expect_gradient(what + " dbeta()", values_of(layer.dbeta()), want_dbeta);
  }
}

template <class Layer>
void in_every_layout(const Layer& layer, const Extents& extents, const std::string& name) {
  in_both_layouts<2, 3, 4>(extents, [&](auto rank, auto layout) { check<rank, layout>(layer, extents, name); });
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
