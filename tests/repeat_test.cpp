// Small calls one after the other: each has the bits of the same call by a copy of the layer, which was not called
// before, whatever shape, strides, mode and parameters the call before it had.
#define EIGEN_USE_THREADS
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include <tensornorm/tensornorm.hpp>

#include "every_layer.hpp"

namespace {

using namespace tensornorm;
using namespace tensornorm_test;

using Extents = std::vector<Index>;

// The strides of extents that lie in memory in the order of the axes or in the other, with a gap after each row.
Extents strides_of(const Extents& extents, bool row_major, Index gap) {
  Extents strides(extents.size());
  Index stride = 1;
  for (std::size_t i = 0; i < extents.size(); ++i) {
    const std::size_t d = row_major ? extents.size() - 1 - i : i;
    strides[d] = stride;
    stride = stride * extents[d] + (i == 0 ? gap : 0);
  }
  return strides;
}

// Memory for a tensor of any strides, filled with other numbers for each.
template <class Scalar>
class Memory {
 public:
  Memory(const Extents& extents, const Extents& strides, std::mt19937& random) : extents_(extents), strides_(strides) {
    Index size = 1;
    for (std::size_t d = 0; d < extents.size(); ++d) size += (extents[d] - 1) * strides[d];
    values_.resize(static_cast<std::size_t>(size));
    std::uniform_real_distribution<float> number(-2, 2);
    for (Scalar& v : values_) v = static_cast<Scalar>(number(random));
  }
  View<Scalar> view() { return tensornorm::view(values_.data(), extents_, strides_); }
  std::string bytes() const { return tensornorm_test::bytes(values_.data(), static_cast<Index>(values_.size())); }

