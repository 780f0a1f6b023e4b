// Whitening keeps the protocol: misuse, outputs in place, threads, scalars, the arguments it takes.
#define EIGEN_USE_THREADS

#include <tensornorm/whitening.hpp>

#include <limits>
#include <thread>

#include "sweep.hpp"

using namespace tensornorm;
using namespace tensornorm_test;

namespace {

constexpr int kRow = Eigen::RowMajor, kCol = Eigen::ColMajor;
using Method = WhiteningMethod;
using Image = Guarded<float, 4, kRow>;
const Extents kExtents{3, 4, 5, 7};

WhiteningOptions options_of(Method method, Index groups = 1, Index axis = 1) {
  WhiteningOptions options;
  options.method = method;
  options.groups = groups;
  options.channel_axis = axis;
  return options;
}

template <class Dense>
std::string bytes(const Dense& a) {
  return std::string(reinterpret_cast<const char*>(a.data()), std::size_t(a.size()) * sizeof(*a.data())) + ";";
}

template <class Scalar>
std::string state(const Whitening<Scalar>& layer) {
  return bytes(layer.gamma()) + bytes(layer.beta()) + bytes(layer.dgamma()) + bytes(layer.dbeta()) +
         bytes(layer.running_mean()) + bytes(layer.running_whitening()) + bytes(layer.mean()) +
         bytes(layer.whitening()) + std::to_string(layer.num_batches_tracked()) + (layer.training() ? "train" : "eval");
}

template <class Action>
void expect_refused(const std::string& what, const Extents& numbers, Action action) {
  try {
    action();
    ADD_FAILURE() << what << ": accepted";
  } catch (const std::invalid_argument& e) {
    for (const Index n : numbers) {
      EXPECT_NE(std::string(e.what()).find(std::to_string(n)), std::string::npos)
          << what << ": no " << n << " in: " << e.what();
    }
  }
}

// ---- misuse ---------------------------------------------------------------------------------------------------------

/// A layer after a good step, and refusals that must change neither it nor a tensor.
struct Subject {
  Whitening<float> layer{4, options_of(Method::kZca, 2)};
  Image x{kExtents, normal(420, 1)}, dy{kExtents, normal(420, 2)}, y{kExtents, normal(420, 3)}, dx{kExtents};

  Subject() {
    draw_parameters(layer, 5);
    layer.forward(x.map(), y.map());
    layer.backward(x.map(), dy.map(), dx.map());
  }

  template <class Action>
  void refuses(const std::string& what, const Extents& numbers, Action action) {
    const auto everything = [&] { return state(layer) + bytes(y.map()) + bytes(dx.map()) + bytes(x.map()); };
    const std::string before = everything();
    expect_refused(what, numbers, action);
    EXPECT_TRUE(everything() == before) << what << ": the layer or a tensor changed";
  }

