// Tensors of one call may each have strides of their own: the values are those of tensors without gaps, and nothing
// else of their memory changes.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "every_layer.hpp"

namespace tensornorm_test {
namespace {

using tensornorm::LayerNorm;
using tensornorm::view;

// Memory for a tensor of some order of axes and some gaps, all of it -77 at first.
template <class S>
class Strided {
 public:
  // `order`: axes from the outermost to the innermost; `gap`: elements left out after each run of axis i of it.
  Strided(Extents extents, const std::vector<int>& order, const std::vector<Index>& gaps)
      : extents_(std::move(extents)), strides_(extents_.size()) {
    Index stride = 1;
    for (std::size_t i = order.size(); i-- > 0;) {
      const auto d = std::size_t(order[i]);
      if (i + 1 == order.size()) stride = 1 + gaps[i];
      strides_[d] = stride;
      stride = stride * extents_[d] + (i > 0 ? gaps[i - 1] : 0);
    }
    memory_.assign(std::size_t(stride + 3), S(-77.0f));
  }
  Strided(Extents extents, const std::vector<int>& order, const std::vector<Index>& gaps, const Values& values)
      : Strided(std::move(extents), order, gaps) {
    for (std::size_t i = 0; i < values.size(); ++i) memory_[std::size_t(offset(Index(i)))] = from_double<S>(values[i]);
  }

  tensornorm::View<S> all() { return view(memory_.data(), extents_, strides_); }
  tensornorm::View<const S> read() const { return view(memory_.data(), extents_, strides_); }

  Values values() const {
    Values result(std::size_t(count(extents_)));
    for (std::size_t i = 0; i < result.size(); ++i) result[i] = to_double(memory_[std::size_t(offset(Index(i)))]);
    return result;
  }
  // How many places outside the tensor hold what they held at first.
  std::size_t untouched() const {
    std::vector<S> memory = memory_;
    for (Index i = 0; i < count(extents_); ++i) memory[std::size_t(offset(i))] = S(0.0f);
    return std::size_t(std::count(memory.begin(), memory.end(), S(-77.0f)));
  }
  std::size_t gaps() const { return memory_.size() - std::size_t(count(extents_)); }

 private:
  Index offset(Index i) const {
    Index result = 0;
    for (std::size_t d = extents_.size(); d-- > 0; i /= extents_[d]) result += i % extents_[d] * strides_[d];
    return result;
  }