 private:
  Extents extents_, strides_;
  std::vector<Scalar> values_;
};

template <class Array>
void change_one(Array& array, std::mt19937& random) {
  if (array.size() > 0) array[static_cast<Index>(random()) % array.size()] *= 1.25F;
}

// What a call may do besides: nothing, a post-op, or a sum with z that it keeps in h. Calls call(x, y) so.
enum class More { kNothing, kClip, kProduct, kSum };
template <class Scalar, class Call>
void with_more(More more, View<Scalar> x, View<Scalar> y, View<Scalar> z, View<Scalar> h, const Call& call) {
  switch (more) {
    case More::kNothing:
      return call(x, y);
    case More::kClip:
      return call(x, then_clip(y, -0.5, 0.75));
    case More::kProduct:
      return call(x, then_times(y, z));
    case More::kSum:
      return call(add(x, z, h), y);
  }
}

// Some calls in succession on a few shapes.
template <class Layer>
void make_calls(Layer norm, const std::vector<Extents>& shapes, unsigned seed) {
  using Scalar = typename Layer::Scalar;
  std::mt19937 random(seed);
  const auto one_in = [&](unsigned n) { return random() % n == 0; };
  Eigen::ThreadPool pool(2);
  const Eigen::ThreadPoolDevice device(&pool, 2);
  auto& gamma = norm.gamma();  // held, as an optimizer does
  Extents extents = shapes[0], strides = strides_of(extents, true, 0);
  for (int i = 0; i < 400; ++i) {
    SCOPED_TRACE(i);
    if (one_in(5)) extents = shapes[random() % shapes.size()], strides = strides_of(extents, true, 0);
    if (one_in(5)) strides = strides_of(extents, one_in(2), one_in(3) ? 3 : 0);
    if (one_in(6)) change_one(gamma, random);
    if constexpr (has_beta<Layer>) {
      if (one_in(6)) change_one(norm.beta(), random);
    }
    if constexpr (has_running<Layer>) {
      if (one_in(6)) change_one(norm.running_var(), random);
      if (one_in(6)) change_one(norm.running_mean(), random);
      if (one_in(20)) norm.prepare();
    }
    if (one_in(10)) norm.train(one_in(2));
    if (one_in(20)) norm.set_eps(one_in(2) ? 1e-3 : 1e-5);
    if (one_in(20)) norm.accumulate_gradients(one_in(2));
    if (one_in(20)) norm.freeze(one_in(2));
    if (one_in(40)) norm = Layer(norm);
    const bool in_place = one_in(3);
    const Extents out = one_in(4) ? strides_of(extents, true, 1) : strides;
    Memory<Scalar> x(extents, strides, random), y(extents, in_place ? strides : out, random), y_of_copy = y;
    Memory<Scalar> x_then = x;
    if (in_place) y = x, y_of_copy = x;
    const More more = one_in(2) ? More::kNothing : static_cast<More>(random() % 4);
    const bool is_sum = more == More::kSum;
    Memory<Scalar> z(extents, one_in(4) ? out : strides, random), h(extents, one_in(4) ? out : strides, random),
        h_of_copy = h;
    Layer copy(norm);
    if (one_in(3)) {
      with_more(more, in_place ? y.view() : x.view(), y.view(), z.view(), h.view(),
                [&](const auto& from, const auto& to) { norm.infer(from, to); });
      with_more(more, x.view(), y_of_copy.view(), z.view(), h_of_copy.view(),
                [&](const auto& from, const auto& to) { copy.infer(from, to); });
      ASSERT_EQ(y.bytes(), y_of_copy.bytes());
      ASSERT_EQ(h.bytes(), h_of_copy.bytes());
      ASSERT_EQ(state(norm), state(copy));
      continue;
    }
    Pass<Scalar> pass;
    const bool on_device = one_in(4);
    with_more(
        more, in_place ? y.view() : x.view(), y.view(), z.view(), h.view(),
        [&](const auto& from, const auto& to) { on_device ? norm.forward(device, from, to) : norm.forward(from, to); });
    with_more(more, x.view(), y_of_copy.view(), z.view(), h_of_copy.view(),
              [&](const auto& from, const auto& to) { copy.forward(from, to, pass); });
    if (is_sum) x_then = h;
    ASSERT_EQ(y.bytes(), y_of_copy.bytes());
    ASSERT_EQ(h.bytes(), h_of_copy.bytes());
    ASSERT_EQ(running(norm), running(copy));
    ASSERT_EQ(bytes(norm.rstd()), bytes(pass.rstd()));
    for (int k = 0; k < 2; ++k) {
      Memory<Scalar> dy(extents, one_in(4) ? out : strides, random), dx(extents, one_in(4) ? out : strides, random);
      Memory<Scalar> dx_of_copy = dx;
      if (one_in(3)) {
        norm.backward(x_then.view(), dy.view(), add_to(dx.view()));
        copy.backward(x_then.view(), dy.view(), add_to(dx_of_copy.view()), pass);
      } else {
        norm.backward(x_then.view(), dy.view(), dx.view());
        copy.backward(x_then.view(), dy.view(), dx_of_copy.view(), pass);
      }
      ASSERT_EQ(dx.bytes(), dx_of_copy.bytes());
      ASSERT_EQ(bytes(norm.dgamma()), bytes(copy.dgamma()));
      if constexpr (has_beta<Layer>) {
        ASSERT_EQ(bytes(norm.dbeta()), bytes(copy.dbeta()));
      }
    }
  }
}

template <class Scalar>
struct Repeat : testing::Test {};
using Scalars = testing::Types<float, double, Eigen::half, Eigen::bfloat16>;
TYPED_TEST_SUITE(Repeat, Scalars, ScalarNames);

TYPED_TEST(Repeat, BatchNorm) {
  for (const bool tracks : {true, false}) {
    for (const bool affine : {true, false}) {
      for (const Index channels : {16, 19}) {
        BatchNormOptions options;
        options.channel_axis = 0;
        options.track_running_stats = tracks;
        options.affine = affine;
        make_calls(BatchNorm<TypeParam>(channels, options), {{channels, 6}, {channels, 9}, {channels, 2, 3}}, 1);
        options.channel_axis = 1;
        options.virtual_batch = 6;
        make_calls(BatchNorm<TypeParam>(channels, options), {{6, channels}, {14, channels}, {2, channels, 3}}, 2);
      }
    }
  }
}

TYPED_TEST(Repeat, OtherLayers) {
  make_calls(LayerNorm<TypeParam>({19}), {{3, 19}, {1, 19}, {2, 3, 19}}, 3);
  make_calls(RMSNorm<TypeParam>({64}), {{3, 64}, {1, 64}, {2, 3, 64}}, 4);
  make_calls(GroupNorm<TypeParam>(2, 8), {{3, 8, 4}, {1, 8, 5}, {2, 8, 2, 3}}, 5);
  make_calls(InstanceNorm<TypeParam>(8), {{3, 8, 4}, {1, 8, 5}, {2, 8, 2, 3}}, 6);
}

// The short way, which callers do not see.
template <class Layer>
struct Open : Layer {
  using Layer::Layer;
  using Layer::repeat_backward;
  using Layer::repeat_forward;
  using Layer::repeat_infer;
  using Layer::repeated_shape;
};

TEST(Repeat, TakesTheShortWay) {
  using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  Matrix x = Matrix::Random(48, 16), dy = Matrix::Random(48, 16), y(48, 16), dx(48, 16);
  Open<BatchNorm<float>> norm(16);
  const core::Shape shape = core::shape_of(x);
  EXPECT_EQ(norm.repeated_shape(), nullptr);
  EXPECT_FALSE(norm.repeat_infer({x.data(), y.data()}, shape));
  norm.forward(x, y);
  ASSERT_NE(norm.repeated_shape(), nullptr);
  EXPECT_EQ(*norm.repeated_shape(), shape);
  EXPECT_TRUE(norm.repeat_forward({x.data(), y.data()}));
  EXPECT_FALSE(norm.repeat_backward(x.data(), dy.data(), dx.data(), nullptr)) << "no backward made memory yet";
  norm.backward(x, dy, dx);
  EXPECT_TRUE(norm.repeat_backward(x.data(), dy.data(), dx.data(), nullptr));
  EXPECT_TRUE(norm.repeat_backward(x.data(), dy.data(), dx.data(), &core::add_gradient<float>));
  EXPECT_FALSE(norm.repeat_backward(dy.data(), dy.data(), dx.data(), nullptr)) << "another x";
  EXPECT_FALSE(norm.repeat_forward({x.data(), x.data() + 1})) << "overlap";
  norm.eval();
  EXPECT_EQ(norm.repeated_shape(), nullptr);
  norm.infer(x, y);
  core::PostOp<float> clip;
  clip.high = 1;
  clip.put = &core::put_clipped<float>;
  EXPECT_TRUE(norm.repeat_infer({x.data(), y.data()}, shape));
  EXPECT_TRUE(norm.repeat_infer({x.data(), y.data(), &clip}, shape));
  norm.gamma()[3] = 7;
  EXPECT_FALSE(norm.repeat_infer({x.data(), y.data()}, shape));
  EXPECT_FALSE(norm.repeat_infer({x.data(), y.data(), &clip}, shape));
  norm.prepare();
  EXPECT_TRUE(norm.repeat_infer({x.data(), y.data()}, shape));
  norm.gamma().resize(3);
  EXPECT_FALSE(norm.repeat_infer({x.data(), y.data()}, shape));
  EXPECT_FALSE(norm.repeat_forward({x.data(), y.data()}));

  Open<LayerNorm<float>> layer(16);
  layer.forward(x, y);
  EXPECT_TRUE(layer.repeat_forward({x.data(), y.data()}));
  const Matrix few = x.topRows(4);
  layer.infer(few, y);
  EXPECT_TRUE(layer.repeat_infer({few.data(), y.data()}, core::shape_of(few)));
  Matrix large = Matrix::Random(8000, 16), of_large(8000, 16);
  layer.forward(large, of_large);
  EXPECT_EQ(layer.repeated_shape(), nullptr) << "no small call";
}

TEST(Repeat, TakesTheShortWayWithASumAndAProduct) {
  using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  Matrix x = Matrix::Random(48, 16), dy = Matrix::Random(48, 16), y(48, 16);
  Open<LayerNorm<float>> layer(16);
  layer.forward(x, y);
  Matrix h(48, 16), z = dy;
  const core::Residual<float> sum{x.data(), dy.data(), h.data(), &core::add_tile<float>};
  core::PostOp<float> product;
  product.z = z.data();
  product.put = &core::put_product<float>;
  const auto repeats = [&] { return layer.repeat_forward({h.data(), y.data(), &product, &sum}); };
  EXPECT_TRUE(repeats());
  EXPECT_TRUE(h == x + dy);
  product.z = y.data();
  EXPECT_TRUE(repeats());
  for (const float* const z_there : {y.data() + 1, h.data(), h.data() + 1}) {
    product.z = z_there;
    EXPECT_FALSE(repeats()) << "z overlaps";
  }
  product.z = z.data();
  for (const float* const part : {h.data() + 1, y.data() + 1}) {
    for (const bool first : {true, false}) {
      const core::Residual<float> other{first ? part : x.data(), first ? x.data() : part, h.data(),
                                        &core::add_tile<float>};
      EXPECT_FALSE(layer.repeat_forward({h.data(), y.data(), &product, &other})) << "a part overlaps";
    }
  }
  EXPECT_FALSE(layer.repeat_forward({h.data(), h.data(), nullptr, &sum})) << "y is the sum";
}

// The value of a held reference changes between two calls.
TEST(Repeat, SeesWhatAHeldReferenceChanges) {
  for (const Index channels : {4, 7, 16, 50, 64}) {
    BatchNorm<float> norm(channels);
    norm.eval();
    const Eigen::MatrixXf x = Eigen::MatrixXf::Random(1, channels);
    Eigen::MatrixXf y(1, channels);
    auto& gamma = norm.gamma();
    auto& var = norm.running_var();
    for (int i = 0; i < 3; ++i) norm.infer(x, y);
    for (Index c = 0; c < channels; ++c) {
      SCOPED_TRACE(c);
      const float before = y(0, c);
      gamma[c] = 2;
      for (int i = 0; i < 2; ++i) {
        norm.infer(x, y);
        EXPECT_EQ(y(0, c), 2 * before);
      }
      norm.prepare();
      var[c] = 100;
      norm.infer(x, y);
      EXPECT_LT(std::abs(y(0, c)), std::abs(before));
      norm.prepare();
      gamma[c] = std::numeric_limits<float>::quiet_NaN();
      norm.infer(x, y);
      EXPECT_TRUE(std::isnan(y(0, c)));
      norm.prepare();
      gamma[c] = 1;
      norm.infer(x, y);
      EXPECT_FALSE(std::isnan(y(0, c)));
    }
  }
}

// An array of the same size in other memory.
TEST(Repeat, SeesArraysThatWereSwapped) {
  BatchNorm<float> norm(16);
  norm.eval();
  const Eigen::MatrixXf x = Eigen::MatrixXf::Random(1, 16);
  Eigen::MatrixXf y(1, 16), y_then;
  for (int i = 0; i < 3; ++i) norm.infer(x, y);
  y_then = y;
  Eigen::ArrayXf gamma = Eigen::ArrayXf::Constant(16, 4), beta = Eigen::ArrayXf::Constant(16, 1);
  norm.gamma().swap(gamma);
  norm.beta().swap(beta);
  norm.infer(x, y);
  EXPECT_TRUE(y.isApprox((4 * y_then.array() + 1).matrix()));
}

TEST(Repeat, RefusesWhatTheFirstCallWouldRefuse) {
  BatchNormOptions options;
  options.channel_axis = 0;
  BatchNorm<float> norm(16, options);
  Eigen::MatrixXf x = Eigen::MatrixXf::Random(16, 8), y(16, 8), dy = x, dx(16, 8);
  Eigen::VectorXf both = Eigen::VectorXf::Random(200);
  Eigen::Map<Eigen::MatrixXf> a(both.data(), 16, 8), b(both.data() + 16, 16, 8);
  const auto refused = [&] {
    const Eigen::MatrixXf y_then = y, dx_then = dx;
    const Eigen::VectorXf both_then = both;
    const std::string then = state(norm);
    EXPECT_THROW(norm.infer(a, b), std::invalid_argument);
    EXPECT_THROW(norm.forward(a, b), std::invalid_argument);
    EXPECT_THROW(norm.forward(Eigen::MatrixXf(15, 8), y), std::invalid_argument);
    EXPECT_THROW(norm.infer(Eigen::MatrixXf(8, 16), y), std::invalid_argument);
    EXPECT_THROW(norm.backward(x, a, b), std::invalid_argument);
    EXPECT_THROW(norm.backward(dy, dy, dx), std::invalid_argument);
    for (auto* const array :
         {&norm.gamma(), &norm.beta(), &norm.dgamma(), &norm.dbeta(), &norm.running_mean(), &norm.running_var()}) {
      Eigen::ArrayXf other = Eigen::ArrayXf::Ones(17);
      array->swap(other);
      EXPECT_THROW(norm.infer(x, y), std::invalid_argument);
      EXPECT_THROW(norm.forward(x, y), std::invalid_argument);
      EXPECT_THROW(norm.backward(x, dy, dx), std::invalid_argument);
      array->swap(other);
    }
    norm.train(!norm.training());
    EXPECT_THROW(norm.backward(x, dy, dx), std::invalid_argument);
    norm.train(!norm.training());
    EXPECT_EQ(state(norm), then);
    EXPECT_TRUE(y == y_then && dx == dx_then && both == both_then);
  };
  dy.setRandom();
  for (int i = 0; i < 3; ++i) {
    norm.forward(x, y);
    norm.backward(x, dy, dx);
    norm.infer(x, y);
    refused();
  }
  norm.forward(x, y);
  norm.backward(x, dy, dx);
}

// A call that is refused has made a plan of another shape, in a copy that knows of its original's last call.
TEST(Repeat, ARefusedCallOfACopyIsNotRepeated) {
  BatchNormOptions options;
  options.channel_axis = 0;
  BatchNorm<float> norm(16, options);
  const Eigen::MatrixXf x = Eigen::MatrixXf::Random(16, 8);
  Eigen::MatrixXf y(16, 8), y_of_copy(16, 8);
  norm.forward(x, y);
  BatchNorm<float> copy(norm);
  Eigen::VectorXf both(400);
  Eigen::Map<Eigen::MatrixXf> a(both.data(), 16, 10), b(both.data() + 16, 16, 10);
  EXPECT_THROW(copy.forward(a, b), std::invalid_argument);
  copy.forward(x, y_of_copy);
  norm.forward(x, y);
  EXPECT_TRUE(y == y_of_copy);
}

// Two ranks with the same part.
struct Twins {
  int size() const { return 2; }
  void all_gather(const double* mine, Index n, double* all) const {
    std::copy_n(mine, n, all);
    std::copy_n(mine, n, all + n);
  }
};

TEST(Repeat, RanksMergeInEveryCall) {
  BatchNormOptions options;
  options.channel_axis = 0;
  SyncBatchNorm<float, Twins> norm(16, Twins(), options);
  const Eigen::MatrixXf x = Eigen::MatrixXf::Random(16, 8);
  Eigen::MatrixXf y(16, 8);
  for (int i = 0; i < 6; ++i) {
    if (i % 3 == 2) {
      norm.eval();
      norm.forward(x, y);
      norm.train();
    }
    SyncBatchNorm<float, Twins> copy(norm);
    Pass<float> pass;
    norm.forward(x, y);
    copy.forward(x, y, pass);
    EXPECT_EQ(running(norm), running(copy)) << i;
  }
}

// has_shape says what shape_of says.
template <class X>
void compare_shapes(const X& x, const std::vector<core::Shape>& shapes) {
  const core::Shape own = core::shape_of(x);
  for (const core::Shape& shape : shapes) EXPECT_EQ(core::has_shape(x, shape), own == shape);
  EXPECT_TRUE(core::has_shape(x, own));
}

TEST(Repeat, HasShape) {
  float memory[1000] = {};
  std::vector<core::Shape> shapes;
  const auto of_all = [&](const auto& use) {
    for (const Index rows : {0, 1, 2, 5}) {
      for (const Index cols : {0, 1, 2, 5}) {
        use(Eigen::MatrixXf(rows, cols));
        use(Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>(rows, cols));
        use(Eigen::MatrixXf(rows + 1, cols + 2).topLeftCorner(rows, cols));
        use(Eigen::Map<Eigen::MatrixXf, 0, Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>>(
            memory, rows, cols, Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>(20, 2)));
        use(view(memory, {rows, cols}));
        use(view(memory, {rows, cols}, {1, 30}));
        for (const Index depth : {1, 3}) {
          use(Eigen::Tensor<float, 3>(rows, cols, depth));
          use(Eigen::Tensor<float, 3, Eigen::RowMajor>(rows, cols, depth));
          use(view(memory, {rows, cols, depth}));
        }
      }
      use(Eigen::Tensor<float, 1>(rows));
    }
    use(Eigen::Matrix<float, 2, 5>(Eigen::Matrix<float, 2, 5>::Zero()));
    Eigen::TensorFixedSize<float, Eigen::Sizes<2, 5>> fixed;
    fixed.setZero();
    use(fixed);
  };
  of_all([&](const auto& x) { shapes.push_back(core::shape_of(x)); });
  of_all([&](const auto& x) { compare_shapes(x, shapes); });
}

}  // namespace
