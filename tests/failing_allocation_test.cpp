// Each allocation of a call fails once: std::bad_alloc comes out of it, layer and outputs are as they were, the same
// call then gives the same bits as ever, and no memory is lost. Memory that only helpers would have needed is not
// missed.
#define EIGEN_USE_THREADS

#include <gtest/gtest.h>

#include <chrono>
#include <new>
#include <thread>

#include "counted_malloc.hpp"
#include "counting_pool.hpp"
#include "every_layer.hpp"

namespace tensornorm_test {
namespace {

using namespace tensornorm;
using Image = Eigen::Tensor<float, 4, kRow>;

template <class Use>
void for_each_whitening(Index channels, Use use) {
  for (const auto method :
       {WhiteningMethod::kZca, WhiteningMethod::kNewton, WhiteningMethod::kPca, WhiteningMethod::kCholesky}) {
    WhiteningOptions options;
    options.method = method;
    options.groups = 2;
    options.iterations = 2;
    Whitening<float> layer(channels, options);
    layer.gamma() = Eigen::ArrayXf::LinSpaced(channels, 0.75F, 1.5F);
    layer.beta() = Eigen::ArrayXf::LinSpaced(channels, -0.5F, 0.5F);
    use("Whitening " + std::to_string(int(method)), layer);
  }
}

/// The same layer made anew, by whichever of these constructors it has.
template <template <class> class Layer, class Scalar>
auto made_as(const Layer<Scalar>& l) -> decltype(Layer<Scalar>(l.channels(), l.options())) {
  return Layer<Scalar>(l.channels(), l.options());
}
template <template <class> class Layer, class Scalar>
auto made_as(const Layer<Scalar>& l) -> decltype(Layer<Scalar>(l.groups(), l.channels(), l.options())) {
  return Layer<Scalar>(l.groups(), l.channels(), l.options());
}
template <template <class> class Layer, class Scalar>
auto made_as(const Layer<Scalar>& l) -> decltype(Layer<Scalar>(l.extents(), l.options())) {
  return Layer<Scalar>(l.extents(), l.options());
}

// ---- failures

enum class Outcome { kNothingFailed, kSucceeded, kThrew };

/// What comes of `action` when its allocation number k fails.
template <class Action>
Outcome failing_at(long k, Action action) {
  bool threw = false;
  until_failure = k;
  try {
    action();
  } catch (const std::bad_alloc&) {
    threw = true;
  } catch (...) {
    until_failure = -1;
    throw;
  }
  const bool failed = until_failure < 0;
  until_failure = -1;
  return threw ? Outcome::kThrew : failed ? Outcome::kSucceeded : Outcome::kNothingFailed;
}

long live() { return allocations - releases; }

/// Helpers that a pool starts late let go of their call after it.
void expect_live(long expected, const std::string& what) {
  for (int i = 0; i < 2000 && live() != expected; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_EQ(live() - expected, 0) << what << ": blocks of memory too many";
}

Image image(const Extents& extents, unsigned seed) {
  Guarded<float, 4, kRow> values(extents, normal(count(extents), seed));
  return values.map();
}

// ---- calls

const Extents kSmall{3, 4, 5, 7};
// Enough for helpers.
const Extents kLarge{4, 32, 33, 32};
const Extents kLargeToWhiten{4, 8, 17, 16};

Extents wider(Extents extents) {
  extents[0] += 2;
  return extents;
}

/// Every call of the protocol, on copies of a layer, with a device.
template <class Layer, class Device>
class Calls {
 public:
  Calls(std::string name, const Layer& layer, const Device& device, const Extents& extents)
      : name_(std::move(name)), device_(device), x_(image(extents, 1)), dy_(image(extents, 2)),
        wide_(image(wider(extents), 3)), small_(image({1, 2, 3, 4}, 4)), made_(layer), warm_(layer) {
    step(made_, x_);
    warm_ = made_;
    step(warm_, x_);
  }

  void run() {
    const Layer fresh = made_as(made_);
    Layer other = made_as(made_);
    step(other, wide_);
    check("made", fresh, [](Layer& l, Image&) { l = made_as(l); });
    check("copied", warm_, [](Layer& l, Image&) { l = Layer(std::as_const(l)); });
    check("assigned to", warm_, [&](Layer& l, Image&) { l = other; });
    check("assigned to while new", fresh, [&](Layer& l, Image&) { l = other; });
    if (trains_) {
      check("first forward", fresh, [&](Layer& l, Image& y) { l.forward(device_, x_, y); });
      forwards(warm_, " in train mode");
    }
    Layer frozen = warm_;
    frozen.eval();
    step(frozen, x_);
    forwards(frozen, " in eval mode");
    if constexpr (!whitens<Layer>) {
      Layer forwarded = made_as(made_);
      Image y;
      forwarded.forward(x_, y);
      check("first backward of a product", forwarded,
            [&](Layer& l, Image& dz) { l.backward(device_, x_, then_times(dy_, dy_, dz), kNone); });
      check("first backward of a clip", forwarded,
            [&](Layer& l, Image& dx) { l.backward(device_, x_, then_relu(dy_), dx); });
      check("first infer of a product", fresh, [&](Layer& l, Image& to) { l.infer(device_, x_, then_times(to, dy_)); });
    }
    check("infer", warm_, [&](Layer& l, Image& y) { l.infer(device_, wide_, y); });
    check("infer of an expression", warm_, [&](Layer& l, Image& y) { l.infer(device_, 2.0F * wide_, y); });
    if constexpr (whitens<Layer>) {
      check("fit", warm_, [&](Layer& l, Image&) { l.fit(device_, wide_); });
      check("infer to a new tensor", warm_, [&](Layer& l, Image& y) { y = l.infer(wide_); });
      Layer fitted = warm_;
      fitted.fit(x_);
      check("inverse", fitted, [&](Layer& l, Image& y) { l.inverse(device_, wide_, y); });
    }
  }

 private:
  void step(Layer& layer, const Image& x) {
    Image y, dx;
    if constexpr (whitens<Layer>) {
      trains_ = layer.options().method == WhiteningMethod::kZca || layer.options().method == WhiteningMethod::kNewton;
      if (!trains_) {
        layer.fit(x);
        layer.eval();
      }
    }
    layer.forward(x, y);
    layer.backward(x, y, dx);
  }

  /// forward and backward of a layer that has been through both.
  void forwards(const Layer& layer, const std::string& mode) {
    check("forward" + mode, layer, [&](Layer& l, Image& y) { l.forward(device_, x_, y); });
    check("forward of another batch" + mode, layer, [&](Layer& l, Image& y) { l.forward(device_, wide_, y); });
    check("forward of an expression" + mode, layer, [&](Layer& l, Image& y) { l.forward(device_, 2.0F * wide_, y); });
    check("call" + mode, layer, [&](Layer& l, Image& y) { y = l(device_, wide_); });
    check("backward" + mode, layer, [&](Layer& l, Image& dx) { l.backward(device_, x_, dy_, dx); });
    check("backward of expressions" + mode, layer,
          [&](Layer& l, Image& dx) { l.backward(device_, 1.0F * x_, 2.0F * dy_, dx); });
    Layer first = made_as(made_);
    first.gamma() = made_.gamma();
    if (!layer.training()) first.eval();
    Image y;
    first.forward(x_, y);
    check("first backward" + mode, first, [&](Layer& l, Image& dx) { l.backward(device_, x_, dy_, dx); });
  }

  /// What the next backward gives, which is all that a caller sees of the last forward's shape and mode.
  std::string next_backward(Layer layer) const {
    Image dx;
    try {
      layer.backward(x_, dy_, dx);
    } catch (const std::invalid_argument& error) {
      return error.what();
    }
    return bytes(dx) + state(layer);
  }

  template <class Call>
  void check(const std::string& call_name, const Layer& layer, Call call) {
    const std::string what = name_ + ", " + call_name;
    std::thread([] {}).join();  // the C library keeps memory of the first one
    const long before = live();
    std::thread([&] { try_each(what, layer, call); }).join();  // a thread keeps its teams for other calls until it ends
    expect_live(before, what);
  }

  template <class Call>
  void try_each(const std::string& what, const Layer& layer, Call call) {
    const std::string untouched = state(layer) + bytes(small_) + next_backward(layer);
    Layer good = layer;
    Image good_y = small_;
    call(good, good_y);
    const std::string expected = state(good) + bytes(good_y) + next_backward(good);
    for (long k = 0;; ++k) {
      const std::string where = what + ", allocation " + std::to_string(k);
      Layer tried = layer;
      Image y = small_;
      const Outcome outcome = failing_at(k, [&] { call(tried, y); });
      if (outcome == Outcome::kThrew) {
        EXPECT_TRUE(state(tried) + bytes(y) + next_backward(tried) == untouched) << where << ": something changed";
        call(tried, y);
      }
      EXPECT_TRUE(state(tried) + bytes(y) + next_backward(tried) == expected) << where << ": other results";
      if (outcome == Outcome::kNothingFailed) break;
    }
  }

  const std::string name_;
  const Device& device_;
  const Image x_, dy_, wide_, small_;
  Layer made_, warm_;
  bool trains_ = true;
};

class FailingAllocation : public testing::Test {
  void SetUp() override {
    if (!COUNTS_ALLOCATIONS) GTEST_SKIP() << "malloc cannot be counted here";
  }
};

template <class Device>
void every_layer_on(const Device& device, const Extents& extents) {
  for_each_layer<float>(extents, 1, [&](const Kind& kind, const auto& layer) {
    Calls<std::decay_t<decltype(layer)>, Device>(kind.name, layer, device, extents).run();
  });
}

template <class Device>
void every_whitening_on(const Device& device, const Extents& extents) {
  for_each_whitening(extents[1], [&](const std::string& name, const Whitening<float>& layer) {
    Calls<Whitening<float>, Device>(name, layer, device, extents).run();
  });
}

TEST_F(FailingAllocation, IsSeen) {
  EXPECT_EQ(failing_at(0, [] {}), Outcome::kNothingFailed);
  EXPECT_EQ(failing_at(0, [] { sink = std::vector<int>(100).data(); }), Outcome::kThrew);
  EXPECT_EQ(failing_at(1, [] { sink = Eigen::ArrayXf(100).data(); }), Outcome::kNothingFailed);
  EXPECT_EQ(failing_at(0, [] { sink = Eigen::Tensor<float, 1>(100).data(); }), Outcome::kThrew);
}

TEST_F(FailingAllocation, OfALayer) { every_layer_on(Eigen::DefaultDevice(), kSmall); }
TEST_F(FailingAllocation, OfWhitening) { every_whitening_on(Eigen::DefaultDevice(), kSmall); }

TEST_F(FailingAllocation, OfALayerWithHelpers) {
  CountingPool pool(2);
  every_layer_on(Eigen::ThreadPoolDevice(&pool, 3), kLarge);
  EXPECT_GT(pool.scheduled, 0);
}

TEST_F(FailingAllocation, OfWhiteningWithHelpers) {
  CountingPool pool(2);
  every_whitening_on(Eigen::ThreadPoolDevice(&pool, 3), kLargeToWhiten);
  EXPECT_GT(pool.scheduled, 0);
}

// Clipping needs none of its own, and does without helpers.
TEST_F(FailingAllocation, OfGradientClipping) {
  CountingPool pool(2);
  const Eigen::ThreadPoolDevice device(&pool, 3);
  const Image gradient = image(kLarge, 1);
  const auto clipped = [&](long k, Outcome& outcome) {
    Image g = gradient;
    double norm = 0;
    outcome = failing_at(k, [&] {
      norm = clip_grad_norm(device, 1, g);
      clip_grad_value(device, 1e-3, g);
    });
    return bytes(g) + std::to_string(norm);
  };
  Outcome outcome = Outcome::kSucceeded;
  const std::string expected = clipped(-1, outcome);
  const int scheduled = pool.scheduled;
  EXPECT_GT(scheduled, 0);
  for (long k = 0; outcome != Outcome::kNothingFailed || k == 0; ++k) {
    EXPECT_TRUE(clipped(k, outcome) == expected) << "allocation " << k;
    EXPECT_NE(outcome, Outcome::kThrew) << "allocation " << k;
  }
}

// The message of an error takes memory too.
TEST_F(FailingAllocation, OfARefusal) {
  const Image x = image(kSmall, 1), more_channels = image({3, 6, 5, 7}, 2);
  for_each_layer<float>(kSmall, 1, [&](const Kind& kind, auto layer) {
    Image y;
    layer.forward(x, y);
    const std::string before = state(layer) + bytes(y);
    const long blocks = live();
    for (long k = 0, more = 1; more != 0; ++k) {
      bool refused = false;
      const Outcome outcome = failing_at(k, [&] {
        try {
          layer.forward(more_channels, y);
        } catch (const std::invalid_argument&) {
          refused = true;
        }
      });
      EXPECT_TRUE(refused || outcome == Outcome::kThrew) << kind.name << ", allocation " << k;
      EXPECT_TRUE(state(layer) + bytes(y) == before) << kind.name << ", allocation " << k;
      more = outcome != Outcome::kNothingFailed;
    }
    expect_live(blocks, kind.name);
  });
}

}  // namespace
}  // namespace tensornorm_test
