// Batch invariance: a sample has the same bits whatever samples are beside it, and wherever it is among them.
#include <gtest/gtest.h>

#include "every_layer.hpp"

namespace tensornorm_test {
namespace {

using namespace tensornorm;

template <class Scalar>
std::vector<Scalar> numbers(Index n, unsigned seed) {
  std::vector<Scalar> result(static_cast<std::size_t>(n));
  const Values values = normal(n, seed, 3);
  for (std::size_t i = 0; i < result.size(); ++i) result[i] = from_double<Scalar>(values[i]);
  return result;
}

// y of forward and infer, and dx, of a batch of samples and of some of them alone.
template <class Layer>
void expect_invariant(const Layer& made, const Extents& sample) {
  using Scalar = typename Layer::Scalar;
  const Index n = count(sample);
  Extents one = sample, all = sample;
  one.insert(one.begin(), 1);
  all.insert(all.begin(), 0);
  for (const Index batch : {3, 17, 64}) {
    if (batch * n > 2000000) break;
    all[0] = batch;
    const std::vector<Scalar> x = numbers<Scalar>(batch * n, 1), dy = numbers<Scalar>(batch * n, 2);
    std::vector<Scalar> y(x.size()), dx(x.size()), y1(static_cast<std::size_t>(n)), dx1(y1.size());
    Layer layer = made;
    layer.forward(view(x.data(), all), view(y.data(), all));
    layer.backward(view(x.data(), all), view(dy.data(), all), view(dx.data(), all));
    for (const Index i : {Index{0}, batch / 2, batch - 1}) {
      const auto its_x = view(x.data() + i * n, one);
      const std::string of_y = bytes(y.data() + i * n, n);
      layer.forward(its_x, view(y1.data(), one));
      EXPECT_TRUE(bytes(y1.data(), n) == of_y) << layer << ' ' << text(all) << " sample " << i;
      layer.backward(its_x, view(dy.data() + i * n, one), view(dx1.data(), one));
      EXPECT_TRUE(bytes(dx1.data(), n) == bytes(dx.data() + i * n, n)) << layer << ' ' << text(all) << " dx " << i;
      layer.infer(its_x, view(y1.data(), one));
      EXPECT_TRUE(bytes(y1.data(), n) == of_y) << layer << ' ' << text(all) << " infer " << i;
    }
  }
}

template <class Scalar>
class Invariance : public testing::Test {};
using Scalars = testing::Types<float, double, Eigen::half>;
TYPED_TEST_SUITE(Invariance, Scalars, ScalarNames);

// The longest are divided into parts.
TYPED_TEST(Invariance, OfRows) {
  for (const Index n : {3, 8, 17, 96, 777, 4096, 70000, 140000}) {
    expect_invariant(LayerNorm<TypeParam>(n), {n});
    expect_invariant(RMSNorm<TypeParam>(n), {n});
    LayerNormOptions plain;
    plain.affine = false;
    expect_invariant(LayerNorm<TypeParam>(n, plain), {n});
  }
  expect_invariant(LayerNorm<TypeParam>({16, 56, 56}), {16, 56, 56});
}

TYPED_TEST(Invariance, OfImages) {
  for (const Extents& image : {Extents{2, 3}, {7, 7}, {28, 28}, {112, 112}, {300, 450}}) {
    for (const Index c : {1, 64}) {
      if (c * count(image) > 1000000) continue;
      const Index groups = c == 1 ? 1 : 2;
      expect_invariant(InstanceNorm<TypeParam>(c), {c, image[0], image[1]});
      expect_invariant(GroupNorm<TypeParam>(groups, c), {c, image[0], image[1]});
      InstanceNormOptions instances;
      GroupNormOptions of_groups;
      instances.channel_axis = of_groups.channel_axis = -1;
      expect_invariant(InstanceNorm<TypeParam>(c, instances), {image[0], image[1], c});
      expect_invariant(GroupNorm<TypeParam>(groups, c, of_groups), {image[0], image[1], c});
    }
  }
}

TYPED_TEST(Invariance, OfInferByRunningStatistics) {
  for (const Index c : {1, 5, 16, 100}) {
    BatchNorm<TypeParam> layer(c);
    stir(layer);
    layer.eval();
    expect_invariant(layer, {c});
    expect_invariant(layer, {c, 7, 7});
  }
}

}  // namespace
}  // namespace tensornorm_test
