// Every misuse throws std::invalid_argument whose text holds the numbers that disagree, and changes nothing: not the
// layer, not y, not dx, and the backward of the last good forward still works.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <optional>

#include "every_layer.hpp"

namespace tensornorm_test {
namespace {

using namespace tensornorm;

bool has_number(const std::string& message, Index number) {
  const std::string wanted = std::to_string(number);
  for (std::size_t at = message.find(wanted); at != std::string::npos; at = message.find(wanted, at + 1)) {
    const auto digit = [&](std::size_t i) { return i < message.size() && message[i] >= '0' && message[i] <= '9'; };
    if (!(at > 0 && digit(at - 1)) && !digit(at + wanted.size())) return true;
  }
  return false;
}

template <class Action>
void expect_refused(const std::string& what, const Extents& numbers, Action action) {
  try {
    action();
    ADD_FAILURE() << what << ": accepted";
  } catch (const std::invalid_argument& e) {
    for (const Index n : numbers) EXPECT_TRUE(has_number(e.what(), n)) << what << ": no " << n << " in: " << e.what();
  } catch (const std::exception& e) {
    ADD_FAILURE() << what << ": threw something else: " << e.what();
  }
}

const Extents kExtents{3, 4, 5, 7};
using Image = Guarded<float, 4, kRow>;

// A layer after a good training step on (x, dy), and the refusals it has to survive.
template <class Layer>
class Subject {
 public:
  Subject(std::string layer_name, Layer stirred)
      : name(std::move(layer_name)), layer(std::move(stirred)), x(kExtents, normal(420, 1)),
        dy(kExtents, normal(420, 2)), y(kExtents, normal(420, 3)), dx(kExtents, normal(420, 4)), good_dx_(kExtents) {
    layer.forward(x.map(), y.map());
    layer.backward(x.map(), dy.map(), good_dx_.map());
  }

  // The action must be refused; it may name y and dx as outputs.
  template <class Action>
  void refuses(const std::string& what, const Extents& numbers, Action action) {
    const std::string where = name + ", " + what;
    const std::string before = state(layer) + tensors();
    expect_refused(where, numbers, action);
    EXPECT_TRUE(state(layer) + tensors() == before) << where << ": the layer or a tensor changed";
    const bool training = layer.training();
    const std::string before_backward = results(layer);
    Image again(kExtents);
    try {
      layer.backward(x.map(), dy.map(), again.map());
      EXPECT_TRUE(again.same_bits(good_dx_)) << where << ": the backward after it differs";
      EXPECT_TRUE(results(layer) == before_backward) << where << ": the gradients after it differ";
    } catch (const std::exception& e) {
      ADD_FAILURE() << where << ": the backward of the last good forward no longer works: " << e.what();
    }
    EXPECT_EQ(layer.training(), training);
  }

  // The same, while something about the layer is wrong: no backward can be asked for.
  template <class Action>
  void refuses_now(const std::string& what, const Extents& numbers, Action action) {
    const std::string where = name + ", " + what;
    const std::string before = state(layer) + tensors();
    expect_refused(where, numbers, action);
    EXPECT_TRUE(state(layer) + tensors() == before) << where << ": the layer or a tensor changed";
  }

  // forward in either mode and infer, of x into y.
  template <class X, class Y>
  void refuses_x(const std::string& what, const Extents& numbers, const X& bad_x, Y y_like) {
    refuses(what + ", forward", numbers, [&] { layer.forward(bad_x, y_like); });
    refuses(what + ", forward on a device", numbers, [&] { layer.forward(Eigen::DefaultDevice(), bad_x, y_like); });
    refuses(what + ", infer", numbers, [&] { std::as_const(layer).infer(bad_x, y_like); });
    refuses(what + ", infer on a device", numbers, [&] { layer.infer(Eigen::DefaultDevice(), bad_x, y_like); });
  }

  template <class X>
  void refuses_call(const std::string& what, const Extents& numbers, const X& bad_x) {
    refuses(what + ", operator()", numbers, [&] { static_cast<void>(layer(bad_x)); });
    refuses(what + ", operator() on a device", numbers,
            [&] { static_cast<void>(layer(Eigen::DefaultDevice(), bad_x)); });
  }

