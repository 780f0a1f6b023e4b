// infer never allocates, from the first call on; forward and backward into existing tensors allocate nothing once warm;
// gradient clipping never does.
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <memory>
#include <vector>

#include "counted_malloc.hpp"
#include "every_layer.hpp"

namespace tensornorm_test {
namespace {

using namespace tensornorm;

class Allocation : public testing::Test {
  void SetUp() override {
    if (!COUNTS_ALLOCATIONS) GTEST_SKIP() << "malloc cannot be counted here";
  }
};

template <class Action>
void expect_none(const std::string& what, Action action) {
  const long before = allocations, freed_before = releases;
  action();
  const long after = allocations, freed_after = releases;
  EXPECT_EQ(after - before, 0) << what << " allocates";
  EXPECT_EQ(freed_after - freed_before, 0) << what << " frees";
}

TEST_F(Allocation, IsCounted) {
  const auto counted = [](auto action) {
    const long before = allocations;
    action();
    return allocations > before;
  };
  EXPECT_FALSE(counted([] {}));
  EXPECT_TRUE(counted([] { sink = std::vector<int>(100).data(); }));
  EXPECT_TRUE(counted([] { sink = std::make_unique<double>(1).get(); }));
  EXPECT_TRUE(counted([] { sink = Eigen::ArrayXf(100).data(); }));
  EXPECT_TRUE(counted([] { sink = Eigen::Tensor<float, 2>(10, 10).data(); }));
}

template <int Rank, int Layout, class Scalar = float>
void allocates_nothing(const Extents& extents, int channel_axis) {
  using T = Guarded<Scalar, Rank, Layout>;
  const Index n = count(extents);
  T x(extents, normal(n, 1)), dy(extents, normal(n, 2)), y(extents), dx(extents);
  const auto xm = x.map(), dym = dy.map();
  auto ym = y.map(), dxm = dx.map();
  const Eigen::Tensor<Scalar, Rank, Layout> owned_x = xm;
  Eigen::Tensor<Scalar, Rank, Layout> owned_y = xm;
  const Eigen::DefaultDevice device;
  for_each_layer<Scalar>(extents, channel_axis, [&](const Kind& kind, auto layer) {
    const std::string name = kind.name + " " + layout_name(Layout);
    expect_none(name + ", the first infer", [&] { layer.infer(xm, ym); });
    expect_none(name + ", infer on a device", [&] { layer.infer(device, xm, ym); });
    expect_none(name + ", infer of tensors", [&] { layer.infer(owned_x, owned_y); });
    layer.eval();
    expect_none(name + ", infer in eval mode", [&] { layer.infer(xm, ym); });
    for (const bool training : {true, false}) {
      const std::string mode = training ? " in train mode" : " in eval mode";
      training ? layer.train() : layer.eval();
      layer.forward(xm, ym);
      layer.backward(xm, dym, dxm);
      expect_none(name + ", forward" + mode, [&] { layer.forward(xm, ym); });
      expect_none(name + ", backward" + mode, [&] { layer.backward(xm, dym, dxm); });
      expect_none(name + ", a step on a device" + mode, [&] {
        layer.forward(device, xm, ym);
        layer.backward(device, xm, dym, dxm);
      });
      expect_none(name + ", a step of tensors" + mode, [&] {
        layer.forward(owned_x, owned_y);
        layer.backward(owned_x, owned_y, owned_y);
      });
      expect_none(name + ", a step in place" + mode, [&] {
        dxm = xm;
        layer.forward(dxm, dxm);
        layer.backward(xm, ym, ym);
      });
    }
  });
}

TEST_F(Allocation, SmallAndOddTensors) {
  allocates_nothing<2, kRow>({5, 3}, 1);
  allocates_nothing<2, kCol>({5, 3}, 1);
  allocates_nothing<3, kRow>({2, 4, 9}, 1);
  allocates_nothing<3, kCol>({2, 4, 9}, 1);
  allocates_nothing<3, kRow>({2, 9, 4}, 2);
  allocates_nothing<4, kCol>({3, 5, 7, 6}, 2);
}
TEST_F(Allocation, Images) { allocates_nothing<4, kRow>({4, 64, 31, 33}, 1); }
TEST_F(Allocation, ImagesChannelsLast) { allocates_nothing<4, kRow>({4, 31, 33, 64}, -1); }
TEST_F(Allocation, ImagesColMajor) { allocates_nothing<4, kCol>({4, 64, 31, 33}, 1); }
TEST_F(Allocation, ImagesChannelsLastColMajor) { allocates_nothing<4, kCol>({33, 4, 31, 64}, -1); }
TEST_F(Allocation, ManyChannels) { allocates_nothing<2, kRow>({3, 100003}, 1); }
TEST_F(Allocation, ManyChannelsColMajor) { allocates_nothing<2, kCol>({3, 100003}, 1); }
TEST_F(Allocation, ManyChannelsLast) { allocates_nothing<3, kRow>({2, 3, 50001}, 2); }
TEST_F(Allocation, ManyRows) { allocates_nothing<2, kRow>({100003, 3}, 1); }
TEST_F(Allocation, ManyRowsColMajor) { allocates_nothing<2, kCol>({100003, 3}, 1); }
TEST_F(Allocation, OneHugeSample) { allocates_nothing<3, kRow>({1, 3, 200001}, 1); }
TEST_F(Allocation, OneHugeSampleChannelsLast) { allocates_nothing<3, kRow>({1, 200001, 3}, 2); }
TEST_F(Allocation, Doubles) { allocates_nothing<4, kRow, double>({4, 31, 33, 32}, -1); }
TEST_F(Allocation, Halves) { allocates_nothing<4, kRow, Eigen::half>({4, 32, 31, 33}, 1); }
TEST_F(Allocation, BFloat16) { allocates_nothing<4, kCol, Eigen::bfloat16>({4, 32, 31, 33}, 1); }

// Statistics of x in infer have nowhere to go but the stack.
TEST_F(Allocation, InferWithoutRunningStatistics) {
  const auto infers = [](const Extents& extents, int axis) {
    Guarded<float, 3, kRow> x(extents, normal(count(extents), 1)), y(extents);
    const auto xm = x.map();
    auto ym = y.map();
    BatchNormOptions bn;
    InstanceNormOptions in;
    bn.channel_axis = in.channel_axis = axis;
    bn.track_running_stats = false;
    const Index c = extents[std::size_t(axis)];
    const BatchNorm<float> batch(c, bn);
    const InstanceNorm<float> instance(c, in);
    expect_none("BatchNorm of " + text(extents) + ", infer by batch statistics", [&] { batch.infer(xm, ym); });
    expect_none("InstanceNorm of " + text(extents) + ", infer", [&] { instance.infer(xm, ym); });
  };
  infers({4, 6, 35}, 1);
  infers({4, 35, 6}, 2);
  infers({4, 35, 5001}, 2);
  infers({4, 5001, 35}, 1);
  infers({2, 3, 100003}, 2);
}

// The products of infer, too, have nowhere to go but the stack: groups within a tile of them, of several, of odd sizes.
// In place that has room for 512 channels.
TEST_F(Allocation, InferOfWhitening) {
  const auto infers = [](const Extents& extents, Index axis, Index groups) {
    Guarded<float, 3, kRow> x(extents, normal(count(extents), 1)), y(extents);
    const auto xm = x.map();
    auto ym = y.map();
    WhiteningOptions options;
    options.channel_axis = axis;
    options.groups = groups;
    const Whitening<float> layer(extents[std::size_t(axis)], options);
    const std::string what = "Whitening of " + text(extents) + " in " + std::to_string(groups) + " groups, ";
    expect_none(what + "the first infer", [&] { layer.infer(xm, ym); });
    if (layer.channels() / groups <= 512) expect_none(what + "infer in place", [&] { layer.infer(ym, ym); });
  };
  infers({4, 6, 35}, 1, 1);
  infers({4, 6, 350}, 1, 6);
  infers({4, 64, 350}, 1, 1);
  infers({4, 350, 128}, 2, 2);
  infers({3, 200, 50}, 1, 1);
  infers({3, 50, 1001}, 2, 1);
  infers({1, 3000, 2}, 1, 1);
  infers({1, 5, 1}, 1, 1);
}

TEST_F(Allocation, EmptyTensors) {
  const Extents extents{0, 4, 5};
  Guarded<float, 3, kRow> x(extents), y(extents);
  const auto xm = x.map();
  auto ym = y.map();
  for_each_layer<float>(extents, 1, [&](const Kind& kind, const auto& layer) {
    expect_none(kind.name + ", infer", [&] { layer.infer(xm, ym); });
  });
}

// Gradients that overflow, underflow, have gaps or are many; and a list that is there already.
TEST_F(Allocation, GradientClipping) {
  Guarded<float, 3, kRow> a({3, 50, 1001}, normal(150150, 1));
  Eigen::ArrayXd b = Eigen::ArrayXd::Constant(1000, 1e200);
  Eigen::Matrix<Eigen::half, Eigen::Dynamic, Eigen::Dynamic> c(50, 40);
  c.setConstant(Eigen::half(1e-7f));
  std::vector<Eigen::ArrayXf> many(100, Eigen::ArrayXf::Constant(7, 1e30f));
  std::vector<GradientRef> list(many.begin(), many.end());
  list.emplace_back(b);
  for (const NormType type : {NormType::kOne, NormType::kTwo, NormType::kInfinity}) {
    ClipGradNormOptions options;
    options.norm_type = type;
    options.error_if_nonfinite = false;
    const std::string name = "clip_grad_norm " + std::to_string(int(type));
    b[7] = 1e200;
    expect_none(name, [&] { clip_grad_norm(1, options, b, a.map(), c, c.block(1, 1, 30, 20), c.row(2), many); });
    expect_none(name + " of a list", [&] { clip_grad_norm(Eigen::DefaultDevice(), 0.5, options, list); });
    b[7] = std::nan("");
    expect_none(name + " not finite", [&] { clip_grad_norm(1, options, list); });
  }
  expect_none("clip_grad_value", [&] { clip_grad_value(0.1, a.map(), b, c.row(2), list); });
  expect_none("a list of names", [&] { clip_grad_value(0.1, std::array<GradientRef, 2>{b, c}); });
}

// Parameters that a function must copy, and gradients that are added to.
TEST_F(Allocation, FunctionsWithAPass) {
  const Eigen::MatrixXf x = Eigen::MatrixXf::Random(20, 12);
  Eigen::MatrixXf y = x, dx = x;
  Eigen::ArrayXf scale = Eigen::ArrayXf::Random(12), shift = scale, dscale = scale, dshift = scale;
  std::vector<float> spread(24, 0.5F), dspread(24, 0);
  const auto gaps = view(spread.data(), {1, 12}, {24, 2});
  auto dgaps = view(dspread.data(), {1, 12}, {24, 2});
  Pass<float> pass;
  const auto step = [&] {
    layer_norm(x, plus_one(scale), shift, 1e-5, y, pass);
    layer_norm_backward(x, x, plus_one(scale), pass, add_to(dx), add_to(dscale), dshift);
    layer_norm(x, gaps, gaps, 1e-5, y, pass);
    layer_norm_backward(x, x, gaps, pass, dx, dgaps, kNone);
  };
  step();
  expect_none("functions with a pass", step);
}

// What is copied because no axis has neighbouring elements in all tensors: training keeps the memory, and infer of a
// few thousand elements has it.
TEST_F(Allocation, TensorsThatAreCopied) {
  const Index rows = 40, cols = 30;
  const Values values = normal(rows * cols, 1);
  std::vector<float> apart(std::size_t(2 * rows * cols), 0);
  const auto x = view(apart.data(), {rows, cols}, {2 * cols, 2});
  for (Index i = 0; i < rows * cols; ++i) apart[std::size_t(2 * i)] = float(values[std::size_t(i)]);
  Eigen::MatrixXf y(rows, cols), dx(rows, cols);
  const Eigen::Matrix<float, -1, -1, kRow> dy = Eigen::MatrixXf::Random(rows, cols);
  for_each_layer<float>({rows, cols}, 1, [&](const Kind& kind, auto layer) {
    const auto step = [&] {
      layer.forward(x, y);
      layer.backward(x, dy, dx);
      layer.forward(x, then_relu(y));
      layer.backward(x, then_relu(dy), dx);
    };
    step();
    expect_none(kind.name + ", a step", step);
    if (kind.name.find("Whitening") == std::string::npos) {
      expect_none(kind.name + ", infer", [&] { layer.infer(x, y); });
    }
  });
  Pass<float> pass;
  const Eigen::ArrayXf scale = Eigen::ArrayXf::Random(cols);
  const auto step = [&] {
    rms_norm(x, scale, 1e-5, y, pass);
    rms_norm_backward(x, dy, scale, pass, dx, kNone);
    rms_norm(x, scale, 1e-5, y);
  };
  step();
  expect_none("functions", step);
}

}  // namespace
}  // namespace tensornorm_test
