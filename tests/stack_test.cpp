// What a call takes of the stack, whatever the shape, the scalar, the layout and the layer: 8 KB for infer, 16 KB for
// the others. Whitening has tests of its own.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "every_layer.hpp"
#include "painted_stack.hpp"

namespace tensornorm_test {
namespace {

// Plans are not part of a layer: it may be a member of what lies on a stack.
static_assert(sizeof(tensornorm::BatchNorm<float>) < 1024 && sizeof(tensornorm::LayerNorm<double>) < 1024 &&
                  sizeof(tensornorm::Whitening<float>) < 1024,
              "a layer is small");

constexpr std::size_t kInfer = 8 << 10, kCrowdedInfer = 20 << 10, kOthers = 16 << 10;

template <class Scalar, int Layout, int Rank>
void measure(const Index (&extents_of)[Rank], int channel_axis) {
  const Extents extents(extents_of, extents_of + Rank);
  Guarded<Scalar, Rank, Layout> x(extents, normal(count(extents), 1)), y(extents), dx(extents);
  const auto xm = x.map();
  auto ym = y.map(), dxm = dx.map();
  for_each_layer<Scalar>(extents, channel_axis, [&](const Kind& kind, auto layer) {
    // With a plan of this shape and without.
    for (const auto* name : {"known", "new"}) {
      const auto infer = [&] { layer.infer(xm, ym); };
      if (std::string(name) == "known") infer();
      EXPECT_LE(stack_used(infer), kInfer) << kind.name << layout_name(Layout) << ' ' << name;
      layer.eval();  // forgets the plans
    }
    for (const bool training : {false, true}) {
      if (training && extents[0] == 1) continue;  // no batch
      training ? layer.train() : layer.eval();
      for (int times = 0; times < 2; ++times) {
        EXPECT_LE(stack_used([&] { layer.forward(xm, ym); }), kOthers) << kind.name << layout_name(Layout);
        EXPECT_LE(stack_used([&] { layer.backward(xm, ym, dxm); }), kOthers) << kind.name << layout_name(Layout);
      }
    }
  });
}

template <class Scalar>
class Stack : public testing::Test {};
using Scalars = testing::Types<float, double, Eigen::half, Eigen::bfloat16>;
TYPED_TEST_SUITE(Stack, Scalars, ScalarNames);

TYPED_TEST(Stack, OfACall) {
  using S = TypeParam;
  measure<S, kRow>({1, 8}, 1);
  measure<S, kRow>({256, 96}, 1);
  measure<S, kCol>({256, 96}, 1);
  measure<S, kRow>({30, 3000}, 1);
  measure<S, kCol>({40, 40000}, 1);
  measure<S, kRow>({33, 20, 7, 7}, 1);
  measure<S, kRow>({2, 20, 12, 512}, -1);
  measure<S, kCol>({60, 40, 8, 8}, 1);
  measure<S, kCol>({60, 40, 8, 8}, -1);
  measure<S, kCol>({33, 20, 7, 7}, 1);
  measure<S, kCol>({300, 3, 17, 30}, 1);
  measure<S, kCol>({2, 6, 40, 400}, -1);
}

// A layer whose plans are full of other shapes plans in its call.
TEST(Stack, OfAShapeBeyondThosePlanned) {
  tensornorm::LayerNorm<double> layer({8, 9});
  for (Index n = 1; n < 8; ++n) {
    Eigen::Tensor<double, 3> x(n, 8, 9), y(n, 8, 9);
    x.setRandom();
    EXPECT_LE(stack_used([&] { layer.infer(x, y); }), kInfer) << n;
  }
}

// So many calls of one layer at once that a plan is made on the stack, and what a plan needs lies there too: y is as
// ever. Columns that are no multiple of sixteen, columns that are joined, groups of channels last.
template <class Layer, int Rank, int Layout>
void expect_crowd(const Layer& layer, const Eigen::Tensor<double, Rank, Layout>& x) {
  using Tensor = Eigen::Tensor<double, Rank, Layout>;
  Tensor want(x.dimensions()), y(x.dimensions());
  layer.infer(x, want);
  std::atomic<bool> is_over{false};
  std::vector<std::thread> others;
  for (int i = 0; i < 6; ++i) {
    others.emplace_back([&] {
      Tensor mine = x;  // a plan of a small shape is kept: this one is not
      while (!is_over) layer.infer(x, mine);
    });
  }
  for (int i = 0; i < 30; ++i) {
    EXPECT_LE(stack_used([&] { layer.infer(x, y); }), kCrowdedInfer);
    EXPECT_EQ(bytes(y), bytes(want));
  }
  is_over = true;
  for (std::thread& other : others) other.join();
}

TEST(Stack, OfCallsOfManyThreads) {
  const auto drawn = [](auto tensor) {
    tensor.setRandom();
    return tensor;
  };
  tensornorm::LayerNorm<double> row({64});
  expect_crowd(row, drawn(Eigen::Tensor<double, 2>(40, 64)));
  expect_crowd(row, drawn(Eigen::Tensor<double, 2>(8191, 64)));
  tensornorm::BatchNormOptions untracked;
  untracked.track_running_stats = false;
  expect_crowd(tensornorm::BatchNorm<double>(54, untracked), drawn(Eigen::Tensor<double, 2, kRow>(6000, 54)));
  expect_crowd(tensornorm::BatchNorm<double>(977, untracked), drawn(Eigen::Tensor<double, 2, kRow>(300, 977)));
  tensornorm::GroupNormOptions last;
  last.channel_axis = -1;
  expect_crowd(tensornorm::GroupNorm<double>(54, 216, last), drawn(Eigen::Tensor<double, 3, kRow>(2, 900, 216)));
  expect_crowd(tensornorm::GroupNorm<double>(4, 520, last), drawn(Eigen::Tensor<double, 3, kRow>(4, 341, 520)));
  expect_crowd(tensornorm::InstanceNorm<double>(18), drawn(Eigen::Tensor<double, 3, kRow>(117, 18, 9)));
}

}  // namespace
}  // namespace tensornorm_test
