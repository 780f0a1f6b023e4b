// backward follows the forward pass of its own x: another x, however alike, is an error, and a copy is not.
#include <gtest/gtest.h>

#include <limits>

#include "every_layer.hpp"
#include "tensornorm/core/pass/layer_state-inl.hpp"

namespace tensornorm_test {
namespace {

using namespace tensornorm;
using Tensor = Eigen::Tensor<float, 3, kRow>;

template <class Use>
void for_each_layer_and_whitening(Use use) {
  for_each_layer<float>({6, 4, 9}, 1, [&](const Kind& kind, auto layer) { use(kind.name, layer); });
  use("Whitening", Whitening<float>(4));
}

Tensor random(unsigned seed) {
  Tensor t(6, 4, 9);
  const Values values = normal(t.size(), seed);
  for (Index i = 0; i < t.size(); ++i) t.data()[i] = static_cast<float>(values[std::size_t(i)]);
  return t;
}

TEST(MatchingPass, AnotherXIsAnError) {
  const Tensor a = random(1), b = random(2), dy = random(3);
  for_each_layer_and_whitening([&](const std::string& name, auto layer) {
    Tensor y, dx = random(4);
    const Tensor before = dx;
    layer.forward(a, y);
    layer.forward(b, y);
    const std::string state_before = state(layer);
    EXPECT_THROW(layer.backward(a, dy, dx), std::invalid_argument) << name;
    EXPECT_EQ(state(layer), state_before) << name;
    EXPECT_EQ(bytes(dx), bytes(before)) << name;
    const Tensor copy = b;
    layer.backward(copy, dy, dx);
    Tensor wanted;
    layer.backward(b, dy, wanted);
    EXPECT_EQ(bytes(dx), bytes(wanted)) << name;
  });
}

TEST(MatchingPass, InPlaceNeedsTheXFromBefore) {
  const Tensor a = random(1), dy = random(3);
  for_each_layer_and_whitening([&](const std::string& name, auto layer) {
    Tensor x = a, dx;
    layer.forward(x, x);
    EXPECT_THROW(layer.backward(x, dy, dx), std::invalid_argument) << name;
    layer.backward(a, dy, dx);
  });
}

/// backward throws, and dx is as before.
template <class Layer, class DY>
void expect_refused(Layer& layer, const Tensor& x, const DY& dy, Pass<float>& pass) {
  Tensor dx = random(4);
  const std::string before = bytes(dx) + state(layer);
  EXPECT_THROW(layer.backward(x, dy, dx, pass), std::invalid_argument);
  EXPECT_EQ(bytes(dx) + state(layer), before);
}

/// LayerNorm, RMSNorm and UnitNorm over the same axes have as many statistics, but not the same.
TEST(MatchingPass, AnotherKindOfStatisticsIsAnError) {
  const Tensor x = random(1), dy = random(3);
  LayerNorm<float> layer(9);
  RMSNorm<float> rms(9);
  UnitNorm<float> unit;
  Tensor y;
  Pass<float> of_layer, of_rms, of_unit;
  layer.forward(x, y, of_layer);
  rms.forward(x, y, of_rms);
  unit.forward(x, y, of_unit);
  for (Pass<float>* const pass : {&of_rms, &of_unit}) expect_refused(layer, x, dy, *pass);
  for (Pass<float>* const pass : {&of_layer, &of_unit}) expect_refused(rms, x, dy, *pass);
  for (Pass<float>* const pass : {&of_layer, &of_rms}) expect_refused(unit, x, dy, *pass);
  expect_refused(layer, x, then_relu(dy), of_rms);
  Tensor dx;
  layer.backward(x, dy, dx, of_layer);
  rms.backward(x, dy, dx, of_rms);
  unit.backward(x, dy, dx, of_unit);
}

TEST(MatchingPass, AnotherKindOfCopiesIsAnError) {
  const Tensor x = random(1), dy = random(3);
  LayerNorm<float> layer(9);
  RMSNorm<float> rms(9);
  Eigen::Tensor<float, 3, kCol> y(6, 4, 9), dx(6, 4, 9);
  Pass<float> pass;
  layer.forward(x, y, pass);
  EXPECT_THROW(rms.backward(x, dy, dx, pass), std::invalid_argument);
  layer.backward(x, dy, dx, pass);
}

TEST(MatchingPass, NaNIsLikeItself) {
  Tensor x = random(1), y, dx;
  x(0, 0, 0) = std::numeric_limits<float>::quiet_NaN();
  for_each_layer<float>({6, 4, 9}, 1, [&](const Kind&, auto layer) {
    layer.forward(x, y);
    layer.backward(Tensor(x), x, dx);
  });
}

TEST(MatchingPass, InferIsNoForwardPass) {
  const Tensor a = random(1), b = random(2), dy = random(3);
  for_each_layer_and_whitening([&](const std::string&, auto layer) {
    Tensor y, dx;
    layer.forward(a, y);
    layer.infer(b, y);
    layer.backward(a, dy, dx);
  });
}

// A change of one element among few is seen; among many, one that is looked at.
TEST(MatchingPass, EveryPlaceCounts) {
  for (const Index n : {1, 2, 15, 16, 17, 31, 32, 100, 1000, 4096, 100000}) {
    std::vector<float> x(std::size_t(n), 1);
    const std::uint64_t before = core::fingerprint(x.data(), n);
    Index seen = 0;
    for (float& v : x) {
      v = 2;
      seen += core::fingerprint(x.data(), n) != before ? 1 : 0;
      v = 1;
    }
    EXPECT_EQ(seen, (std::min)(n, Index{16})) << n;
  }
}

}  // namespace
}  // namespace tensornorm_test