  template <class X, class Y>
  void refuses_x(const std::string& what, const Extents& numbers, X bad_x, Y bad_y) {
    refuses(what + ", forward", numbers, [&] { layer.forward(bad_x, bad_y); });
    refuses(what + ", infer", numbers, [&] { layer.infer(bad_x, bad_y); });
  }
};

TEST(WhiteningMisuse, ArgumentsThatDoNotFit) {
  Subject s;
  Image five({3, 5, 5, 7}, normal(525, 1)), five_y({3, 5, 5, 7}), fewer({2, 4, 5, 7}, normal(280, 1));
  s.refuses_x("5 channels", {5, 4}, five.map(), five_y.map());
  s.refuses("5 channels, fit", {5, 4}, [&] { s.layer.fit(five.map()); });
  s.refuses_x("y of a smaller batch", {2, 3}, s.x.map(), fewer.map());
  s.refuses("dy of a smaller batch", {2, 3}, [&] { s.layer.backward(s.x.map(), fewer.map(), s.dx.map()); });
  s.refuses("x of a smaller batch in backward", {2, 3}, [&] { s.layer.backward(fewer.map(), s.dy.map(), s.dx.map()); });
  Guarded<float, 4, kCol> other(kExtents, normal(420, 1)), other_dx(kExtents);
  s.refuses("backward in another layout", {}, [&] { s.layer.backward(other.map(), other.map(), other_dx.map()); });
  s.layer.backward(s.x.map(), s.dy.map(), s.dx.map());
}

TEST(WhiteningMisuse, PartialOverlap) {
  Subject s;
  std::vector<float> buffer(900, 1.0F);
  for (std::size_t i = 0; i < buffer.size(); ++i) buffer[i] = float(i % 17);
  const auto at = [&](Index offset) { return Image::Map(buffer.data() + offset, 3, 4, 5, 7); };
  s.refuses_x("y overlaps x", {1, 420}, at(0), at(1));
  s.refuses("dx overlaps dy", {7, 420}, [&] { s.layer.backward(s.x.map(), at(0), at(7)); });
  s.refuses("dx overlaps x", {7, 420}, [&] { s.layer.backward(at(0), s.dy.map(), at(7)); });
  s.layer.fit(s.x.map());
  s.refuses("x overlaps y, inverse", {7, 420}, [&] { s.layer.inverse(at(7), at(0)); });
}

TEST(WhiteningMisuse, ParametersOfTheWrongSize) {
  Subject s;
  const auto with_size = [&](auto& parameter, Index size, const std::string& what) {
    const auto good = parameter;
    parameter.setOnes(size);
    s.refuses_x(what, {size, good.size()}, s.x.map(), s.y.map());
    parameter = good;
  };
  with_size(s.layer.gamma(), 3, "gamma");
  with_size(s.layer.beta(), 5, "beta");
  with_size(s.layer.running_mean(), 3, "running_mean");
  s.layer.running_whitening().setZero(4, 4);
  s.refuses_x("running_whitening of one group", {4, 2}, s.x.map(), s.y.map());
}

TEST(WhiteningMisuse, PassesThatDoNotFollow) {
  Subject s;
  s.layer.eval();
  s.refuses("forward in train, backward in eval mode", {},
            [&] { s.layer.backward(s.x.map(), s.dy.map(), s.dx.map()); });
  Whitening<float> fresh(4);
  expect_refused("no forward", {}, [&] { fresh.backward(s.x.map(), s.dy.map(), s.dx.map()); });
  expect_refused("no fit", {4}, [&] { fresh.inverse(s.y.map(), s.dx.map()); });
  fresh.fit(s.x.map());
  fresh.inverse(s.y.map(), s.dx.map());
  fresh.forward(s.dy.map(), s.y.map());
  expect_refused("a forward since the fit", {4}, [&] { fresh.inverse(s.y.map(), s.dx.map()); });
  fresh.fit(s.x.map());
  fresh.running_mean()[0] += 1;
  expect_refused("an assignment since the fit", {4}, [&] { fresh.inverse(s.y.map(), s.dx.map()); });
  for (const Method method : {Method::kPca, Method::kCholesky}) {
    Whitening<float> fitted(4, options_of(method));
    expect_refused("training what is fitted", {1}, [&] { fitted.forward(s.x.map(), s.y.map()); });
    fitted.fit(s.x.map());
    fitted.eval();
    fitted.forward(s.x.map(), s.y.map());
    fitted.backward(s.x.map(), s.dy.map(), s.dx.map());
  }
}

TEST(WhiteningMisuse, TooLittleData) {
  Whitening<float> layer(4);
  Image one({1, 4, 1, 1}, normal(4, 1)), y({1, 4, 1, 1}), none({0, 4, 5, 7}), none_y({0, 4, 5, 7});
  const std::string before = state(layer);
  expect_refused("one value per channel", {1, 4}, [&] { layer.forward(one.map(), y.map()); });
  expect_refused("one value per channel, fit", {1, 4}, [&] { layer.fit(one.map()); });
  expect_refused("no value, fit", {0, 4}, [&] { layer.fit(none.map()); });
  EXPECT_EQ(before, state(layer));
  layer.infer(one.map(), y.map());
  layer.forward(none.map(), none_y.map());
  layer.dgamma().setOnes();
  layer.backward(none.map(), none.map(), none_y.map());
  EXPECT_EQ(layer.dgamma().sum(), 0);
  EXPECT_EQ(layer.num_batches_tracked(), 0);
}

TEST(WhiteningMisuse, Constructors) {
  expect_refused("no channels", {0}, [] { Whitening<float>{0}; });
  expect_refused("3 groups of 8", {3, 8}, [] { Whitening<float>(8, options_of(Method::kZca, 3)); });
  expect_refused("no groups", {0, 8}, [] { Whitening<float>(8, options_of(Method::kZca, 0)); });
  expect_refused("a huge group", {8193, 8192}, [] { Whitening<float>{8193}; });
  WhiteningOptions options;
  options.iterations = 0;
  expect_refused("no iterations", {0}, [&] { Whitening<float>(8, options); });
  for (const double bad : {-2.0, std::numeric_limits<double>::infinity(), std::nan("")}) {
    options = {};
    options.eps = bad;
    expect_refused("eps", {}, [&] { Whitening<float>(8, options); });
    options = {};
    options.momentum = bad;
    expect_refused("momentum", {}, [&] { Whitening<float>(8, options); });
  }
  Image x(kExtents, normal(420, 1)), y(kExtents);
  expect_refused("channel_axis", {4, 9},
                 [&] { Whitening<float>(4, options_of(Method::kZca, 1, 9)).forward(x.map(), y.map()); });
}

// ---- what it takes --------------------------------------------------------------------------------------------------

TEST(WhiteningProtocol, InPlaceGivesTheSameBits) {
  for (const Method method : {Method::kZca, Method::kNewton}) {
    Whitening<float> layer(4, options_of(method, 2));
    draw_parameters(layer, 5);
    Image x(kExtents, normal(420, 1)), dy(kExtents, normal(420, 2)), y(kExtents), dx(kExtents);
    layer.forward(x.map(), y.map());
    layer.backward(x.map(), dy.map(), dx.map());
    Image over_x(kExtents, normal(420, 1)), over_dy(kExtents, normal(420, 2)), over_input(kExtents, normal(420, 1));
    layer.forward(over_x.map(), over_x.map());
    EXPECT_TRUE(over_x.same_bits(y));
    layer.backward(x.map(), over_dy.map(), over_dy.map());
    EXPECT_TRUE(over_dy.same_bits(dx));
    layer.backward(over_input.map(), dy.map(), over_input.map());
    EXPECT_TRUE(over_input.same_bits(dx));
  }
}

TEST(WhiteningProtocol, MatricesBlocksAndExpressions) {
  const Eigen::MatrixXf wide = Eigen::MatrixXf::Random(30, 9);
  const Eigen::MatrixXf x = wide.middleCols(2, 4);
  Whitening<float> layer(4), other(4);
  Eigen::MatrixXf y;
  layer.forward(x, y);
  EXPECT_EQ(y, other(wide.middleCols(2, 4)));
  EXPECT_EQ(y, other(1.0F * x));
  layer.fit(wide.middleCols(2, 4));
  other.fit(x);
  EXPECT_EQ(layer.infer(x), other.infer(wide.middleCols(2, 4)));
  EXPECT_LE((layer.inverse(layer.infer(x)) - x).cwiseAbs().maxCoeff(), 1e-5F);
}

/// 16-bit tensors are what double ones of the same values are, rounded once.
template <class Scalar>
void expect_rounding(double step) {
  for (const Index axis : {1, 3}) {
    const Extents extents = axis == 1 ? Extents{4, 6, 5, 7} : Extents{4, 5, 7, 6};
    Guarded<Scalar, 4, kRow> x(extents, normal(840, 1, 1), 1), dy(extents, normal(840, 2), 3), y(extents), dx(extents);
    Guarded<double, 4, kRow> wide_x(extents, x.values()), wide_dy(extents, dy.values()), wide_y(extents),
        wide_dx(extents);
    Whitening<Scalar> layer(6, options_of(Method::kZca, 2, axis));
    Whitening<double> wide(6, options_of(Method::kZca, 2, axis));
    layer.forward(x.map(), y.map());
    layer.backward(x.map(), dy.map(), dx.map());
    wide.forward(wide_x.map(), wide_y.map());
    wide.backward(wide_x.map(), wide_dy.map(), wide_dx.map());
    EXPECT_TRUE(y.guards_intact() && dx.guards_intact());
    const auto near = [&](const Values& got, const Values& want) {
      Reals allowed;
      for (const double v : want) allowed.push_back(step * std::abs(v) + 1e-7);
      expect_close(tensornorm_test::name_of<Scalar>(), got, Reals(want.begin(), want.end()), allowed);
    };
    near(y.values(), wide_y.values());
    near(dx.values(), wide_dx.values());
    near(values_of(layer.dgamma()), values_of(wide.dgamma()));
  }
}

TEST(WhiteningProtocol, OtherScalarsRoundOnce) {
  expect_rounding<float>(std::ldexp(1.01, -24));
  expect_rounding<Eigen::half>(std::ldexp(1.01, -11));
  expect_rounding<Eigen::bfloat16>(std::ldexp(1.01, -8));
}

// ---- threads --------------------------------------------------------------------------------------------------------

template <class Device, int Layout>
std::string trace(const Device& device, const WhiteningOptions& options, const Extents& extents, Index misalign,
                  std::integral_constant<int, Layout>) {
  const Index n = count(extents), axis = options.channel_axis < 0 ? 4 + options.channel_axis : options.channel_axis;
  Guarded<float, 4, Layout> x(extents, normal(n, 1, 0.5), misalign), dy(extents, normal(n, 2), misalign),
      y(extents, misalign), dx(extents, misalign);
  Whitening<float> layer(extents[std::size_t(axis)], options);
  draw_parameters(layer, 3);
  layer.forward(device, x.map(), y.map());
  layer.backward(device, x.map(), dy.map(), dx.map());
  std::string result = bytes(y.map()) + bytes(dx.map()) + state(layer);
  layer.fit(device, x.map());
  layer.infer(device, x.map(), y.map());
  layer.inverse(device, y.map(), dx.map());
  EXPECT_TRUE(y.guards_intact() && dx.guards_intact());
  return result + bytes(y.map()) + bytes(dx.map()) + state(layer);
}

TEST(WhiteningProtocol, BitsDoNotDependOnThreads) {
  const auto check = [](const Extents& extents, const WhiteningOptions& options, auto layout) {
    const std::string want = trace(Eigen::DefaultDevice(), options, extents, 0, layout);
    for (const int threads : {0, 1, 2, 3, 8}) {
      Eigen::ThreadPool pool(threads);
      const Eigen::ThreadPoolDevice device(&pool, threads + 1);
      EXPECT_TRUE(trace(device, options, extents, 0, layout) == want) << threads << " threads, " << text(extents);
      EXPECT_TRUE(trace(device, options, extents, 3, layout) == want) << threads << " threads, misaligned";
    }
  };
  check({8, 16, 23, 21}, options_of(Method::kZca), Int<kRow>{});
  check({8, 16, 23, 21}, options_of(Method::kNewton, 4), Int<kRow>{});
  check({8, 23, 21, 16}, options_of(Method::kZca, 2, -1), Int<kRow>{});
  check({8, 16, 23, 21}, options_of(Method::kNewton, 2), Int<kCol>{});
  check({1, 100, 60, 21}, options_of(Method::kNewton), Int<kRow>{});
}

TEST(WhiteningProtocol, OneLayerServesManyThreads) {
  Image x(kExtents, normal(420, 1)), want(kExtents);
  Whitening<float> layer(4);
  layer.fit(x.map());
  const Whitening<float>& shared = layer;
  shared.infer(x.map(), want.map());
  std::vector<std::thread> threads;
  std::vector<int> wrong(4, 0);
  for (std::size_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      Image mine(kExtents, normal(420, 1)), y(kExtents);
      for (int i = 0; i < 50; ++i) {
        shared.infer(mine.map(), y.map());
        wrong[t] += y.same_bits(want) ? 0 : 1;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, std::vector<int>(4, 0));
}

}  // namespace
