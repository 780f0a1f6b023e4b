// What must hold between layers, layouts and entry points, whatever the numbers are.
#include <string>
#include <utility>

#include <tensornorm/tensornorm.hpp>

#include "sweep.hpp"

using namespace tensornorm;
using namespace tensornorm_test;

namespace {

/// What one forward and backward of a layer give, values in logical order.
struct Results {
  Values y, dx, dgamma, dbeta;
};

template <class Scalar, int Layout, int Rank = 4, class Layer>
Results run(Layer& layer, const Extents& extents, const Values& x_values, const Values& dy_values) {
  Guarded<Scalar, Rank, Layout> x(extents, x_values), dy(extents, dy_values), y(extents), dx(extents);
  layer.forward(x.map(), y.map());
  layer.backward(x.map(), dy.map(), dx.map());
  Results r{y.values(), dx.values(), values_of(layer.dgamma()), {}};
  if constexpr (HasBeta<Layer>::value) r.dbeta = values_of(layer.dbeta());
  return r;
}

template <class Scalar>
Reals each(const Values& around, double arithmetic) {
  Reals tolerance;
  const Real share = Real(arithmetic) * Precision<Scalar>::kY / Precision<float>::kY;
  for (const double v : around) tolerance.push_back(share + 2 * Precision<Scalar>::rounding(std::abs(Real(v)) + share));
  return tolerance;
}

/// Two ways to the same result may each be off as the oracle's tests allow; `scale` bounds y and the parameters.
template <class Scalar>
void expect_alike(const std::string& what, const Values& got, const Values& want, double scale = 1) {
  expect_close(what, got, Reals(want.begin(), want.end()), each<Scalar>(want, 2e-6 * scale));
}

template <class Scalar>
class Relations : public testing::Test {};
using Scalars = testing::Types<float, Eigen::half>;  // the oracle's sweeps have the others
TYPED_TEST_SUITE(Relations, Scalars, ScalarNames);

const Extents kImage = {3, 6, 5, 7};

TYPED_TEST(Relations, OneGroupIsLayerNormOverChannelsAndSpace) {
  const Values x = normal(count(kImage), 71, 2), dy = normal(count(kImage), 72);
  GroupNormOptions group_options;
  group_options.affine = false;
  LayerNormOptions layer_options;
  layer_options.affine = false;
  GroupNorm<TypeParam> group(1, 6, group_options);
  LayerNorm<TypeParam> layer({6, 5, 7}, layer_options);
  const auto both = [&](auto layout) {
    const Results a = run<TypeParam, layout>(group, kImage, x, dy), b = run<TypeParam, layout>(layer, kImage, x, dy);
    expect_alike<TypeParam>("y " + layout_name(layout), a.y, b.y);
    expect_alike<TypeParam>("dx " + layout_name(layout), a.dx, b.dx, 4);
    EXPECT_TRUE(a.dgamma.empty() && b.dgamma.empty() && a.dbeta.empty() && b.dbeta.empty());
    expect_alike<TypeParam>("mean", values_of(group.mean()), values_of(layer.mean()));
    expect_alike<TypeParam>("rstd", values_of(group.rstd()), values_of(layer.rstd()));
  };
  both(Int<Eigen::RowMajor>{});
  both(Int<Eigen::ColMajor>{});
}

TYPED_TEST(Relations, AGroupForEveryChannelIsInstanceNorm) {
  const Values x = normal(count(kImage), 73, 2), dy = normal(count(kImage), 74);
  for (const int axis : {1, 2, 3, -1}) {
    const Index channels = kImage[std::size_t(axis < 0 ? 4 + axis : axis)];
    GroupNormOptions group_options;
    group_options.channel_axis = axis;
    InstanceNormOptions instance_options;
    instance_options.channel_axis = axis;
    instance_options.affine = true;
    GroupNorm<TypeParam> group(channels, channels, group_options);
    InstanceNorm<TypeParam> instance(channels, instance_options);
    draw_parameters(group, 75);
    draw_parameters(instance, 75);
    const auto both = [&](auto layout) {
      const std::string where = layout_name(layout) + ", channel axis " + std::to_string(axis);
      const Results a = run<TypeParam, layout>(group, kImage, x, dy);
      const Results b = run<TypeParam, layout>(instance, kImage, x, dy);
      expect_alike<TypeParam>("y " + where, a.y, b.y, 3);
      expect_alike<TypeParam>("dx " + where, a.dx, b.dx, 12);
      expect_alike<float>("dgamma " + where, a.dgamma, b.dgamma, 20);
      expect_alike<float>("dbeta " + where, a.dbeta, b.dbeta, 20);
      expect_alike<TypeParam>("mean " + where, values_of(group.mean()), values_of(instance.mean()));
    };
    both(Int<Eigen::RowMajor>{});
    both(Int<Eigen::ColMajor>{});
  }
}

TYPED_TEST(Relations, BatchNormOfOneSampleIsInstanceNorm) {
  const Extents extents{1, 6, 5, 7};
  const Values x = normal(count(extents), 76, 2), dy = normal(count(extents), 77);
  for (const int axis : {1, 2, 3}) {
    const Index channels = extents[std::size_t(axis)];
    BatchNormOptions batch_options;
    batch_options.channel_axis = axis;
    InstanceNormOptions instance_options;
    instance_options.channel_axis = axis;
    instance_options.affine = true;
    instance_options.track_running_stats = true;
    BatchNorm<TypeParam> batch(channels, batch_options);
    InstanceNorm<TypeParam> instance(channels, instance_options);
    draw_parameters(batch, 78);
    draw_parameters(instance, 78);
    const auto both = [&](auto layout) {
      const std::string where = layout_name(layout) + ", channel axis " + std::to_string(axis);
      const Results a = run<TypeParam, layout>(batch, extents, x, dy);
      const Results b = run<TypeParam, layout>(instance, extents, x, dy);
      expect_alike<TypeParam>("y " + where, a.y, b.y, 3);
      expect_alike<TypeParam>("dx " + where, a.dx, b.dx, 12);
      expect_alike<float>("dgamma " + where, a.dgamma, b.dgamma, 20);
      expect_alike<float>("dbeta " + where, a.dbeta, b.dbeta, 20);
      expect_alike<float>("running_mean " + where, values_of(batch.running_mean()), values_of(instance.running_mean()));
      expect_alike<float>("running_var " + where, values_of(batch.running_var()), values_of(instance.running_var()), 4);
    };
    both(Int<Eigen::RowMajor>{});
    both(Int<Eigen::ColMajor>{});
  }
}

/// The same tensor in the other storage order gives the same logical result.
template <class Scalar, class Layer>
void expect_layouts_agree(const std::string& name, Layer layer) {
  const Values x = normal(count(kImage), 79, 2), dy = normal(count(kImage), 80);
  draw_parameters(layer, 81);
  const Results a = run<Scalar, Eigen::RowMajor>(layer, kImage, x, dy);
  const Values rstd = values_of(layer.rstd());
  const Results b = run<Scalar, Eigen::ColMajor>(layer, kImage, x, dy);
  expect_alike<Scalar>(name + " y", b.y, a.y, 3);
  expect_alike<Scalar>(name + " dx", b.dx, a.dx, 12);
  expect_alike<float>(name + " dgamma", b.dgamma, a.dgamma, 20);
  expect_alike<float>(name + " dbeta", b.dbeta, a.dbeta, 20);
  expect_alike<float>(name + " rstd", values_of(layer.rstd()), rstd);
}

TYPED_TEST(Relations, StorageOrdersAgree) {
  InstanceNormOptions options;
  options.affine = true;
  expect_layouts_agree<TypeParam>("BatchNorm", BatchNorm<TypeParam>(6));
  expect_layouts_agree<TypeParam>("InstanceNorm", InstanceNorm<TypeParam>(6, options));
  expect_layouts_agree<TypeParam>("GroupNorm", GroupNorm<TypeParam>(3, 6));
  expect_layouts_agree<TypeParam>("LayerNorm", LayerNorm<TypeParam>({5, 7}));
  expect_layouts_agree<TypeParam>("RMSNorm", RMSNorm<TypeParam>({5, 7}));
}

/// Channels moved to another axis give the result moved likewise.
template <class Scalar, class Layer, class LastLayer>
void expect_channels_move(const std::string& name, Layer first, LastLayer last) {
  const std::vector<int> to_last = {0, 2, 3, 1}, back = {0, 3, 1, 2};
  const Extents moved{kImage[0], kImage[2], kImage[3], kImage[1]};
  const Values x = normal(count(kImage), 82, 2), dy = normal(count(kImage), 83);
  draw_parameters(first, 84);
  draw_parameters(last, 84);
  const auto both = [&](auto layout) {
    const std::string what = name + " " + layout_name(layout);
    const Results a = run<Scalar, layout>(first, kImage, x, dy);
    const Results b = run<Scalar, layout>(last, moved, permuted(x, kImage, to_last), permuted(dy, kImage, to_last));
    expect_alike<Scalar>(what + " y", permuted(b.y, moved, back), a.y, 3);
    expect_alike<Scalar>(what + " dx", permuted(b.dx, moved, back), a.dx, 12);
    expect_alike<float>(what + " dgamma", b.dgamma, a.dgamma, 20);
    expect_alike<float>(what + " dbeta", b.dbeta, a.dbeta, 20);
    expect_alike<float>(what + " mean", values_of(last.mean()), values_of(first.mean()));
  };
  both(Int<Eigen::RowMajor>{});
  both(Int<Eigen::ColMajor>{});
}

TYPED_TEST(Relations, ChannelsMove) {
  BatchNormOptions batch;
  batch.channel_axis = -1;
  expect_channels_move<TypeParam>("BatchNorm", BatchNorm<TypeParam>(6), BatchNorm<TypeParam>(6, batch));
  InstanceNormOptions instance, instance_last;
  instance.affine = instance_last.affine = true;
  instance_last.channel_axis = -1;
  expect_channels_move<TypeParam>("InstanceNorm", InstanceNorm<TypeParam>(6, instance),
                                  InstanceNorm<TypeParam>(6, instance_last));
  GroupNormOptions group;
  group.channel_axis = -1;
  expect_channels_move<TypeParam>("GroupNorm", GroupNorm<TypeParam>(2, 6), GroupNorm<TypeParam>(2, 6, group));
}

/// The affine part commutes: y with gamma and beta is gamma * y without + beta; dgamma is sum(dy * y without).
template <class Scalar, class Layer>
void expect_affine_commutes(const std::string& name, Layer with, Layer without, const Sets& sets) {
  const Values x = normal(count(kImage), 85, 2), dy = normal(count(kImage), 86);
  draw_parameters(with, 87);
  const Values gamma = gamma_of(with), beta = beta_of(with);
  ASSERT_EQ(gamma.size(), std::size_t(sets.params)) << name;
  EXPECT_EQ(gamma_of(without).size() + beta_of(without).size(), 0u) << name;
  const Results a = run<Scalar, Eigen::RowMajor>(with, kImage, x, dy);
  Values dxhat(dy.size());
  for (std::size_t i = 0; i < dy.size(); ++i) dxhat[i] = dy[i] * gamma[std::size_t(sets.param[i])];
  const Results b = run<Scalar, Eigen::RowMajor>(without, kImage, x, dxhat);
  Values y(dy.size());
  Reals tolerance(dy.size());
  for (std::size_t i = 0; i < y.size(); ++i) {
    const auto p = std::size_t(sets.param[i]);
    y[i] = b.y[i] * gamma[p] + (beta.empty() ? 0 : beta[p]);
    tolerance[i] = Precision<Scalar>::kY * 8 + Precision<Scalar>::rounding(std::abs(y[i]) + 1e-5L) +
                   std::abs(gamma[p]) * Precision<Scalar>::rounding(std::abs(b.y[i]) + 1e-5L);
  }
  expect_close(name + " y", a.y, Reals(y.begin(), y.end()), tolerance);
  if (sizeof(Scalar) >= 4) expect_alike<float>(name + " dx", a.dx, b.dx, 12);  // 16 bits round dy * gamma first
}

TYPED_TEST(Relations, AffineCommutes) {
  BatchNormOptions batch;
  batch.affine = false;
  expect_affine_commutes<TypeParam>("BatchNorm", BatchNorm<TypeParam>(6), BatchNorm<TypeParam>(6, batch),
                                    batch_sets(kImage, 1));
  InstanceNormOptions instance;
  instance.affine = true;
  expect_affine_commutes<TypeParam>("InstanceNorm", InstanceNorm<TypeParam>(6, instance), InstanceNorm<TypeParam>(6),
                                    instance_sets(kImage, 1));
  GroupNormOptions group;
  group.affine = false;
  expect_affine_commutes<TypeParam>("GroupNorm", GroupNorm<TypeParam>(3, 6), GroupNorm<TypeParam>(3, 6, group),
                                    group_sets(kImage, 1, 3));
  LayerNormOptions layer;
  layer.affine = false;
  expect_affine_commutes<TypeParam>("LayerNorm", LayerNorm<TypeParam>({5, 7}), LayerNorm<TypeParam>({5, 7}, layer),
                                    row_sets(kImage, 2));
  RMSNormOptions rms;
  rms.affine = false;
  expect_affine_commutes<TypeParam>("RMSNorm", RMSNorm<TypeParam>({5, 7}), RMSNorm<TypeParam>({5, 7}, rms),
                                    row_sets(kImage, 2));
}

/// Every way to ask for the same numbers gives the same bits: operator(), a device, in place, an unaligned tensor, a
/// tensor that gets resized, a second time; backward into dy or x; infer as forward in eval mode.
template <class Scalar, int Layout, class Layer>
void expect_entries_agree(const std::string& name, Layer layer, const Extents& extents) {
  using Buffer = Guarded<Scalar, 4, Layout>;
  const std::string what = name + "<" + name_of<Scalar>() + "> " + text(extents) + " " + layout_name(Layout);
  draw_parameters(layer, 91);
  const Layer fresh = layer;
  const Eigen::DefaultDevice device;
  const Values x_values = normal(count(extents), 88, 2), dy_values = normal(count(extents), 89);
  Buffer x(extents, x_values), dy(extents, dy_values), y(extents), dx(extents);
  layer.forward(x.map(), y.map());
  layer.backward(x.map(), dy.map(), dx.map());
  const Layer first = layer;

  const auto expect_y = [&](const Scalar* data, const char* how) {
    EXPECT_EQ(std::memcmp(data, y.data(), std::size_t(count(extents)) * sizeof(Scalar)), 0) << what << " y " << how;
  };
  const auto expect_dx = [&](const Layer& used, const Scalar* data, const char* how) {
    EXPECT_EQ(std::memcmp(data, dx.data(), std::size_t(count(extents)) * sizeof(Scalar)), 0) << what << " dx " << how;
    EXPECT_TRUE(same_bits(used.dgamma(), first.dgamma())) << what << " dgamma " << how;
    if constexpr (HasBeta<Layer>::value) {
      EXPECT_TRUE(same_bits(used.dbeta(), first.dbeta())) << what << " dbeta " << how;
    }
  };

  layer.forward(x.map(), y.map());
  layer.backward(x.map(), dy.map(), dx.map());
  expect_dx(layer, dx.data(), "a second time: gradients are overwritten, not accumulated");

  Layer other = fresh;
  const typename Buffer::Tensor called = other(x.map());
  expect_y(called.data(), "of operator()");
  const typename Buffer::Tensor called_on = other(device, x.map());
  expect_y(called_on.data(), "of operator() on a device");
  typename Buffer::Tensor resized;
  other.forward(device, x.map(), resized);
  expect_y(resized.data(), "of a forward on a device that resizes");
  EXPECT_TRUE(same_bits(other.rstd(), first.rstd())) << what;

  for (const Index misalign : {1, 3}) {
    Buffer odd_x(extents, x_values, misalign), odd_dy(extents, dy_values, misalign + 1), odd(extents, misalign + 2);
    other.forward(odd_x.map(), odd.map());
    expect_y(odd.data(), "of misaligned maps");
    other.backward(odd_x.map(), odd_dy.map(), odd.map());
    expect_dx(other, odd.data(), "of misaligned maps");
  }

  Buffer in_place(extents, x_values);
  other.forward(in_place.map(), in_place.map());
  expect_y(in_place.data(), "in place");
  EXPECT_TRUE(in_place.guards_intact()) << what;

  Buffer onto_dy(extents, dy_values), onto_x(extents, x_values), on_device(extents);
  other.forward(x.map(), in_place.map());
  other.backward(x.map(), onto_dy.map(), onto_dy.map());
  expect_dx(other, onto_dy.data(), "onto dy");
  other.backward(onto_x.map(), dy.map(), onto_x.map());
  expect_dx(other, onto_x.data(), "onto x");
  other.backward(device, x.map(), dy.map(), on_device.map());
  expect_dx(other, on_device.data(), "on a device");
  EXPECT_TRUE(onto_dy.guards_intact() && onto_x.guards_intact() && on_device.guards_intact()) << what;

  layer.eval();
  const Layer frozen = layer;
  Buffer inferred(extents), inferred_on(extents), infer_in_place(extents, x_values);
  layer.forward(x.map(), y.map());
  frozen.infer(x.map(), inferred.map());
  frozen.infer(device, x.map(), inferred_on.map());
  frozen.infer(infer_in_place.map(), infer_in_place.map());
  expect_y(inferred.data(), "of infer");
  expect_y(inferred_on.data(), "of infer on a device");
  expect_y(infer_in_place.data(), "of infer in place");
  layer.backward(x.map(), dy.map(), dx.map());
  Buffer frozen_onto_dy(extents, dy_values);
  const Layer evaluated = layer;
  layer.backward(x.map(), frozen_onto_dy.map(), frozen_onto_dy.map());
  EXPECT_TRUE(frozen_onto_dy.same_bits(dx)) << what << " dx in eval mode onto dy";
  EXPECT_TRUE(same_bits(layer.dgamma(), evaluated.dgamma())) << what << " dgamma in eval mode onto dy";
}

template <class Scalar>
void every_layer_agrees(const Extents& extents) {
  const auto both = [&](auto layout) {
    const Index channels = extents[1];
    InstanceNormOptions instance;
    instance.affine = true;
    expect_entries_agree<Scalar, layout>("BatchNorm", BatchNorm<Scalar>(channels), extents);
    expect_entries_agree<Scalar, layout>("InstanceNorm", InstanceNorm<Scalar>(channels, instance), extents);
    instance.track_running_stats = true;
    expect_entries_agree<Scalar, layout>("tracking InstanceNorm", InstanceNorm<Scalar>(channels, instance), extents);
    expect_entries_agree<Scalar, layout>("GroupNorm", GroupNorm<Scalar>(channels / 2, channels), extents);
    expect_entries_agree<Scalar, layout>("LayerNorm", LayerNorm<Scalar>({extents[2], extents[3]}), extents);
    expect_entries_agree<Scalar, layout>("RMSNorm", RMSNorm<Scalar>({extents[3]}), extents);
    BatchNormOptions last;
    last.channel_axis = -1;
    expect_entries_agree<Scalar, layout>("BatchNorm, channels last", BatchNorm<Scalar>(extents[3], last), extents);
    GroupNormOptions last_groups;
    last_groups.channel_axis = -1;
    expect_entries_agree<Scalar, layout>("GroupNorm, channels last", GroupNorm<Scalar>(1, extents[3], last_groups),
                                         extents);
  };
  both(Int<Eigen::RowMajor>{});
  both(Int<Eigen::ColMajor>{});
}

template <class Scalar>
class Entries : public testing::Test {};
using AllScalars = testing::Types<float, double, Eigen::half, Eigen::bfloat16>;
TYPED_TEST_SUITE(Entries, AllScalars, ScalarNames);

TYPED_TEST(Entries, GiveTheSameBits) {
  every_layer_agrees<TypeParam>(kImage);
  every_layer_agrees<TypeParam>({2, 6, 9, 33});
}

TEST(Entries, GiveTheSameBitsBeyondTheCaches) { every_layer_agrees<float>({6, 32, 63, 65}); }

}  // namespace