  Extents extents_;
  std::vector<Index> strides_;
  std::vector<S> memory_;
};

struct Layout {
  std::vector<int> order;
  std::vector<Index> gaps;
};

// Without gaps, with gaps between rows, with gaps between elements; row-major, column-major and turned otherwise.
std::vector<Layout> layouts(int rank) {
  std::vector<int> row(std::size_t(rank), 0), turned;
  std::iota(row.begin(), row.end(), 0);
  std::vector<int> column(row.rbegin(), row.rend());
  turned = row;
  std::rotate(turned.begin(), turned.begin() + 1, turned.end());
  const std::vector<Index> none(std::size_t(rank), 0);
  std::vector<Index> rows = none, planes = none, elements = none;
  if (rank > 1) rows[std::size_t(rank - 2)] = 5;
  planes[0] = 3;
  elements.back() = 1;
  std::vector<Layout> result;
  for (const auto& order : {row, column, turned}) {
    for (const auto& gaps : {none, rows, elements}) result.push_back({order, gaps});
  }
  result.push_back({row, planes});
  return result;
}

void expect_near(const Values& got, const Values& want, double tolerance, const std::string& what) {
  double worst = 0;
  for (std::size_t i = 0; i < want.size(); ++i) {
    worst = std::max(worst, std::abs(got[i] - want[i]) / std::max(1.0, std::abs(want[i])));
  }
  EXPECT_LE(worst, tolerance) << what;
}

template <class S>
double tolerance() {
  return std::is_same_v<S, double>        ? 1e-13
         : std::is_same_v<S, float>       ? 2e-6
         : std::is_same_v<S, Eigen::half> ? 2e-3
                                          : 2e-2;
}

// A forward pass, infer and a backward pass, with x, y, dy and dx in layouts i, j, k and l.
template <class S, class Layer>
void expect_same(const std::string& name, const Layer& layer, const Extents& extents, const std::vector<Layout>& all,
                 std::size_t i, std::size_t j, std::size_t k, std::size_t l) {
  const auto with = [&](std::size_t at) { return Strided<S>(extents, all[at].order, all[at].gaps); };
  const auto holding = [&](std::size_t at, const Values& values) {
    return Strided<S>(extents, all[at].order, all[at].gaps, values);
  };
  const Values x_values = normal(count(extents), 3), dy_values = normal(count(extents), 4);
  Layer reference(layer), other(layer);
  auto dense_x = holding(0, x_values), dense_dy = holding(0, dy_values);
  auto dense_y = with(0), dense_dx = with(0);
  reference.forward(dense_x.read(), dense_y.all());
  reference.backward(dense_x.read(), dense_dy.read(), dense_dx.all());

  const std::string what =
      name + ", layouts " + std::to_string(i) + std::to_string(j) + std::to_string(k) + std::to_string(l);
  auto x = holding(i, x_values), dy = holding(k, dy_values);
  auto y = with(j), dx = with(l), inferred = with(j);
  other.forward(x.read(), y.all());
  expect_near(y.values(), dense_y.values(), tolerance<S>(), what + ": y");
  EXPECT_EQ(y.untouched(), y.gaps()) << what;
  other.backward(x.read(), dy.read(), dx.all());
  expect_near(dx.values(), dense_dx.values(), tolerance<S>(), what + ": dx");
  EXPECT_EQ(dx.untouched(), dx.gaps()) << what;
  expect_near(values_of(other.dgamma()), values_of(reference.dgamma()), 20 * tolerance<S>(), what + ": dgamma");
  reference.infer(dense_x.read(), dense_y.all());
  other.infer(x.read(), inferred.all());
  expect_near(inferred.values(), dense_y.values(), tolerance<S>(), what + ": infer");
  EXPECT_EQ(inferred.untouched(), inferred.gaps()) << what;
  // In place.
  other.infer(x.read(), x.all());
  expect_near(x.values(), dense_y.values(), tolerance<S>(), what + ": in place");
  EXPECT_EQ(x.untouched(), x.gaps()) << what;
}

template <class S>
void sweep(const Extents& extents, int channel_axis) {
  const std::vector<Layout> all = layouts(int(extents.size()));
  std::mt19937 random(17);
  for_each_layer<S>(extents, channel_axis, [&](const Kind& kind, const auto& layer) {
    for (std::size_t i = 0; i < all.size(); ++i) {
      for (std::size_t j = 0; j < all.size(); ++j) {
        expect_same<S>(kind.name, layer, extents, all, i, j, random() % all.size(), random() % all.size());
      }
    }
  });
}

TEST(Strides, Matrices) {
  sweep<float>({37, 21}, 1);
  sweep<float>({16, 160}, 1);
  sweep<double>({7, 33}, 1);
  sweep<Eigen::half>({65, 49}, 1);
}
TEST(Strides, MatricesOfSamplesInColumns) {
  const Extents extents{21, 40};
  const std::vector<Layout> all = layouts(2);
  tensornorm::BatchNormOptions options;
  options.channel_axis = 0;
  const tensornorm::BatchNorm<float> layer(21, options);
  for (std::size_t i = 0; i < all.size(); ++i) {
    for (std::size_t j = 0; j < all.size(); ++j) expect_same<float>("BatchNorm", layer, extents, all, i, j, j, i);
  }
}
TEST(Strides, Images) {
  sweep<float>({3, 12, 5, 6}, 1);
  sweep<float>({2, 5, 7, 8}, -1);
}
TEST(Strides, SixteenBits) {
  sweep<Eigen::half>({5, 40}, 1);
  sweep<Eigen::bfloat16>({2, 8, 3, 5}, 1);
}

TEST(Strides, Whitening) {
  const Extents extents{50, 4, 3};
  const std::vector<Layout> all = layouts(3);
  tensornorm::Whitening<float> layer(4);
  for (std::size_t i = 0; i < all.size(); ++i) {
    expect_same<float>("Whitening", layer, extents, all, i, (i + 3) % all.size(), (i + 5) % all.size(),
                       (i + 4) % all.size());
  }
}

// Blocks, transposes and maps with strides of Eigen's.
TEST(Strides, OfEigen) {
  using Eigen::all;
  Eigen::MatrixXf x = Eigen::MatrixXf::Random(12, 20), y = x, z;
  Eigen::Matrix<float, -1, -1, Eigen::RowMajor> rows;
  tensornorm::LayerNorm<float> layer({20});
  layer.forward(x, y);
  layer.forward(x, rows);
  EXPECT_TRUE(rows.isApprox(y));
  layer.forward(x, z.transpose());
  ASSERT_EQ(z.rows(), 20);
  EXPECT_TRUE(z.transpose().isApprox(y));
  Eigen::MatrixXf wide = Eigen::MatrixXf::Constant(30, 30, -7);
  layer.forward(x, wide.block(3, 4, 12, 20));
  EXPECT_TRUE(wide.block(3, 4, 12, 20).isApprox(y));
  EXPECT_EQ((wide.array() == -7.f).count(), 900 - 240);
  layer.forward(wide.block(3, 4, 12, 20), wide.block(3, 4, 12, 20));  // in place
  Eigen::Ref<Eigen::MatrixXf, 0, Eigen::OuterStride<>> ref = wide.topRows(12).leftCols(20);
  layer.infer(x, ref);
  EXPECT_TRUE(ref.isApprox(y));
  Eigen::MatrixXf samples = x.transpose(), out(20, 12);
  layer.infer(samples.transpose(), out.transpose());
  EXPECT_TRUE(out.transpose().isApprox(y));
}

// Of one buffer, tensors that share no element are fine, however they are laced together.
TEST(Strides, LacedTogether) {
  Eigen::Matrix<float, -1, -1, Eigen::RowMajor> m = Eigen::MatrixXf::Random(9, 40);
  const Eigen::MatrixXf right = m.rightCols(20);
  tensornorm::LayerNorm<float> layer({20});
  Eigen::MatrixXf want(9, 20);
  layer.infer(Eigen::MatrixXf(m.leftCols(20)), want);
  layer.infer(m.leftCols(20), m.rightCols(20));
  EXPECT_TRUE(m.rightCols(20).isApprox(want));
  m.rightCols(20) = right;
  try {
    layer.infer(m.leftCols(20), m.middleCols(19, 20));
    FAIL() << "they share a column";
  } catch (const std::invalid_argument& error) {
    EXPECT_NE(std::string(error.what()).find("overlap"), std::string::npos) << error.what();
  }
  EXPECT_TRUE(m.rightCols(20).isApprox(right));
}

// Frames that overlap are read as they lie, into any layout.
TEST(Strides, SlidingWindows) {
  const Values signal = normal(60, 6);
  std::vector<float> s(signal.begin(), signal.end());
  LayerNorm<float> layer(8);
  Eigen::Matrix<float, -1, -1, Eigen::RowMajor> frames(17, 8), want, rows(17, 8);
  Eigen::MatrixXf columns(17, 8);
  for (const Index hop : {Index{1}, Index{2}, Index{3}}) {
    for (Index i = 0; i < 17; ++i) {
      for (Index j = 0; j < 8; ++j) frames(i, j) = s[std::size_t(hop * i + j)];
    }
    layer.infer(frames, want);
    layer.infer(view(s.data(), {17, 8}, {hop, 1}), columns);
    layer.infer(view(s.data(), {17, 8}, {hop, 1}), rows);
    EXPECT_TRUE(columns.isApprox(want, 1e-6F)) << hop;
    EXPECT_TRUE(rows.isApprox(want, 1e-6F)) << hop;
  }
  // gamma whose values overlap is read so too.
  const float g[7] = {1, 2, 3, 4, 5, 6, 7};
  const Eigen::MatrixXf x = Eigen::MatrixXf::Random(5, 6);
  Eigen::VectorXf gamma(6);
  gamma << 1, 2, 3, 2, 3, 4;
  Eigen::MatrixXf y(5, 6), expected(5, 6);
  tensornorm::rms_norm(x, gamma, 1e-5, expected);
  tensornorm::rms_norm(view(x.data(), {5, 2, 3}, {1, 15, 5}), view(g, {2, 3}, {1, 1}), 1e-5,
                       view(y.data(), {5, 2, 3}, {1, 15, 5}));
  EXPECT_TRUE(y.isApprox(expected, 1e-6F));
}

// Every pair of small tensors in one buffer, against a list of their places.
TEST(Strides, OverlapIsFound) {
  std::mt19937 random(5);
  int found = 0;
  for (int round = 0; round < 20000; ++round) {
    tensornorm::core::Shape shape;
    shape.rank = 1 + int(random() % 3);
    Index stride = 1;
    for (int d = 0; d < shape.rank; ++d) {
      shape.extents[std::size_t(d)] = 1 + Index(random() % 3);
      stride += Index(random() % 4);
      shape.strides[std::size_t(d)] = shape.extents[std::size_t(d)] == 1 ? 0 : stride;
      stride = stride * shape.extents[std::size_t(d)] + 1;
    }
    const Index distance = Index(random() % 60);
    std::vector<Index> places{0};
    for (int d = 0; d < shape.rank; ++d) {
      const std::vector<Index> before = places;
      for (Index k = 1; k < shape.extent(d); ++k) {
        for (const Index p : before) places.push_back(p + k * shape.stride(d));
      }
    }
    bool want = false;
    for (const Index p : places) want = want || std::count(places.begin(), places.end(), p + distance) > 0;
    // Outside of its span a tensor has nothing.
    const bool got = distance < tensornorm::core::span_of(shape) && tensornorm::core::overlap(4 * distance, shape, 4);
    ASSERT_EQ(got, want) << "round " << round;
    found += want ? 1 : 0;
  }
  EXPECT_GT(found, 1000);
}

TEST(Views, AreRefusedWhereTheyAreNone) {
  float memory[12] = {};
  const auto refused = [](const char* word, auto call) {
    try {
      call();
      ADD_FAILURE() << word;
    } catch (const std::invalid_argument& error) {
      EXPECT_NE(std::string(error.what()).find(word), std::string::npos) << error.what();
    }
  };
  refused("rank 0", [&] { view(memory, std::vector<Index>{}); });
  refused("(3, -1)", [&] { view(memory, {3, -1}); });
  refused("stride of -1", [&] { view(memory, {3, 2}, {-1, 1}); });
  refused("2 extents and 1", [&] { view(memory, {3, 2}, {1}); });
  tensornorm::LayerNorm<float> layer({2});
  const float x[6] = {1, 2, 3, 4, 5, 6};
  refused("two elements at one place", [&] { layer.infer(view(x, {3, 2}), view(memory, {3, 2}, {1, 1})); });
  refused("(2, 3)", [&] { layer.infer(view(x, {3, 2}), view(memory, {2, 3})); });
  refused("(6)", [&] { layer.infer(view(x, {3, 2}), view(memory, {6})); });
  float once[2] = {3, 5};
  layer.infer(view(once, {3, 2}, {0, 1}), view(memory, {3, 2}));  // a row three times
  EXPECT_FLOAT_EQ(memory[4], memory[0]);
}

}  // namespace
}  // namespace tensornorm_test