  const std::string name;
  Layer layer;
  Image x, dy, y, dx;

 private:
  std::string tensors() { return bytes(x.map()) + bytes(dy.map()) + bytes(y.map()) + bytes(dx.map()); }

  Image good_dx_;
};

template <class Use>
void for_each_subject(Use use) {
  for_each_layer<float>(kExtents, 1, [&](const Kind& kind, const auto& layer) {
    Subject<std::decay_t<decltype(layer)>> subject(kind.name, layer);
    use(subject);
  });
}

// Each has another channel count and other trailing extents than the layers expect; the offending number comes along.
TEST(Misuse, TensorsOfOtherExtents) {
  for_each_subject([](auto& s) {
    Image wide({3, 6, 5, 7}, normal(630, 5)), wide_y({3, 6, 5, 7}, normal(630, 6));
    const std::string before = bytes(wide_y.map());
    s.refuses_x("6 channels instead of 4", {6, 4}, wide.map(), wide_y.map());
    s.refuses_call("6 channels instead of 4", {6, 4}, wide.map());
    EXPECT_EQ(before, bytes(wide_y.map())) << s.name;
    Eigen::Tensor<float, 4, kRow> owned(1, 1, 1, 2);
    owned.setConstant(7.0F);
    s.refuses("6 channels instead of 4 into an owning tensor", {6, 4}, [&] { s.layer.forward(wide.map(), owned); });
    EXPECT_TRUE(owned.size() == 2 && owned(0, 0, 0, 1) == 7.0F) << s.name << ": a refused call resized y";

    Guarded<float, 2, kRow> flat({12, 35}, normal(420, 7)), flat_y({12, 35}, normal(420, 8));
    s.refuses_x("a matrix of 35 columns", {35}, flat.map(), flat_y.map());
    Guarded<float, 1, kRow> line({420}, normal(420, 7)), line_y({420}, normal(420, 8));
    s.refuses_x("rank 1", {}, line.map(), line_y.map());
  });
}

TEST(Misuse, TrailingExtentsOfLayerNorm) {
  LayerNorm<float> ln({5, 7});
  RMSNorm<float> rms({5, 7});
  Image swapped({3, 4, 7, 5}, normal(420, 1)), y({3, 4, 7, 5}, normal(420, 2));
  const std::string before = bytes(y.map());
  expect_refused("LayerNorm({5, 7}) of (3, 4, 7, 5)", {5, 7}, [&] { ln.forward(swapped.map(), y.map()); });
  expect_refused("RMSNorm({5, 7}) of (3, 4, 7, 5)", {5, 7}, [&] { rms.forward(swapped.map(), y.map()); });
  expect_refused("LayerNorm({5, 7}) of (3, 4, 7, 5), infer", {5, 7}, [&] { ln.infer(swapped.map(), y.map()); });
  Guarded<float, 1, kRow> row({7}, normal(7, 1)), row_y({7}, normal(7, 2));
  expect_refused("LayerNorm({5, 7}) of (7)", {5, 7}, [&] { ln.forward(row.map(), row_y.map()); });
  expect_refused("RMSNorm({5, 7}) of (7)", {5, 7}, [&] { rms.infer(row.map(), row_y.map()); });
  EXPECT_EQ(before, bytes(y.map()));
  EXPECT_EQ(ln.mean().size(), 0);
  EXPECT_EQ(rms.rstd().size(), 0);
}

TEST(Misuse, OutputMapsOfOtherExtents) {
  for_each_subject([](auto& s) {
    Image narrow({3, 4, 5, 6}, normal(360, 5)), permuted({3, 4, 7, 5}, normal(420, 6));
    const std::string before = bytes(narrow.map()) + bytes(permuted.map());
    s.refuses_x("y is narrower", {6, 7}, s.x.map(), narrow.map());
    s.refuses_x("y has as many elements but other extents", {5, 7}, s.x.map(), permuted.map());
    s.refuses("dx is narrower", {6, 7}, [&] { s.layer.backward(s.x.map(), s.dy.map(), narrow.map()); });
    s.refuses("dx has other extents", {5, 7}, [&] { s.layer.backward(s.x.map(), s.dy.map(), permuted.map()); });
    s.refuses("dy is narrower", {6, 7}, [&] { s.layer.backward(s.x.map(), narrow.map(), s.dx.map()); });
    s.refuses("dy has other extents", {5, 7}, [&] { s.layer.backward(s.x.map(), permuted.map(), s.dx.map()); });
    s.refuses("x has other extents in backward", {5, 7},
              [&] { s.layer.backward(permuted.map(), s.dy.map(), s.dx.map()); });
    Eigen::Tensor<float, 4, kRow> owned(3, 4, 5, 6), resized(3, 4, 5, 6);
    owned.setZero();
    resized.setConstant(7.0F);
    s.refuses("dy is an owning tensor of other extents", {6, 7}, [&] { s.layer.backward(s.x.map(), owned, resized); });
    EXPECT_EQ(resized.dimension(3), 6) << s.name << ": dx was resized by a refused call";
    s.refuses_now("x and dy of a batch of 2", {2, 3}, [&] {
      Image x2({2, 4, 5, 7}, normal(280, 5)), dy2({2, 4, 5, 7}, normal(280, 5)), dx2({2, 4, 5, 7});
      s.layer.backward(x2.map(), dy2.map(), dx2.map());
    });
    EXPECT_EQ(before, bytes(narrow.map()) + bytes(permuted.map())) << s.name;
  });
}

// Negative, or more than any memory holds: the product overflows, or is that of bytes, or of all but an empty axis.
TEST(Misuse, ExtentsOfNoTensor) {
  const Index large = Index{1} << 32, largest = std::numeric_limits<Index>::max();
  for (const Extents& extents :
       {Extents{3, 4, -5, 7}, Extents{large, 4, large, 7}, Extents{large, 4, large / 4, 1}, Extents{largest, 4, 5, 7},
        Extents{largest / 8, 4, 1, 1}, Extents{large, 0, large, 7}}) {
    for_each_subject([&](auto& s) {
      const typename Image::Map none(s.x.data(), extents[0], extents[1], extents[2], extents[3]);
      typename Image::Map none_y(s.y.data(), extents[0], extents[1], extents[2], extents[3]);
      const std::string what = "extents " + text(extents);
      s.refuses_x("x of " + what, {extents[0], extents[2]}, none, s.y.map());
      s.refuses_x("y of " + what, {extents[0], extents[2]}, s.x.map(), none_y);
      s.refuses_x("both of " + what, {extents[0], extents[2]}, none, none_y);
      s.refuses_call("x of " + what, {extents[0], extents[2]}, none);
      s.refuses("dy of " + what, {extents[2]}, [&] { s.layer.backward(s.x.map(), none, s.dx.map()); });
      s.refuses("dx of " + what, {extents[2]}, [&] { s.layer.backward(s.x.map(), s.dy.map(), none_y); });
    });
  }
}

// Two maps of one buffer, `shift` elements apart.
TEST(Misuse, PartialOverlap) {
  for (const Index shift : {1, 7, 140, 419}) {
    for_each_subject([&](auto& s) {
      std::vector<float> buffer(900);
      for (std::size_t i = 0; i < buffer.size(); ++i) buffer[i] = float(i % 17);
      const auto at = [&](Index offset) { return typename Image::Map(buffer.data() + offset, 3, 4, 5, 7); };
      const std::string shifted = " by " + std::to_string(shift), before = bytes(buffer.data(), 900);
      s.refuses_x("y overlaps x" + shifted, {}, at(0), at(shift));
      s.refuses_x("x overlaps y" + shifted, {}, at(shift), at(0));
      s.refuses("dx overlaps dy" + shifted, {}, [&] { s.layer.backward(s.x.map(), at(0), at(shift)); });
      s.refuses("dy overlaps dx" + shifted, {}, [&] { s.layer.backward(s.x.map(), at(shift), at(0)); });
      s.refuses("dx overlaps x" + shifted, {}, [&] { s.layer.backward(at(0), s.dy.map(), at(shift)); });
      s.refuses("x overlaps dx" + shifted, {}, [&] { s.layer.backward(at(shift), s.dy.map(), at(0)); });
      EXPECT_EQ(before, bytes(buffer.data(), 900)) << s.name;
      EXPECT_NO_THROW(s.layer.forward(at(0), at(420))) << s.name << ": neighbours do not overlap";
    });
  }
}

TEST(Misuse, ParametersOfTheWrongSize) {
  for_each_subject([](auto& s) {
    const auto refuses_all = [&](const std::string& what, const Extents& numbers) {
      s.refuses_now(what + ", forward", numbers, [&] { s.layer.forward(s.x.map(), s.y.map()); });
      s.refuses_now(what + ", operator()", numbers, [&] { static_cast<void>(s.layer(s.x.map())); });
      s.refuses_now(what + ", infer", numbers, [&] { s.layer.infer(s.x.map(), s.y.map()); });
    };
    const auto with_size = [&](auto& parameter, Index size, const std::string& what, bool in_backward) {
      const auto good = parameter;
      parameter.resize(size);
      parameter.setOnes();
      const Extents numbers{size, good.size()};
      refuses_all(what + " of size " + std::to_string(size), numbers);
      if (in_backward) {
        s.refuses_now(what + " in backward", numbers, [&] { s.layer.backward(s.x.map(), s.dy.map(), s.dx.map()); });
      }
      parameter = good;
    };
    for (const Index off : {Index(-1), Index(1)}) {
      with_size(s.layer.gamma(), s.layer.gamma().size() + off, "gamma", true);
      if constexpr (has_beta<decltype(s.layer)>) {
        with_size(s.layer.beta(), s.layer.beta().size() + off, "beta", false);
      }
      if constexpr (has_running<decltype(s.layer)>) {
        with_size(s.layer.running_mean(), s.layer.running_mean().size() + off, "running_mean", false);
        with_size(s.layer.running_var(), s.layer.running_var().size() + off, "running_var", false);
        s.layer.eval();
        s.layer.forward(s.x.map(), s.y.map());
        with_size(s.layer.running_mean(), s.layer.running_mean().size() + off, "running_mean in eval", false);
        with_size(s.layer.running_var(), s.layer.running_var().size() + off, "running_var in eval", false);
        s.layer.train();
        s.layer.forward(s.x.map(), s.y.map());
      }
    }
    with_size(s.layer.gamma(), 0, "gamma", true);
    EXPECT_NO_THROW(s.layer.forward(s.x.map(), s.y.map())) << s.name << ": with its parameters restored";
  });
}

TEST(Misuse, BackwardWithoutItsForward) {
  for_each_layer<float>(kExtents, 1, [](const Kind& kind, auto layer) {
    Image x(kExtents, normal(420, 1)), dy(kExtents, normal(420, 2)), y(kExtents), dx(kExtents, normal(420, 3));
    const std::string untouched = bytes(dx.map());
    const auto refuses = [&](const std::string& what) {
      const std::string before = state(layer);
      expect_refused(kind.name + ", " + what, {}, [&] { layer.backward(x.map(), dy.map(), dx.map()); });
      expect_refused(kind.name + ", " + what + " on a device", {},
                     [&] { layer.backward(Eigen::DefaultDevice(), x.map(), dy.map(), dx.map()); });
      EXPECT_EQ(before, state(layer)) << kind.name << ", " << what;
      EXPECT_EQ(untouched, bytes(dx.map())) << kind.name << ", " << what;
    };
    refuses("no forward at all");
    layer.infer(x.map(), y.map());
    refuses("only infer");
    layer.forward(x.map(), y.map());
    layer.eval();
    refuses("forward in train mode, backward in eval mode");
    layer.forward(x.map(), y.map());
    layer.train();
    refuses("forward in eval mode, backward in train mode");
    layer.forward(x.map(), y.map());
    layer.infer(x.map(), y.map());
    EXPECT_NO_THROW(layer.backward(x.map(), dy.map(), y.map())) << kind.name << ": infer is not a forward";
  });
}

TEST(Misuse, BackwardInAnotherLayout) {
  for_each_subject([](auto& s) {
    Guarded<float, 4, kCol> x(kExtents, normal(420, 1)), dy(kExtents, normal(420, 2)), dx(kExtents, normal(420, 3));
    const std::string before = bytes(dx.map());
    s.refuses("forward of RowMajor, backward of ColMajor", {}, [&] { s.layer.backward(x.map(), dy.map(), dx.map()); });
    EXPECT_EQ(before, bytes(dx.map())) << s.name;
  });
}

TEST(Misuse, StatisticsOfOneValue) {
  const auto refuses = [](auto layer, const std::string& what, const Extents& extents, const Extents& numbers) {
    stir(layer);
    Guarded<float, 3, kRow> x(extents, normal(count(extents), 1)), y(extents, normal(count(extents), 2));
    const std::string before = state(layer) + bytes(y.map());
    expect_refused(what + " of " + text(extents), numbers, [&] { layer.forward(x.map(), y.map()); });
    EXPECT_EQ(before, state(layer) + bytes(y.map())) << what << ": changed";
  };
  for (const bool track : {true, false}) {
    const std::string tracking = track ? " tracking" : " not tracking";
    BatchNormOptions bn;
    bn.track_running_stats = track;
    refuses(BatchNorm<float>(7, bn), "BatchNorm" + tracking, {1, 7, 1}, {1, 7});
    bn.channel_axis = 2;
    refuses(BatchNorm<float>(7, bn), "BatchNorm" + tracking, {1, 1, 7}, {1, 7});
    bn.channel_axis = 0;
    refuses(BatchNorm<float>(7, bn), "BatchNorm" + tracking, {7, 1, 1}, {1, 7});
    InstanceNormOptions in;
    in.track_running_stats = track;
    refuses(InstanceNorm<float>(7, in), "InstanceNorm" + tracking, {5, 7, 1}, {1});
    in.channel_axis = -1;
    refuses(InstanceNorm<float>(7, in), "InstanceNorm" + tracking, {5, 1, 7}, {1});
  }
}

// The running statistics need no second value.
TEST(Misuse, EvalModeTakesOneValuePerStatistic) {
  Guarded<float, 3, kRow> x({1, 7, 1}, normal(7, 1)), y({1, 7, 1});
  BatchNorm<float> bn(7);
  InstanceNormOptions tracking;
  tracking.track_running_stats = true;
  InstanceNorm<float> in(7, tracking);
  EXPECT_NO_THROW(bn.infer(x.map(), y.map()));
  EXPECT_NO_THROW(in.infer(x.map(), y.map()));
  bn.eval();
  in.eval();
  EXPECT_NO_THROW(bn.forward(x.map(), y.map()));
  EXPECT_NO_THROW(in.forward(x.map(), y.map()));
}

TEST(Misuse, ChannelAxisOutOfRange) {
  Image x(kExtents, normal(420, 1)), y(kExtents, normal(420, 2));
  Guarded<float, 2, kRow> x2({5, 7}, normal(35, 1)), y2({5, 7}, normal(35, 2));
  const std::string before = bytes(y.map()) + bytes(y2.map());
  for (const Index axis : {-6, -5, 4, 5, 1000}) {
    const std::string what = " with channel_axis " + std::to_string(axis);
    const auto refuses = [&](const char* name, auto layer) {
      expect_refused(name + what, {axis, 4}, [&] { layer.forward(x.map(), y.map()); });
      expect_refused(name + what + ", infer", {axis, 4}, [&] { layer.infer(x.map(), y.map()); });
    };
    BatchNormOptions bn;
    InstanceNormOptions in;
    GroupNormOptions gn;
    bn.channel_axis = in.channel_axis = gn.channel_axis = axis;
    refuses("BatchNorm", BatchNorm<float>(4, bn));
    refuses("InstanceNorm", InstanceNorm<float>(4, in));
    refuses("GroupNorm", GroupNorm<float>(2, 4, gn));
  }
  InstanceNormOptions in;
  GroupNormOptions gn;
  in.channel_axis = gn.channel_axis = -2;  // the batch, once x is a matrix
  expect_refused("InstanceNorm over the batch", {}, [&] { InstanceNorm<float>(5, in).forward(x2.map(), y2.map()); });
  expect_refused("GroupNorm over the batch", {}, [&] { GroupNorm<float>(5, 5, gn).forward(x2.map(), y2.map()); });
  expect_refused("GroupNorm over the batch, infer", {}, [&] { GroupNorm<float>(5, 5, gn).infer(x2.map(), y2.map()); });
  EXPECT_EQ(before, bytes(y.map()) + bytes(y2.map()));
}

TEST(Misuse, BatchNormNeedsABatchAndAChannel) {
  Guarded<float, 1, kRow> x({6}, normal(6, 1)), y({6}, normal(6, 2));
  for (const Index axis : {-1, 0, 1}) {
    BatchNormOptions options;
    options.channel_axis = axis;
    expect_refused("BatchNorm of rank 1", {1}, [&] { BatchNorm<float>(6, options).forward(x.map(), y.map()); });
    expect_refused("BatchNorm of rank 1", {1}, [&] { BatchNorm<float>(6, options).infer(x.map(), y.map()); });
  }
}

// ---- messages that say what to do

template <class Action>
void expect_words(const std::string& what, const std::vector<std::string>& words, Action action) {
  try {
    action();
    ADD_FAILURE() << what << ": accepted";
  } catch (const std::invalid_argument& e) {
    for (const auto& w : words) EXPECT_NE(std::string(e.what()).find(w), std::string::npos) << what << ": " << e.what();
  }
}

TEST(MisuseWords, OutputsThatCannotTakeTheExtents) {
  const Eigen::MatrixXf x = Eigen::MatrixXf::Random(9, 6);
  BatchNorm<float> bn(6);
  Eigen::Matrix<float, 9, 5> fixed;
  Eigen::Matrix<float, Eigen::Dynamic, 6, 0, 8, 6> bounded(2, 6);
  Eigen::VectorXf vector(54);
  Eigen::MatrixXf memory = Eigen::MatrixXf::Constant(18, 12, 7);
  const std::string before = state(bn);
  expect_words("fixed", {"y has extents (9, 5) instead of (9, 6)", "dynamic"}, [&] { bn.forward(x, fixed); });
  expect_words("bounded", {"y has extents (2, 6) instead of (9, 6)", "larger"}, [&] { bn.forward(x, bounded); });
  expect_words("vector", {"y has extents (54, 1) instead of (9, 6)", "dynamic"}, [&] { bn.forward(x, vector); });
  expect_words("map", {"y has extents (6, 9) instead of (9, 6)", "cannot be resized"},
               [&] { bn.forward(x, Eigen::Map<Eigen::MatrixXf>(memory.data(), 6, 9)); });
  using Strides = Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>;
  Eigen::Map<Eigen::MatrixXf, 0, Strides> folded(memory.data(), 9, 6, Strides(1, 1));
  expect_words("folded", {"y of extents (9, 6)", "two elements at one place", "(1, 1)"},
               [&] { bn.forward(x, folded); });
  EXPECT_TRUE((memory.array() == 7).all());
  EXPECT_EQ(state(bn), before);
}

TEST(MisuseWords, FeaturesByBatch) {
  LayerNorm<float> ln({6});
  const Eigen::MatrixXf features = Eigen::MatrixXf::Random(6, 9);
  Eigen::MatrixXf y;
  expect_words("features by batch", {"(6, 9)", "transpose", "axis = 0"}, [&] { ln.forward(features, y); });
  EXPECT_EQ(y.size(), 0);
  LayerNormOptions along;
  along.axis = 1;
  expect_words("axis", {"(6, 9)", "over (6)", "from axis 1 on"},
               [&] { LayerNorm<float>({6}, along).forward(features, y); });
  EXPECT_NO_THROW(static_cast<void>(ln(features.transpose())));
}

// ---- more elements than an int counts

// A map of Extents over memory of a few floats: no element may be read.
template <class Ix>
using HugeMap = Eigen::TensorMap<Eigen::Tensor<float, 2, kRow, Ix>>;

TEST(MisuseOfHugeTensors, OverlapIsSeenPastIntegers) {
  std::vector<float> memory(8);
  LayerNorm<float> ln({1 << 15});
  for (const int rows : {1 << 16, 3 << 16, 1 << 17}) {  // 2^31 elements, 1.5 * 2^32 and 2^32
    const HugeMap<int> x(memory.data(), rows, 1 << 15);
    HugeMap<int> y(memory.data() + 2, rows, 1 << 15);
    const Extents numbers{Index{rows} << 15};
    expect_refused("forward", numbers, [&] { ln.infer(x, y); });
    expect_refused("the other way", numbers, [&] { ln.infer(y, HugeMap<int>(memory.data(), rows, 1 << 15)); });
  }
}

TEST(MisuseOfHugeTensors, AnIndexTypeThatIsTooNarrow) {
  std::vector<float> memory(8);
  LayerNorm<float> ln({1 << 15});
  const HugeMap<Index> x(memory.data(), 1 << 16, 1 << 15);
  Eigen::Tensor<float, 2, kRow, int> y(2, 3);
  y.setConstant(7);
  expect_refused("y", {2, 3, 1 << 16, 1 << 15, 2147483647}, [&] { ln.infer(x, y); });
  expect_refused("a result", {2147483647}, [&] { ln.infer(HugeMap<int>(memory.data(), 1 << 16, 1 << 15)); });
  EXPECT_TRUE(y.dimension(0) == 2 && y(1, 2) == 7);
}

template <class Options>
Options with_eps(double eps) {
  Options options;
  options.eps = eps;
  return options;
}

TEST(Misuse, Constructors) {
  for (const Index channels : {0, -3}) {
    expect_refused("BatchNorm", {channels}, [&] { BatchNorm<float>{channels}; });
    expect_refused("InstanceNorm", {channels}, [&] { InstanceNorm<float>{channels}; });
    expect_refused("GroupNorm", {channels}, [&] { GroupNorm<float>(1, channels); });
    expect_refused("GroupNorm of no groups", {channels}, [&] { GroupNorm<float>(channels, 8); });
    expect_refused("LayerNorm", {channels}, [&] { LayerNorm<float>({4, channels}); });
    expect_refused("RMSNorm", {channels}, [&] { RMSNorm<float>({channels, 4}); });
  }
  expect_refused("GroupNorm(3, 8)", {3, 8}, [] { GroupNorm<float>(3, 8); });
  expect_refused("GroupNorm(16, 8)", {16, 8}, [] { GroupNorm<float>(16, 8); });
  expect_refused("LayerNorm of no extents", {}, [] { LayerNorm<float>(std::vector<Index>{}); });
  expect_refused("RMSNorm of no extents", {}, [] { RMSNorm<float>(std::vector<Index>{}); });
  InstanceNormOptions in;
  GroupNormOptions gn;
  in.channel_axis = gn.channel_axis = 0;
  expect_refused("InstanceNorm with channel_axis 0", {0}, [&] { InstanceNorm<float>(8, in); });
  expect_refused("GroupNorm with channel_axis 0", {0}, [&] { GroupNorm<float>(2, 8, gn); });

  const double inf = std::numeric_limits<double>::infinity(), nan = std::numeric_limits<double>::quiet_NaN();
  for (const double eps : {-1e-9, -2.0, inf, -inf, nan}) {
    const std::string what = " with eps " + std::to_string(eps);
    const Extents numbers = eps == -2.0 ? Extents{2} : Extents{};
    expect_refused("BatchNorm" + what, numbers, [&] { BatchNorm<float>(8, with_eps<BatchNormOptions>(eps)); });
    expect_refused("InstanceNorm" + what, numbers, [&] { InstanceNorm<float>(8, with_eps<InstanceNormOptions>(eps)); });
    expect_refused("GroupNorm" + what, numbers, [&] { GroupNorm<float>(2, 8, with_eps<GroupNormOptions>(eps)); });
    expect_refused("LayerNorm" + what, numbers, [&] { LayerNorm<float>({8}, with_eps<LayerNormOptions>(eps)); });
    expect_refused("RMSNorm" + what, numbers, [&] { RMSNorm<float>({8}, with_eps<RMSNormOptions>(eps)); });
  }
  for (const double momentum : {-0.1, 3.0, inf, nan}) {
    const std::string what = " with momentum " + std::to_string(momentum);
    const Extents numbers = momentum == 3.0 ? Extents{3} : Extents{};
    BatchNormOptions bn;
    bn.momentum = momentum;
    expect_refused("BatchNorm" + what, numbers, [&] { BatchNorm<float>(8, bn); });
    InstanceNormOptions tracking;
    tracking.momentum = momentum;
    tracking.track_running_stats = true;
    expect_refused("InstanceNorm" + what, numbers, [&] { InstanceNorm<float>(8, tracking); });
  }
}

TEST(Options, KeepWhatTheyAreGiven) {
  BatchNormOptions options;
  EXPECT_EQ(options.eps, 1e-5);
  EXPECT_EQ(options.momentum, std::optional<double>(0.1));
  EXPECT_TRUE(options.affine && options.track_running_stats && options.unbiased_running_var);
  EXPECT_EQ(options.channel_axis, 1);
  options.momentum = std::nullopt;
  options.eps = 0;
  const BatchNorm<float> layer(3, options);
  EXPECT_FALSE(layer.options().momentum.has_value());
  EXPECT_EQ(layer.options().eps, 0);
  const InstanceNormOptions in;
  EXPECT_FALSE(in.affine || in.track_running_stats);
  EXPECT_TRUE(in.unbiased_running_var && in.momentum == 0.1 && in.channel_axis == 1 && in.eps == 1e-5);
  EXPECT_TRUE(GroupNormOptions{}.affine && GroupNormOptions{}.channel_axis == 1 && GroupNormOptions{}.eps == 1e-5);
  EXPECT_TRUE(LayerNormOptions{}.affine && LayerNormOptions{}.bias && LayerNormOptions{}.eps == 1e-5);
  EXPECT_TRUE(RMSNormOptions{}.affine && RMSNormOptions{}.eps == 1e-5);
#if __cplusplus >= 202002L
  const BatchNorm<float> designated(64, {.eps = 1e-3, .momentum = std::nullopt, .channel_axis = -1});
  EXPECT_EQ(designated.options().eps, 1e-3);
  EXPECT_FALSE(designated.options().momentum.has_value());
  EXPECT_EQ(designated.options().channel_axis, -1);
  EXPECT_EQ(GroupNorm<float>(32, 64, {.eps = 1e-3}).options().eps, 1e-3);
  EXPECT_FALSE(LayerNorm<float>({768}, {.bias = false}).options().bias);
#endif
}

TEST(Options, SizesOfWhatIsSwitchedOff) {
  BatchNormOptions bare;
  bare.affine = bare.track_running_stats = false;
  BatchNorm<float> bn(4, bare);
  Image x(kExtents, normal(420, 1)), dy(kExtents, normal(420, 2)), y(kExtents);
  bn.forward(x.map(), y.map());
  bn.backward(x.map(), dy.map(), y.map());
  EXPECT_EQ(bn.gamma().size() + bn.beta().size() + bn.dgamma().size() + bn.dbeta().size(), 0);
  EXPECT_EQ(bn.running_mean().size() + bn.running_var().size(), 0);
  EXPECT_EQ(bn.mean().size(), 4);
  EXPECT_EQ(bn.rstd().size(), 4);
  LayerNormOptions no_bias;
  no_bias.bias = false;
  LayerNorm<float> ln({5, 7}, no_bias);
  ln.forward(x.map(), y.map());
  ln.backward(x.map(), dy.map(), y.map());
  EXPECT_EQ(ln.gamma().size(), 35);
  EXPECT_EQ(ln.dgamma().size(), 35);
  EXPECT_EQ(ln.beta().size() + ln.dbeta().size(), 0);
  EXPECT_EQ(ln.mean().size(), 12);
  no_bias.affine = false;
  no_bias.bias = true;
  LayerNorm<float> plain({7}, no_bias);
  plain.forward(x.map(), y.map());
  plain.backward(x.map(), dy.map(), y.map());
  EXPECT_EQ(plain.gamma().size() + plain.beta().size() + plain.dgamma().size() + plain.dbeta().size(), 0);
}

}  // namespace
}  // namespace tensornorm_test
