// Normalization over any axes, against the oracle and the layers that it is by other names; AnyNorm; what training asks
// of a layer's gradients; conventions of other libraries.
#include <algorithm>
#include <map>
#include <random>
#include <sstream>

#define EIGEN_USE_THREADS
#include <tensornorm/tensornorm.hpp>

#include "counted_malloc.hpp"
#include "differences.hpp"
#include "every_layer.hpp"
#include "sweep.hpp"

namespace tensornorm_test {
namespace {

using namespace tensornorm;

// The axes of a set of bits.
std::vector<int> axes_in(unsigned set, int rank) {
  std::vector<int> axes;
  for (int d = 0; d < rank; ++d) {
    if ((set >> d & 1U) != 0) axes.push_back(d);
  }
  return axes;
}

// Which statistic and parameter each element has: numbers in row-major order of the axes outside `over` and in `along`.
Sets sets_of(const Extents& extents, unsigned over, unsigned along) {
  const auto number = [&](Index element, unsigned set, Index& size) {
    Index result = 0, stride = 1;
    for (std::size_t d = extents.size(); d-- > 0; element /= extents[d]) {
      if ((set >> d & 1U) == 0) continue;
      result += element % extents[d] * stride;
      stride *= extents[d];
    }
    size = stride;
    return result;
  };
  Sets sets{1, 1, {}, {}};
  for (Index i = 0; i < count(extents); ++i) {
    sets.stat.push_back(number(i, ~over, sets.stats));
    sets.param.push_back(number(i, along, sets.params));
  }
  return sets;
}

template <class Scalar, int... Ranks>
void sweep(const Extents& extents, unsigned over, unsigned along, bool centred = true, bool bias = true) {
  const int rank = int(extents.size());
  NormalizationOptions options;
  options.centred = centred;
  options.bias = bias;
  for (const int d : axes_in(along, rank)) options.extents.push_back(extents[std::size_t(d)]);
  const Normalization<Scalar> layer(axes_in(over, rank), axes_in(along, rank), options);
  std::ostringstream name;
  name << layer;
  in_both_layouts<Ranks...>(extents, [&](auto r, auto layout) {
    expect_oracle<Scalar, r, layout>(layer, extents, sets_of(extents, over, along), Data(), name.str());
  });
}

TEST(Normalization, OverEveryAxesWithParametersAlongEveryAxes) {
  for (const Extents& extents : {Extents{9}, {6, 5}, {4, 3, 5}, {3, 4, 2, 5}}) {
    const unsigned sets = 1U << extents.size();
    for (unsigned over = 1; over < sets; ++over) {
      for (unsigned along = 0; along < sets; ++along) {
        sweep<float, 1, 2, 3, 4>(extents, over, along, (over + along) % 3 != 0, (over + along) % 4 != 1);
      }
    }
  }
  // Long rows and columns, where vectors and blocks end.
  sweep<float, 3>({40, 7, 200}, 0b101, 0b010);
  sweep<float, 3>({40, 7, 200}, 0b010, 0b101);
  sweep<float, 3>({40, 7, 200}, 0b011, 0b100);
}

TEST(Normalization, OfEveryScalar) {
  for (unsigned over = 1; over < 8; ++over) {
    sweep<double, 3>({5, 6, 9}, over, 0b010);
    sweep<Eigen::half, 3>({5, 6, 9}, over, 0b100);
    sweep<Eigen::bfloat16, 3>({5, 6, 9}, over, 0b110);
  }
}

TEST(Normalization, Gradients) {
  const Extents extents{3, 4, 5};
  const Values x = normal(count(extents), 31, 0.5);
  for (const auto& [over, along] : std::map<std::vector<int>, std::vector<int>>{
           {{0, 2}, {1}}, {{1}, {0, 2}}, {{-1, 1}, {-1}}, {{0}, {}}, {{0, 1, 2}, {2, 0}}}) {
    for (const bool centred : {true, false}) {
      NormalizationOptions options;
      options.centred = centred;
      for (const int a : along) options.extents.push_back(extents[std::size_t((a + 3) % 3)]);
      const Normalization<double> layer(over, along, options);
      check_gradient<3, kRow>(layer, extents, x, "Normalization");
      check_gradient<3, kCol>(layer, extents, x, "Normalization");
    }
  }
}

// Any ranks, extents, axes, orders and gaps, x and y each their own, against the oracle.
TEST(Normalization, OfTensorsWithGapsInAnyOrder) {
  std::mt19937 random(7);
  const auto below = [&](Index n) { return Index(std::uniform_int_distribution<long>(0, long(n) - 1)(random)); };
  for (int trial = 0; trial < 1500; ++trial) {
    const int rank = 1 + int(below(5));
    Extents extents;
    for (int d = 0; d < rank; ++d) extents.push_back(1 + below(below(4) == 0 ? 20 : 6));
    const auto strides = [&] {
      std::vector<std::size_t> order(static_cast<std::size_t>(rank));
      for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
      if (below(3) == 0) std::shuffle(order.begin(), order.end(), random);
      Extents result(extents.size(), 0);
      Index stride = 1;
      for (std::size_t i = order.size(); i-- > 0;) {
        result[order[i]] = stride;
        stride *= extents[order[i]] + (below(3) == 0 ? below(4) : 0);
      }
      return result;
    };
    const unsigned sets = 1U << unsigned(rank), over = 1 + unsigned(below(Index(sets) - 1)),
                   along = unsigned(below(sets));
    const Extents of_x = strides(), of_y = below(2) == 0 ? of_x : strides();
    const auto reach = [&](const Extents& s) {
      Index last = 0;
      for (std::size_t d = 0; d < s.size(); ++d) last += (extents[d] - 1) * s[d];
      return std::size_t(last + 1);
    };
    const auto each = [&](const Extents& s, const auto& use) {
      for (Index i = 0; i < count(extents); ++i) {
        Index rest = i, at = 0;
        for (std::size_t d = s.size(); d-- > 0; rest /= extents[d]) at += rest % extents[d] * s[d];
        use(std::size_t(i), std::size_t(at));
      }
    };
    const Values values = normal(count(extents), unsigned(trial), 0.5), gradient = normal(count(extents), 12, 0.1);
    std::vector<double> x(reach(of_x)), dy(reach(of_y)), y(reach(of_y)), dx(reach(of_y));
    each(of_x, [&](std::size_t i, std::size_t at) { x[at] = values[i]; });
    each(of_y, [&](std::size_t i, std::size_t at) { dy[at] = gradient[i]; });
    NormalizationOptions options;
    options.eps = 0.1;  // of few elements: keeps rstd small
    for (const int d : axes_in(along, rank)) options.extents.push_back(extents[std::size_t(d)]);
    Normalization<double> layer(axes_in(over, rank), axes_in(along, rank), options);
    draw_parameters(layer, 13);
    layer.forward(view(x.data(), extents, of_x), view(y.data(), extents, of_y));
    layer.backward(view(x.data(), extents, of_x), view(dy.data(), extents, of_y), view(dx.data(), extents, of_y));
    const Sets all = sets_of(extents, over, along);
    const Values gamma = gamma_of(layer), beta = beta_of(layer);
    const Statistics stats = oracle_statistics(values, all, options.eps);
    const Normalized want = oracle_forward(values, all, stats, gamma, beta);
    const Gradients gradients = oracle_backward(values, gradient, all, stats, gamma);
    Values got_y(values.size()), got_dx(values.size());
    each(of_y, [&](std::size_t i, std::size_t at) { got_y[i] = y[at], got_dx[i] = dx[at]; });
    std::ostringstream what;
    what << layer << " of " << text(extents) << " with strides " << text(of_x) << " and " << text(of_y);
    const Reals few(values.size(), 1e-12L);
    expect_close(what.str() + " y", got_y, want.y, few);
    expect_close(what.str() + " dx", got_dx, gradients.dx, few);
    if (!gamma.empty())
      expect_close(what.str() + " dgamma", values_of(layer.dgamma()), gradients.dgamma, Reals(gamma.size(), 1e-11L));
  }
}

// Found by drawing: rows with a pitch whose groups the map's walk would merge; bins that stay together in no group.
TEST(Normalization, OfRowsWithAPitchInGroups) {
  for (const Index channels : {4, 8}) {
    for (const Index pitch : {13, 16}) {
      Eigen::Tensor<float, 3, kRow> dense(8, channels, 10), want;
      dense.setRandom();
      std::vector<float> x(std::size_t(8 * channels * pitch)), y(x.size());
      for (Index r = 0; r < 8 * channels; ++r) std::copy_n(dense.data() + r * 10, 10, x.data() + r * pitch);
      for (const Index groups : {1, 2}) {
        GroupNorm<float> norm(groups, channels);
        stir(norm);
        norm.infer(dense, want);
        norm.infer(view(x.data(), {8, channels, 10}, {channels * pitch, pitch, 1}),
                   view(y.data(), {8, channels, 10}, {channels * pitch, pitch, 1}));
        for (Index i = 0; i < want.size(); ++i) {
          ASSERT_NEAR(y[std::size_t(i / 10 * pitch + i % 10)], want.data()[i], 2e-6F) << i;
        }
      }
    }
  }
}

// ---- the layers are this one with names

template <class Scalar, int Rank, int Layout, class Layer>
void expect_bits_of(Layer layer, Normalization<Scalar> general, const Eigen::Tensor<Scalar, Rank, Layout>& x) {
  Eigen::Tensor<Scalar, Rank, Layout> dy = x, y, dx, y2, dx2;
  dy.setRandom();
  if (general.gamma().size() == 0 && layer.gamma().size() > 0) general.gamma() = layer.gamma();
  layer.gamma() = layer.gamma() * 2;
  general.gamma() = layer.gamma();
  layer.forward(x, y);
  layer.backward(x, dy, dx);
  Eigen::Tensor<Scalar, Rank, Layout> inferred;
  general.infer(x, inferred);
  general.forward(x, y2);
  general.backward(x, dy, dx2);
  EXPECT_EQ(bytes(y), bytes(y2));
  EXPECT_EQ(bytes(y), bytes(inferred));
  EXPECT_EQ(bytes(dx), bytes(dx2));
  EXPECT_EQ(bytes(layer.dgamma()), bytes(general.dgamma()));
  EXPECT_EQ(bytes(layer.rstd()), bytes(general.rstd()));
}

template <class Scalar, int Layout>
void expect_names() {
  Eigen::Tensor<Scalar, 4, Layout> x(6, 8, 5, 7);
  x.setRandom();
  NormalizationOptions uncentred;
  uncentred.centred = false;
  expect_bits_of<Scalar, 4, Layout>(BatchNorm<Scalar>(8), Normalization<Scalar>({0, 2, 3}, {1}), x);
  expect_bits_of<Scalar, 4, Layout>(LayerNorm<Scalar>({5, 7}), Normalization<Scalar>({-2, -1}, {2, 3}), x);
  expect_bits_of<Scalar, 4, Layout>(RMSNorm<Scalar>(7), Normalization<Scalar>({3}, {3}, uncentred), x);
  InstanceNormOptions affine;
  affine.affine = true;
  expect_bits_of<Scalar, 4, Layout>(InstanceNorm<Scalar>(8, affine), Normalization<Scalar>({2, 3}, {1}), x);
  // GroupNorm: an axis of groups and one of the channels in each.
  if constexpr (Layout == kRow) {
    Eigen::Tensor<Scalar, 5, Layout> grouped(6, 2, 4, 5, 7);
    std::copy_n(x.data(), x.size(), grouped.data());
    GroupNorm<Scalar> groups(2, 8);
    groups.gamma().setLinSpaced(1, 2);
    Normalization<Scalar> general({2, 3, 4}, {1, 2});
    general.gamma() = groups.gamma();
    EXPECT_EQ(bytes(groups(x)), bytes(general(grouped)));
  }
}
TEST(Normalization, IsTheLayersByTheirNames) {
  expect_names<float, kRow>();
  expect_names<float, kCol>();
  expect_names<double, kRow>();
  expect_names<Eigen::bfloat16, kCol>();
}

// RMSNorm over groups of channels, with a gamma for each channel: by the general layer, by the function and by RMSNorm.
TEST(Normalization, OfGroupsOfChannels) {
  constexpr Index kRows = 5, kGroups = 3, kWide = 8;
  Eigen::Matrix<float, -1, -1, Eigen::RowMajor> x(kRows, kGroups * kWide), y(x), y_function(x), y_group;
  x.setRandom();
  const Eigen::VectorXf gamma = Eigen::VectorXf::LinSpaced(x.cols(), 1, 2);
  NormalizationOptions options;
  options.centred = false;
  options.bias = false;
  Normalization<float> norm({2}, {1, 2}, options);
  norm.gamma() = gamma;
  const std::vector<Index> extents{kRows, kGroups, kWide};
  norm.forward(view(x.data(), extents), view(y.data(), extents));
  rms_norm(view(x.data(), extents), view(gamma.data(), {1, kGroups, kWide}), 1e-5, view(y_function.data(), extents));
  EXPECT_EQ(y, y_function);
  for (Index g = 0; g < kGroups; ++g) {
    RMSNorm<float> of_group(kWide);
    of_group.gamma() = gamma.segment(g * kWide, kWide);
    of_group.forward(x.middleCols(g * kWide, kWide), y_group);
    EXPECT_LE((y.middleCols(g * kWide, kWide) - y_group).cwiseAbs().maxCoeff(), 4e-7F) << g;
  }
}

// ---- parameters that x makes

TEST(Normalization, TakesItsExtentsFromTheFirstForward) {
  Eigen::Tensor<float, 3, Eigen::RowMajor> x(4, 3, 5), y;
  x.setRandom();
  Normalization<float> norm({0, 1}, {2});
  norm.infer(x, y);
  EXPECT_EQ(norm.gamma().size(), 0);
  EXPECT_THROW(norm.backward(x, x, y), std::invalid_argument);
  norm.forward(x, y);
  EXPECT_EQ(norm.gamma().size(), 5);
  EXPECT_EQ(norm.beta().size(), 5);
  EXPECT_EQ(norm.options().extents, std::vector<Index>({5}));
  const long before = allocations;
  norm.forward(x, y);
  norm.infer(x, y);
  EXPECT_EQ(allocations, before);
  Eigen::Tensor<float, 3, Eigen::RowMajor> wide(4, 3, 6);
  wide.setRandom();
  try {
    norm.forward(wide, y);
    ADD_FAILURE() << "parameters of another extent";
  } catch (const std::invalid_argument& error) {
    EXPECT_STREQ(error.what(),
                 "tensornorm: x of extents (4, 3, 6) has 6 values along axis 2 but the layer has parameters for 5");
  }
}

TEST(Normalization, TakesParametersThatWereAssigned) {
  Eigen::Tensor<float, 2, Eigen::RowMajor> x(4, 3), y, inferred;
  x.setRandom();
  Normalization<float> norm({0}, {1});
  norm.gamma() = Eigen::Array3f(2, 3, 4);
  const float* const of_optimizer = norm.gamma().data();
  norm.infer(x, inferred);
  EXPECT_EQ(norm.gamma().size(), 3);
  EXPECT_EQ(norm.beta().size(), 0);
  norm.forward(x, y);
  EXPECT_EQ(bytes(y), bytes(inferred));
  EXPECT_EQ(norm.gamma()[2], 4);
  EXPECT_EQ(norm.gamma().data(), of_optimizer);

  Normalization<float> empty_first({0}, {1});
  empty_first.gamma() = Eigen::Array3f(2, 3, 4);
  const Eigen::Tensor<float, 2, Eigen::RowMajor> empty(0, 3);
  empty_first.infer(empty, y);
  empty_first.forward(empty, y);
  EXPECT_EQ(y.dimension(0), 0);
  EXPECT_EQ(empty_first.gamma().size(), 3);
  empty_first.forward(x, y);
  EXPECT_EQ(bytes(y), bytes(inferred));

  Normalization<float> wrong({0}, {1});
  wrong.gamma() = Eigen::Array2f(2, 3);
  EXPECT_THROW(wrong.infer(x, y), std::invalid_argument);
  EXPECT_THROW(wrong.forward(x, y), std::invalid_argument);
  EXPECT_EQ(wrong.gamma().size(), 2);
  EXPECT_EQ(wrong.dgamma().size(), 0);
  EXPECT_TRUE(wrong.options().extents.empty());
}

TEST(Normalization, RefusesWhatItCannotDo) {
  EXPECT_THROW(Normalization<float>(std::vector<int>{}), std::invalid_argument);
  EXPECT_THROW(Normalization<float>({0}, {1}, {1e-5, true, true, {3, 4}}), std::invalid_argument);
  EXPECT_THROW(Normalization<float>({0}, {1}, {1e-5, true, true, {0}}), std::invalid_argument);
  EXPECT_THROW(Normalization<float>({0}, {1}, {-1, true, true, {}}), std::invalid_argument);
  Eigen::Tensor<float, 2> x(4, 3), y;
  x.setRandom();
  EXPECT_THROW(Normalization<float>().forward(x, y), std::invalid_argument);
  EXPECT_THROW(Normalization<float>({2}).forward(x, y), std::invalid_argument);
  EXPECT_THROW(Normalization<float>({-3}).forward(x, y), std::invalid_argument);
  EXPECT_THROW(Normalization<float>({0, -2}).forward(x, y), std::invalid_argument);
  EXPECT_THROW(Normalization<float>({0}, {1, 1}).forward(x, y), std::invalid_argument);
  const std::vector<int> twice(15, 0);  // as many parameters as no memory holds
  EXPECT_THROW(Normalization<float>({0}, twice).forward(x, y), std::invalid_argument);
  EXPECT_THROW(Normalization<float>({0}, {2}).infer(x, y), std::invalid_argument);
  EXPECT_EQ(y.size(), 0);
  Eigen::Tensor<float, 2> empty(0, 3);
  Normalization<float> norm({0}, {1});
  norm.forward(empty, y);
  norm.infer(empty, y);
  EXPECT_EQ(y.dimension(1), 3);
  EXPECT_EQ(norm.gamma().size(), 0);
}

// ---- AnyNorm

template <class Layer>
void expect_held(Layer layer, const Eigen::Tensor<float, 4, kRow>& x) {
  using Tensor = Eigen::Tensor<float, 4, kRow>;
  std::ostringstream printed, held;
  Eigen::ThreadPool threads(2);
  const Eigen::ThreadPoolDevice pool(&threads, 2);
  AnyNorm<float> any = layer;
  const AnyNorm<float> copy = any;
  printed << layer;
  held << any;
  EXPECT_EQ(printed.str(), held.str());
  Tensor dy = x, y(x.dimensions()), y2(x.dimensions()), dx(x.dimensions()), dx2(x.dimensions());
  dy.setRandom();
  for (const bool is_training : {true, false}) {
    layer.train(is_training);
    any.train(is_training);
    EXPECT_EQ(any.training(), is_training);
    layer.forward(x, y);
    any.forward(pool, view(x.data(), {x.dimension(0), x.dimension(1), x.dimension(2), x.dimension(3)}), y2);
    EXPECT_EQ(bytes(y), bytes(y2));
    layer.backward(x, dy, dx);
    any.backward(x, dy, dx2);
    EXPECT_EQ(bytes(dx), bytes(dx2));
    layer.infer(x, y);
    static_cast<const AnyNorm<float>&>(any).infer(x, y2);
    EXPECT_EQ(bytes(y), bytes(y2));
  }
  auto ours = layer.parameters();
  auto theirs = any.parameters();
  ASSERT_EQ(ours.size(), theirs.size());
  for (auto a = ours.begin(), b = theirs.begin(); a != ours.end(); ++a, ++b) {
    EXPECT_STREQ(a->name, b->name);
    EXPECT_EQ(bytes(a->value), bytes(b->value));
    EXPECT_EQ(bytes(a->gradient), bytes(b->gradient));
  }
  any.zero_grad();
  for (auto& parameter : any.parameters()) EXPECT_EQ(parameter.gradient.abs().sum(), 0);
  Layer* const target = any.template target<Layer>();
  ASSERT_NE(target, nullptr);
  EXPECT_EQ(target->gamma().size(), layer.gamma().size());
  EXPECT_EQ(any.template target<AnyNorm<float>>(), nullptr);
  EXPECT_NE(copy.template target<Layer>(), target);
}

TEST(AnyNorm, CallsTheLayerThatItHolds) {
  Eigen::Tensor<float, 4, kRow> x(6, 8, 5, 7);
  x.setRandom();
  expect_held(BatchNorm<float>(8), x);
  expect_held(InstanceNorm<float>(8), x);
  expect_held(GroupNorm<float>(2, 8), x);
  expect_held(LayerNorm<float>({5, 7}), x);
  expect_held(RMSNorm<float>(7), x);
  expect_held(Whitening<float>(8), x);
  expect_held(Normalization<float>({0, 3}, {1}, {1e-5, true, true, {8}}), x);
}

// With a pass, a kept sum and post-ops: the bits of the layer, with no allocation once warm.
template <class Scalar, int Layout>
void expect_held_passes(const Extents& extents) {
  using T = Tensor4<Scalar, Layout>;
  Eigen::ThreadPool threads(3);
  const Eigen::ThreadPoolDevice pool(&threads, 3);
  const T x = drawn<Scalar, Layout>(extents, 1), r = drawn<Scalar, Layout>(extents, 2);
  const T dy = drawn<Scalar, Layout>(extents, 3), z = drawn<Scalar, Layout>(extents, 4);
  for_each_layer<Scalar>(extents, 1, [&](const Kind& kind, auto layer) {
    SCOPED_TRACE(kind.name + layout_name(Layout));
    AnyNorm<Scalar> any = layer;
    const auto& held = *any.template target<decltype(layer)>();
    const AnyNorm<Scalar>& constant = any;
    T h = x, y = x, dx = x, dz = x, h2 = x, y2 = x, dx2 = x, dz2 = x;
    Pass<Scalar> pass, pass2;
    const auto expect_same = [&] {
      EXPECT_EQ(bytes(h2), bytes(h));
      EXPECT_EQ(bytes(y2), bytes(y));
      EXPECT_EQ(bytes(dx2), bytes(dx));
      EXPECT_EQ(bytes(dz2), bytes(dz));
      EXPECT_EQ(bytes(pass2.mean()), bytes(pass.mean()));
      EXPECT_EQ(bytes(pass2.rstd()), bytes(pass.rstd()));
      EXPECT_EQ(state(held), state(layer));
    };
    for (const bool training : {true, false}) {
      layer.train(training);
      any.train(training);
      layer.forward(x, y, pass);
      layer.backward(x, dy, dx, pass);
      any.forward(x, y2, pass2);
      any.backward(x, dy, dx2, pass2);
      expect_same();
      layer.forward(add(x, r, h), then_times(y, z), pass);
      layer.backward(h, then_times(dy, z, dz), add_to(dx), pass);
      any.forward(pool, add(x, r, h2), then_times(y2, z), pass2);
      any.backward(pool, h2, then_times(dy, z, dz2), add_to(dx2), pass2);
      expect_same();
      layer.forward(add(x, r, h), y);
      layer.backward(h, then_relu(dy), dx);
      any.forward(add(x, r, h2), y2);
      any.backward(h2, then_relu(dy), dx2);
      expect_same();
      layer.infer(add(h, r, h), then_clip(y, -0.25, 0.5));
      constant.infer(pool, add(h2, r, h2), then_clip(y2, -0.25, 0.5));
      expect_same();
      layer.infer(add(h, r, h), y);
      constant.infer(add(h2, r, h2), y2);
      expect_same();
    }
    const auto step = [&] {
      any.forward(x, y2, pass2);
      any.backward(x, dy, dx2, pass2);
      any.forward(add(x, r, h2), then_relu(y2), pass2);
      any.backward(h2, then_relu(dy), dx2, pass2);
      any.infer(add(x, r, h2), y2);
    };
    step();
    const long before = allocations;
    step();
    EXPECT_EQ(allocations, before);
  });
}

TEST(AnyNorm, HasThePassesAndSumsOfItsLayer) {
  for (const Extents& extents : {Extents{3, 8, 5, 7}, {6, 16, 20, 30}}) {
    expect_held_passes<float, kRow>(extents);
    expect_held_passes<float, kCol>(extents);
    expect_held_passes<double, kRow>(extents);
    expect_held_passes<Eigen::half, kCol>(extents);
    expect_held_passes<Eigen::bfloat16, kRow>(extents);
  }
}

TEST(AnyNorm, RefusesWhatItsLayerDoes) {
  Eigen::MatrixXf x = Eigen::MatrixXf::Random(6, 5), wide = Eigen::MatrixXf::Random(6, 7), h = x, y = x;
  const Eigen::MatrixXf before = x;
  Pass<float> pass, fresh;
  LayerNorm<float> norm(5);
  AnyNorm<float> any = norm;
  norm.forward(x, y, pass);
  any.forward(x, y, pass);
  y = before;
  const auto expect_refused_as = [&](const auto& call) {
    const std::string refused = refusal_of([&] { call(norm); });
    EXPECT_NE(refused, "no error");
    EXPECT_EQ(refusal_of([&] { call(any); }), refused);
  };
  expect_refused_as([&](auto& layer) { layer.forward(wide, y, pass); });
  expect_refused_as([&](auto& layer) { layer.backward(x, wide, y, pass); });
  expect_refused_as([&](auto& layer) { layer.backward(x, x, y, fresh); });
  expect_refused_as([&](auto& layer) { layer.backward((2 * x).eval(), x, y, pass); });
  expect_refused_as([&](auto& layer) { layer.forward(add(x, wide, h), y); });
  expect_refused_as([&](auto& layer) { layer.infer(add(x, x, h), h); });
  expect_refused_as([&](auto& layer) { layer.forward(add(wide, wide, h), y, pass); });
  expect_refused_as([&](auto& layer) { layer.forward(x, then_clip(y, 1, 0), pass); });
  EXPECT_EQ(state(*any.target<LayerNorm<float>>()), state(norm));
  // A layer that has no such calls.
  AnyNorm<float> white = Whitening<float>(5);
  white.forward(x, y);
  y = before;
  const std::string white_before = state(*white.target<Whitening<float>>());
  EXPECT_EQ(refusal_of([&] { white.forward(x, y, fresh); }),
            "tensornorm: the layer held, Whitening(5, groups=1, eps=1e-05), takes no Pass");
  EXPECT_NE(refusal_of([&] { white.backward(x, x, y, pass); }).find("takes no Pass"), std::string::npos);
  EXPECT_EQ(refusal_of([&] { white.forward(add(x, x, h), y); }),
            "tensornorm: the layer held, Whitening(5, groups=1, eps=1e-05), takes no add(): give the sum");
  EXPECT_NE(refusal_of([&] { white.infer(add(x, x, h), y); }).find("takes no add()"), std::string::npos);
  EXPECT_NE(refusal_of([&] { white.infer(x, then_relu(y)); }).find("Whitening takes no then_relu"), std::string::npos);
  EXPECT_EQ(state(*white.target<Whitening<float>>()), white_before);
  // No layer.
  AnyNorm<float> none;
  EXPECT_NE(refusal_of([&] { none.forward(x, y, fresh); }).find("holds no layer"), std::string::npos);
  EXPECT_NE(refusal_of([&] { none.backward(x, x, y, pass); }).find("holds no layer"), std::string::npos);
  EXPECT_NE(refusal_of([&] { none.forward(add(x, x, h), y); }).find("holds no layer"), std::string::npos);
  EXPECT_NE(refusal_of([&] { none.infer(add(x, x, h), y); }).find("holds no layer"), std::string::npos);
  EXPECT_TRUE(x == before && y == before && h == before);
}

TEST(AnyNorm, InAContainer) {
  std::vector<AnyNorm<float>> norms;
  norms.push_back(BatchNorm<float>(6));
  norms.push_back(LayerNorm<float>(6));
  norms.emplace_back();
  norms[2] = RMSNorm<float>(6);
  Eigen::ArrayXXf x = Eigen::ArrayXXf::Random(5, 6), dx;
  for (auto& norm : norms) {
    norm.forward(x, x);
    EXPECT_THROW(norm.forward(x, view(x.data(), {6, 5})), std::invalid_argument);
  }
  const std::vector<AnyNorm<float>> copies = norms;
  EXPECT_EQ(bytes(copies[1].infer(x).eval()), bytes(norms[1].infer(x).eval()));
}

TEST(AnyNorm, OfNoLayerRefusesEveryCall) {
  AnyNorm<float> none;
  Eigen::ArrayXXf x = Eigen::ArrayXXf::Random(5, 6), y;
  std::ostringstream out;
  out << none;
  EXPECT_EQ(out.str(), "AnyNorm()");
  EXPECT_THROW(none.forward(x, y), std::invalid_argument);
  EXPECT_THROW(none.infer(x, y), std::invalid_argument);
  EXPECT_THROW(none.backward(x, x, y), std::invalid_argument);
  EXPECT_THROW(none.parameters(), std::invalid_argument);
  EXPECT_THROW(none.train(), std::invalid_argument);
  EXPECT_EQ(none.target<BatchNorm<float>>(), nullptr);
  EXPECT_EQ(y.size(), 0);
  AnyNorm<float> moved = LayerNorm<float>(6);
  none = std::move(moved);
  none.forward(x, y);
  EXPECT_THROW(moved.forward(x, y), std::invalid_argument);  // NOLINT(bugprone-use-after-move): that is asked
}

// ---- gradients of parameters

template <class Layer>
void expect_gradients(Layer layer) {
  Eigen::Tensor<float, 3, kRow> x(6, 8, 5), dy(6, 8, 5), y(6, 8, 5), dx(6, 8, 5), dx2(6, 8, 5);
  x.setRandom();
  dy.setRandom();
  layer.gamma().setLinSpaced(0.5F, 1.5F);
  layer.forward(x, y);
  layer.backward(x, dy, dx);
  typename Layer::Array dgamma = layer.dgamma();
  layer.accumulate_gradients(true);
  layer.backward(x, dy, dx2);
  EXPECT_EQ(bytes(dx), bytes(dx2));
  EXPECT_EQ(bytes(layer.dgamma()), bytes((dgamma + dgamma).eval()));
  const long before = allocations;
  layer.backward(x, dy, dx2);
  EXPECT_TRUE(whitens<Layer> || allocations == before);
  EXPECT_EQ(bytes(layer.dgamma()), bytes((dgamma + dgamma + dgamma).eval()));
  // A call that is refused adds nothing.
  Eigen::Tensor<float, 3, kRow> wrong(5, 8, 5);
  EXPECT_THROW(layer.backward(x, wrong, dx2), std::invalid_argument);
  EXPECT_EQ(bytes(layer.dgamma()), bytes((dgamma + dgamma + dgamma).eval()));
  layer.freeze();
  layer.backward(x, dy, dx2);
  EXPECT_EQ(bytes(dx), bytes(dx2));
  EXPECT_EQ(bytes(layer.dgamma()), bytes((dgamma + dgamma + dgamma).eval()));
  layer.freeze(false);
  layer.zero_grad();
  EXPECT_EQ(layer.dgamma().abs().sum(), 0);
  layer.backward(x, dy, dx2);
  EXPECT_EQ(bytes(layer.dgamma()), bytes(dgamma));
  layer.accumulate_gradients(false);
  layer.backward(x, dy, dx2);
  EXPECT_EQ(bytes(layer.dgamma()), bytes(dgamma));
  // Of nothing: added to, overwritten, left.
  Eigen::Tensor<float, 3, kRow> empty(0, 8, 5), dempty;
  layer.forward(empty, y);
  layer.freeze();
  layer.backward(empty, empty, dempty);
  EXPECT_EQ(bytes(layer.dgamma()), bytes(dgamma));
  layer.freeze(false);
  layer.accumulate_gradients(true);
  layer.backward(empty, empty, dempty);
  EXPECT_EQ(bytes(layer.dgamma()), bytes(dgamma));
  layer.accumulate_gradients(false);
  layer.backward(empty, empty, dempty);
  EXPECT_EQ(layer.dgamma().abs().sum(), 0);
}
TEST(Training, GradientsAreOverwrittenAddedToOrLeft) {
  InstanceNormOptions affine;
  affine.affine = true;
  expect_gradients(BatchNorm<float>(8));
  expect_gradients(InstanceNorm<float>(8, affine));
  expect_gradients(GroupNorm<float>(2, 8));
  expect_gradients(LayerNorm<float>({8, 5}));
  expect_gradients(RMSNorm<float>(5));
  expect_gradients(Whitening<float>(8));
}

// Backward makes its memory and chooses its stores before dx has memory. Of few blocks in parts, and past the cache.
TEST(Training, FrozenParametersLeaveDxAsItIs) {
  Eigen::MatrixXf x = Eigen::MatrixXf::Random(128, 4000), dy = Eigen::MatrixXf::Random(128, 4000), y, dx, other_dx;
  BatchNormOptions options;
  options.channel_axis = 0;
  BatchNorm<float> norm(128, options);
  norm.forward(x, y);
  norm.backward(x, dy, dx);
  norm.freeze();
  norm.forward(x, y);
  norm.backward(x, dy, other_dx);
  EXPECT_EQ(dx, other_dx);
}

TEST(Training, DxPastTheCacheInPlaceIsDx) {
  using Rows = Eigen::Matrix<float, -1, -1, Eigen::RowMajor>;
  const Rows x = Rows::Random(3000, 777), dy = Rows::Random(3000, 777);
  Rows y, dx, over_x = x, over_dy = dy;
  LayerNorm<float> norm(777);
  norm.forward(x, y);
  norm.backward(x, dy, dx);
  norm.backward(over_x, dy, over_x);
  norm.backward(x, over_dy, over_dy);
  EXPECT_EQ(dx, over_x);
  EXPECT_EQ(dx, over_dy);
}

TEST(Training, ASingleValueIsAllowedWhereTheOptionsSaySo) {
  Eigen::Tensor<float, 2> x(1, 3), dy(1, 3), y, dx;
  x.setRandom();
  dy.setConstant(1);
  BatchNormOptions options;
  options.allow_single_value = true;
  BatchNorm<float> norm(3, options);
  norm.beta() = Eigen::Array3f(1, 2, 3);
  norm.forward(x, y);
  norm.backward(x, dy, dx);
  for (Index c = 0; c < 3; ++c) {
    EXPECT_EQ(y(0, c), float(c + 1));
    EXPECT_EQ(dx(0, c), 0);
    EXPECT_EQ(norm.running_mean()[c], 0);
    EXPECT_EQ(norm.running_var()[c], 1);
  }
  EXPECT_EQ(norm.num_batches_tracked(), 0);
  EXPECT_THROW(BatchNorm<float>(3).forward(x, y), std::invalid_argument);

  InstanceNormOptions instances;
  instances.allow_single_value = instances.track_running_stats = true;
  InstanceNorm<float> instance(3, instances);
  Eigen::Tensor<float, 2> two(2, 3);
  two.setRandom();
  instance.forward(two, y);
  EXPECT_EQ(y(1, 2), 0);
  EXPECT_EQ(instance.running_var()[0], 1);
}

// ---- other libraries

TEST(Conventions, NameWhatALayerHas) {
  BatchNorm<float> norm(2);
  stir(norm);
  const auto names = [](auto& layer, Convention convention) {
    std::string all;
    for_each_state(layer, convention, [&](const char* name, auto& values) {
      all += std::string(name) + ' ' + std::to_string(values.size()) + ' ';
    });
    return all;
  };
  EXPECT_EQ(names(norm, Convention::kPyTorch), "weight 2 bias 2 running_mean 2 running_var 2 ");
  EXPECT_EQ(names(norm, Convention::kKeras), "gamma 2 beta 2 moving_mean 2 moving_variance 2 ");
  EXPECT_EQ(names(norm, Convention::kOnnx), "scale 2 B 2 input_mean 2 input_var 2 ");
  EXPECT_EQ(names(norm, Convention::kFlax), "scale 2 bias 2 mean 2 var 2 ");
  const RMSNorm<float> rms(3);
  EXPECT_EQ(names(rms, Convention::kPyTorch), "weight 3 ");
  EXPECT_EQ(names(rms, Convention::kKeras), "scale 3 ");
  const LayerNorm<float> row(3);
  EXPECT_EQ(names(row, Convention::kOnnx), "Scale 3 B 3 ");
  const GroupNorm<float> grouped(1, 3);
  EXPECT_EQ(names(grouped, Convention::kOnnx), "scale 3 bias 3 ");
  EXPECT_EQ(names(row, Convention::kKeras), "gamma 3 beta 3 ");
  const InstanceNorm<float> bare(3);
  EXPECT_EQ(names(bare, Convention::kPyTorch), "");
  Whitening<float> whitening(3);
  EXPECT_EQ(names(whitening, Convention::kPyTorch), "weight 3 bias 3 ");

  BatchNorm<float> loaded(2);
  std::map<std::string, Eigen::ArrayXf> file;
  for_each_state(norm, Convention::kKeras, [&](const char* name, auto& values) { file[name] = values; });
  for_each_state(loaded, Convention::kKeras, [&](const char* name, auto& values) { values = file[name]; });
  EXPECT_EQ(running(norm).substr(0, 8), running(loaded).substr(0, 8));
  EXPECT_EQ(bytes(norm.gamma()), bytes(loaded.gamma()));
}

// One step of Keras: moving = moving * momentum + batch * (1 - momentum), with the variance that divides by n.
TEST(Conventions, MoveRunningStatistics) {
  Eigen::ArrayXXf x(4, 1), y;
  x << 1, 2, 3, 4;
  BatchNorm<float> keras(1, running_options<BatchNormOptions>(Convention::kKeras, 0.75));
  keras.forward(x, y);
  EXPECT_FLOAT_EQ(keras.running_mean()[0], 0.25F * 2.5F);
  EXPECT_FLOAT_EQ(keras.running_var()[0], 0.75F + 0.25F * 1.25F);
  BatchNorm<float> torch(1, running_options<BatchNormOptions>(Convention::kPyTorch, 0.25));
  torch.forward(x, y);
  EXPECT_FLOAT_EQ(torch.running_mean()[0], 0.25F * 2.5F);
  EXPECT_FLOAT_EQ(torch.running_var()[0], 0.75F + 0.25F * 5 / 3);
  InstanceNormOptions options;
  options.affine = true;
  EXPECT_TRUE(running_options(Convention::kOnnx, 0.9, options).affine);
  EXPECT_FALSE(running_options(Convention::kFlax, 0.99, options).unbiased_running_var);
}

TEST(Fold, IsWhatBatchNormInfers) {
  BatchNorm<float> norm(3, 1e-3);
  stir(norm);
  norm.running_var()[1] = 0;
  Eigen::ArrayXXf x = Eigen::ArrayXXf::Random(5, 3), y;
  norm.eval();
  norm.infer(x, y);
  const auto folded = fold(norm);
  for (Index r = 0; r < 5; ++r) {
    for (Index c = 0; c < 3; ++c) {
      EXPECT_NEAR(y(r, c), x(r, c) * folded.scale[c] + folded.shift[c], 2e-6F * std::max(1.0F, std::abs(y(r, c))));
    }
  }
  BatchNormOptions options;
  options.affine = false;
  options.eps = 0;
  BatchNorm<double> bare(2, options);
  bare.running_mean() << 1, 2;
  bare.running_var() << 4, 0;
  EXPECT_EQ(fold(bare).scale[0], 0.5);
  EXPECT_EQ(fold(bare).shift[0], -0.5);
  EXPECT_EQ(fold(bare).scale[1], 0);
  EXPECT_EQ(fold(bare).shift[1], 0);
  bare.running_mean().resize(3);
  EXPECT_THROW(fold(bare), std::invalid_argument);
  options.track_running_stats = false;
  EXPECT_THROW(fold(BatchNorm<double>(2, options)), std::invalid_argument);
  EXPECT_THROW(fold(BatchNorm<double>()), std::invalid_argument);
}

}  // namespace
}  // namespace tensornorm_test
