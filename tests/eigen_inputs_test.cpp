// Everything Eigen calls a tensor, and every matrix and array, is an input; the result has its rank, layout and index
// type.
#include <gtest/gtest.h>

#include "every_layer.hpp"

namespace tensornorm_test {
namespace {

using namespace tensornorm;

const Extents kExtents{6, 4, 5, 7};
template <int Layout>
using Image = Eigen::Tensor<float, 4, Layout>;

template <class Expected, class Actual>
void has_type(const Actual&) {
  static_assert(std::is_same_v<Expected, Actual>, "the result has the rank, layout and index type of x");
}

template <class A, class B>
::testing::AssertionResult equal_bits(const A& a, const B& b) {
  if (bytes(a) == bytes(b)) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << "bits differ, of " << a.size() << " and " << b.size() << " elements";
}

// Offers use(name, layer, x, dense) an expression or another kind of tensor x beside its dense value.
template <int Layout, class Use>
void for_each_tensor(Use use) {
  using T = Image<Layout>;
  T x = Guarded<float, 4, Layout>(kExtents, normal(840, 1)).map();
  const T& constant = x;
  use("Tensor", x, x);
  use("const Tensor", constant, x);
  use("TensorMap", Eigen::TensorMap<T>(x.data(), x.dimensions()), x);
  use("TensorMap of const", Eigen::TensorMap<const T>(constant.data(), x.dimensions()), x);
  use("TensorMap of an aligned Tensor", Eigen::TensorMap<T, Eigen::Aligned>(x.data(), x.dimensions()), x);
  use("TensorRef", Eigen::TensorRef<T>(x), x);
  use("sum", x + x, T(x + x));
  use("scaled", x * 3.0F, T(x * 3.0F));
  const Eigen::array<int, 4> order{0, 1, 3, 2};
  use("shuffle", x.shuffle(order), T(x.shuffle(order)));
  const Eigen::array<Index, 4> at{1, 0, 1, 2}, size{5, 4, 3, 5}, step{2, 1, 2, 3};
  use("slice", x.slice(at, size), T(x.slice(at, size)));
  use("slice with contiguous memory", x.slice(Eigen::array<Index, 4>{0, 0, 0, 0}, Eigen::array<Index, 4>{2, 4, 5, 7}),
      T(x.slice(Eigen::array<Index, 4>{0, 0, 0, 0}, Eigen::array<Index, 4>{2, 4, 5, 7})));
  use("stride", x.stride(step), T(x.stride(step)));
  use("cast", x.template cast<double>().template cast<float>(), x);
  use("broadcast", x.broadcast(Eigen::array<Index, 4>{2, 1, 1, 3}), T(x.broadcast(Eigen::array<Index, 4>{2, 1, 1, 3})));
  const Eigen::array<Index, 4> shape{3, 4, 7, 10};
  use("reshape", x.reshape(shape), T(x.reshape(shape)));
}

template <int Layout>
void takes_every_tensor() {
  for_each_tensor<Layout>([](const char* name, const auto& x, const Image<Layout>& dense) {
    BatchNorm<float> bn(4), expected(4);
    stir(bn);
    stir(expected);
    const auto y = bn(x);
    has_type<Image<Layout>>(y);
    const auto expected_y = expected(dense);
    EXPECT_TRUE(equal_bits(y, expected_y)) << name;
    EXPECT_EQ(y.dimensions(), dense.dimensions()) << name;
    EXPECT_EQ(state(bn), state(expected)) << name;

    Image<Layout> into, expected_into, dx, expected_dx;
    bn.forward(x, into);
    expected.forward(dense, expected_into);
    EXPECT_TRUE(equal_bits(into, expected_into)) << name << ", forward";
    bn.backward(x, x, dx);
    expected.backward(dense, dense, expected_dx);
    EXPECT_TRUE(equal_bits(dx, expected_dx)) << name << ", backward";
    EXPECT_EQ(state(bn), state(expected)) << name << ", backward";
    bn.infer(x, into);
    expected.infer(dense, expected_into);
    EXPECT_TRUE(equal_bits(into, expected_into)) << name << ", infer";
    has_type<Image<Layout>>(bn(Eigen::DefaultDevice(), x));
  });
}

TEST(EigenInputs, EveryRowMajorTensor) { takes_every_tensor<kRow>(); }
TEST(EigenInputs, EveryColMajorTensor) { takes_every_tensor<kCol>(); }

// One input with memory of its own and one without, for the layers not swept above.
template <int Layout>
void other_layers_take_expressions() {
  Image<Layout> x = Guarded<float, 4, Layout>(kExtents, normal(840, 2)).map();
  for_each_layer<float>(kExtents, 1, [&](const Kind& kind, auto layer) {
    auto expected = layer;
    const Image<Layout> sum = x + x;
    const auto y = layer(x + x), expected_y = expected(sum);
    has_type<Image<Layout>>(y);
    EXPECT_TRUE(equal_bits(y, expected_y)) << kind.name;
    Image<Layout> dx, expected_dx;
    layer.backward(x + x, x * 0.5F, dx);
    expected.backward(sum, Image<Layout>(x * 0.5F), expected_dx);
    EXPECT_TRUE(equal_bits(dx, expected_dx)) << kind.name;
    EXPECT_EQ(state(layer), state(expected)) << kind.name;
  });
}

TEST(EigenInputs, EveryLayerTakesExpressions) {
  other_layers_take_expressions<kRow>();
  other_layers_take_expressions<kCol>();
}

TEST(EigenInputs, ChipsOfATensor) {
  const Image<kRow> x = Guarded<float, 4, kRow>(kExtents, normal(840, 3)).map();
  LayerNorm<float> ln({7});
  for (const int axis : {0, 2}) {
    const Eigen::Tensor<float, 3, kRow> dense = x.chip(2, axis);
    const auto y = ln(x.chip(2, axis));
    has_type<Eigen::Tensor<float, 3, kRow>>(y);
    EXPECT_TRUE(equal_bits(y, ln(dense))) << "chip of axis " << axis;
  }
}

TEST(EigenInputs, OtherIndexTypesAndFixedSizes) {
  const Image<kRow> x = Guarded<float, 4, kRow>(kExtents, normal(840, 4)).map();
  BatchNorm<float> bn(4);
  const Image<kRow> y = bn(x);

  using Narrow = Eigen::Tensor<float, 4, kRow, int>;
  Narrow narrow(6, 4, 5, 7), narrow_y;
  std::copy(x.data(), x.data() + x.size(), narrow.data());
  has_type<Narrow>(bn(narrow));
  EXPECT_TRUE(equal_bits(bn(narrow), y));
  bn.forward(narrow, narrow_y);
  EXPECT_TRUE(equal_bits(narrow_y, y));
  EXPECT_EQ(narrow_y.dimension(3), 7);

  Eigen::TensorFixedSize<float, Eigen::Sizes<6, 4, 5, 7>, kRow> fixed, fixed_y;
  std::copy(x.data(), x.data() + x.size(), fixed.data());
  has_type<Image<kRow>>(bn(fixed));
  EXPECT_TRUE(equal_bits(bn(fixed), y));
  bn.forward(fixed, fixed_y);
  EXPECT_EQ(bytes(fixed_y.data(), 840), bytes(y.data(), 840));
  bn.backward(fixed, fixed_y, fixed_y);
  EXPECT_EQ(bn.dgamma().size(), 4);
}

TEST(EigenInputs, AFixedSizeOutputOfOtherExtentsIsRefused) {
  const Image<kRow> x = Guarded<float, 4, kRow>(kExtents, normal(840, 4)).map();
  Eigen::TensorFixedSize<float, Eigen::Sizes<6, 4, 5, 8>, kRow> y;
  y.setZero();
  BatchNorm<float> bn(4);
  EXPECT_THROW(bn.forward(x, y), std::invalid_argument);
  EXPECT_EQ(bn.num_batches_tracked(), 0);
}

TEST(EigenInputs, OwningOutputsAreResized) {
  const Image<kRow> x = Guarded<float, 4, kRow>(kExtents, normal(840, 5)).map();
  for_each_layer<float>(kExtents, 1, [&](const Kind& kind, auto layer) {
    Image<kRow> y(1, 2, 3, 4), inferred(9, 9, 9, 9), dx(7, 5, 4, 6);
    layer.forward(x, y);
    EXPECT_EQ(y.dimensions(), x.dimensions()) << kind.name;
    layer.backward(x, y, dx);
    EXPECT_EQ(dx.dimensions(), x.dimensions()) << kind.name;
    layer.infer(x, inferred);
    EXPECT_EQ(inferred.dimensions(), x.dimensions()) << kind.name;
  });
}

// forward into x itself, backward into dy and into x, through tensors and through maps.
template <int Layout>
void works_in_place() {
  for_each_layer<float>(kExtents, 1, [&](const Kind& kind, auto layer) {
    const std::string name = kind.name + " " + layout_name(Layout);
    const Image<Layout> x = Guarded<float, 4, Layout>(kExtents, normal(840, 6)).map();
    const Image<Layout> dy = Guarded<float, 4, Layout>(kExtents, normal(840, 7)).map();
    Image<Layout> dx, dx_of_x, inferred;
    const Image<Layout> y = layer(x);
    layer.backward(x, dy, dx);
    const std::string expected = results(layer);

    Image<Layout> both = x;
    layer.forward(both, both);
    EXPECT_TRUE(equal_bits(both, y)) << name << ": y is x";
    both = x;
    layer.forward(both, Eigen::TensorMap<Image<Layout>>(both.data(), both.dimensions()));
    EXPECT_TRUE(equal_bits(both, y)) << name << ": y is a map of x";
    both = dy;
    layer.backward(x, both, both);
    EXPECT_TRUE(equal_bits(both, dx)) << name << ": dx is dy";
    EXPECT_EQ(results(layer), expected) << name << ": dx is dy";
    both = x;
    layer.backward(both, dy, both);
    EXPECT_TRUE(equal_bits(both, dx)) << name << ": dx is x";
    EXPECT_EQ(results(layer), expected) << name << ": dx is x";

    layer.infer(x, inferred);
    both = x;
    layer.infer(both, both);
    EXPECT_TRUE(equal_bits(both, inferred)) << name << ": infer in place";
    layer.backward(x, x, dx_of_x);
    both = x;
    layer.backward(both, both, both);
    EXPECT_TRUE(equal_bits(both, dx_of_x)) << name << ": dx is dy is x";
  });
}

TEST(EigenInputs, InPlaceRowMajor) { works_in_place<kRow>(); }
TEST(EigenInputs, InPlaceColMajor) { works_in_place<kCol>(); }

// An expression that reads y is evaluated before y is written.
TEST(EigenInputs, ExpressionsOfTheirOwnOutput) {
  const Image<kRow> x = Guarded<float, 4, kRow>(kExtents, normal(840, 8)).map();
  LayerNorm<float> ln({5, 7});
  Image<kRow> y = x;
  const Image<kRow> expected = ln(Image<kRow>(x + x));
  ln.forward(y + y, y);
  EXPECT_TRUE(equal_bits(y, expected));
}

// --- matrices and arrays -------------------------------------------------------------------------------------------

// Forward, backward and infer of a matrix-like x against the tensor of the same values.
template <class Plain, class Layer, class X>
void matches_the_tensor(const std::string& name, Layer layer, const X& x) {
  constexpr int kLayout = Plain::IsRowMajor ? kRow : kCol;
  using T = Eigen::Tensor<typename Plain::Scalar, 2, kLayout>;
  const Plain dense = x;
  const T tensor = Eigen::TensorMap<const T>(dense.data(), dense.rows(), dense.cols());
  Layer expected = layer;

  const auto y = layer(x);
  has_type<Plain>(y);
  EXPECT_TRUE(equal_bits(y, expected(tensor))) << name;
  ASSERT_EQ(y.rows(), x.rows()) << name;
  ASSERT_EQ(y.cols(), x.cols()) << name;

  Plain into, dx;
  T tensor_into, tensor_dx;
  layer.forward(x, into);
  expected.forward(tensor, tensor_into);
  EXPECT_TRUE(equal_bits(into, tensor_into)) << name << ", forward";
  layer.backward(x, x, dx);
  expected.backward(tensor, tensor, tensor_dx);
  EXPECT_TRUE(equal_bits(dx, tensor_dx)) << name << ", backward";
  layer.infer(x, into);
  expected.infer(tensor, tensor_into);
  EXPECT_TRUE(equal_bits(into, tensor_into)) << name << ", infer";
  EXPECT_EQ(state(layer), state(expected)) << name;
}

template <template <class, int, int, int, int, int> class Dense, int Layout, class Layer>
void takes_every_matrix(const char* kind, const Layer& layer) {
  constexpr int kAny = Eigen::Dynamic;
  using D = Dense<float, kAny, kAny, Layout, kAny, kAny>;
  const std::string name = std::string(kind) + " " + layout_name(Layout) + ": ";
  D big(14, 12);
  const Values values = normal(168, 9);
  for (Index i = 0; i < 168; ++i) big(i / 12, i % 12) = float(values[std::size_t(i)]);
  D x = big.topLeftCorner(9, 6);
  matches_the_tensor<D>(name + "dynamic", layer, x);
  matches_the_tensor<Dense<float, 9, 6, Layout, 9, 6>>(name + "fixed", layer, Dense<float, 9, 6, Layout, 9, 6>(x));
  matches_the_tensor<D>(name + "Map", layer, Eigen::Map<const D>(x.data(), 9, 6));
  matches_the_tensor<D>(
      name + "Map with an outer stride", layer,
      Eigen::Map<D, 0, Eigen::OuterStride<>>(big.data(), 9, 6, Eigen::OuterStride<>(big.outerStride())));
  matches_the_tensor<D>(
      name + "Map with both strides", layer,
      Eigen::Map<const D, 0, Eigen::Stride<kAny, kAny>>(big.data(), 9, 6, Eigen::Stride<kAny, kAny>(18, 2)));
  matches_the_tensor<D>(name + "Ref", layer, Eigen::Ref<const D>(x));
  matches_the_tensor<D>(name + "Ref of a block", layer,
                        Eigen::Ref<const D, 0, Eigen::OuterStride<>>(big.topLeftCorner(9, 6)));
  matches_the_tensor<D>(name + "block", layer, big.block(1, 2, 9, 6));
  matches_the_tensor<D>(name + "whole block", layer, x.block(0, 0, 9, 6));
  matches_the_tensor<D>(name + "sum", layer, x + x);
  matches_the_tensor<D>(name + "scaled", layer, 2.0F * x);
}

TEST(EigenInputs, Matrices) {
  BatchNorm<float> bn(6);
  stir(bn);
  takes_every_matrix<Eigen::Matrix, kRow>("Matrix", bn);
  takes_every_matrix<Eigen::Matrix, kCol>("Matrix", bn);
}

TEST(EigenInputs, Arrays) {
  LayerNorm<float> ln({6});
  stir(ln);
  takes_every_matrix<Eigen::Array, kRow>("Array", ln);
  takes_every_matrix<Eigen::Array, kCol>("Array", ln);
}

TEST(EigenInputs, ProductsAndTransposes) {
  const Eigen::MatrixXf a = Eigen::Map<const Eigen::MatrixXd>(normal(54, 1).data(), 9, 6).cast<float>();
  RMSNorm<float> over6({6}), over9({9});
  const Eigen::MatrixXf square = a * a.transpose();
  EXPECT_TRUE(equal_bits(over9(a * a.transpose()), over9(square)));
  const Eigen::MatrixXf transposed = a.transpose();
  const auto y = over9(a.transpose());
  ASSERT_EQ(y.rows(), 6);
  const Eigen::MatrixXf back = y;
  EXPECT_TRUE(back.isApprox(Eigen::MatrixXf(over9(transposed)), 1e-6F));
  EXPECT_TRUE(equal_bits(over6(a.array() * 2.0F), over6(Eigen::ArrayXXf(a.array() * 2.0F))));
}

TEST(EigenInputs, GroupNormOfFeatures) {
  GroupNorm<float> gn(3, 6);
  stir(gn);
  const Eigen::MatrixXf x = Eigen::Map<const Eigen::MatrixXd>(normal(54, 1).data(), 9, 6).cast<float>();
  matches_the_tensor<Eigen::MatrixXf>("GroupNorm", gn, x);
}

// Vectors are matrices of one column or one row.
TEST(EigenInputs, Vectors) {
  const Eigen::VectorXf column = Eigen::Map<const Eigen::VectorXd>(normal(8, 1).data(), 8).cast<float>();
  const Eigen::RowVectorXf row = column.transpose();
  LayerNorm<float> ln({8});
  const auto y = ln(row);
  has_type<Eigen::RowVectorXf>(y);
  EXPECT_NEAR(double(y.sum()), 0, 1e-5);
  EXPECT_NEAR(double(y.squaredNorm()), 8, 1e-3);
  BatchNorm<float> bn(1);
  const auto z = bn(column);
  has_type<Eigen::VectorXf>(z);
  EXPECT_TRUE(z.isApprox(y.transpose(), 1e-6F));
}

TEST(EigenInputs, MatrixOutputs) {
  const Eigen::MatrixXf x = Eigen::Map<const Eigen::MatrixXd>(normal(54, 2).data(), 9, 6).cast<float>();
  BatchNorm<float> bn(6);
  const Eigen::MatrixXf y = bn(x);
  Eigen::MatrixXf other(2, 3), memory(9, 6), small(9, 5);
  bn.forward(x, other);
  EXPECT_TRUE(equal_bits(other, y));
  Eigen::Map<Eigen::MatrixXf> map(memory.data(), 9, 6);
  bn.forward(x, map);
  EXPECT_TRUE(equal_bits(memory, y));
  memory.setZero();
  bn.forward(x, Eigen::Map<Eigen::MatrixXf>(memory.data(), 9, 6));
  EXPECT_TRUE(equal_bits(memory, y));
  Eigen::Map<Eigen::MatrixXf> narrow(small.data(), 9, 5);
  EXPECT_THROW(bn.forward(x, narrow), std::invalid_argument);
  memory = x;
  bn.forward(memory, memory);
  EXPECT_TRUE(equal_bits(memory, y));
}

TEST(EigenInputs, BlocksAsOutputs) {
  const Eigen::MatrixXf x = Eigen::Map<const Eigen::MatrixXd>(normal(54, 2).data(), 9, 6).cast<float>();
  BatchNorm<float> bn(6);
  const Eigen::MatrixXf y = bn(x);
  Eigen::MatrixXf tall = Eigen::MatrixXf::Constant(18, 6, 7), wide = Eigen::MatrixXf::Constant(9, 8, 7);
  bn.forward(x, tall.topRows(9));
  EXPECT_TRUE(tall.topRows(9) == y);
  EXPECT_TRUE((tall.bottomRows(9).array() == 7).all());
  bn.forward(x, wide.middleCols(1, 6));
  EXPECT_TRUE(wide.middleCols(1, 6) == y);
  EXPECT_TRUE((wide.col(0).array() == 7).all() && (wide.col(7).array() == 7).all());
  // Strides that nothing takes leave no gaps.
  Eigen::RowVectorXf row = Eigen::RowVectorXf::Zero(6);
  const Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic> strides(1, 5);
  bn.infer(x.topRows(1), Eigen::Map<Eigen::MatrixXf, 0, Eigen::Stride<-1, -1>>(row.data(), 1, 6, strides));
  EXPECT_TRUE(row == bn.infer(x.topRows(1)));
}

// ---- slices, index lists, derived classes and base classes

template <int Layout>
void takes_index_lists() {
  using M = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Layout>;
  using Eigen::all;
  M m(9, 6);
  const Values values = normal(54, 9);
  for (Index i = 0; i < 54; ++i) m(i / 6, i % 6) = float(values[std::size_t(i)]);
  BatchNorm<float> bn(6);
  stir(bn);
  const std::vector<int> rows{5, 1, 8, 5};
  const std::string name = layout_name(Layout) + ": ";
  matches_the_tensor<M>(name + "every second row", bn, m(Eigen::seq(0, Eigen::last, 2), all));
  matches_the_tensor<M>(name + "every third row, fixed", bn, m(Eigen::seqN(0, 3, Eigen::fix<3>), all));
  matches_the_tensor<M>(name + "backwards", bn, m(Eigen::seq(Eigen::last, 0, -1), all));
  matches_the_tensor<M>(name + "neighbouring rows", bn, m(Eigen::seq(2, 6), all));
  matches_the_tensor<M>(name + "rows of a list", bn, m(rows, all));
  matches_the_tensor<M>(name + "columns of a list", bn, m(all, std::vector<int>{5, 4, 0, 1, 2, 3}));
  matches_the_tensor<M>(name + "a sum of such", bn, m(rows, all) + m(Eigen::seqN(0, 4), all));
}
TEST(EigenInputs, IndexListsAndSequences) {
  takes_index_lists<kRow>();
  takes_index_lists<kCol>();
}

// A class of the user's own: a tensor, a matrix or a map with something more.
template <class Base>
struct Named : Base {
  using Base::Base;
  std::string name = "mine";
};

// Every call with X as input and as output, against its base.
template <class Layer, class X>
void works_as_its_base(const char* what, Layer layer, X x, X y, X dx) {
  Layer expected = layer;
  const auto& base = core::as_eigen(x);
  const auto want = expected(base);
  EXPECT_TRUE(equal_bits(layer(x), want)) << what;
  layer.forward(x, y);
  EXPECT_TRUE(equal_bits(y, want)) << what << ", forward";
  auto want_dx = want;
  expected.backward(base, want, want_dx);
  layer.backward(x, y, dx);
  EXPECT_TRUE(equal_bits(dx, want_dx)) << what << ", backward";
  expected.infer(base, want_dx);
  layer.infer(x, dx);
  EXPECT_TRUE(equal_bits(dx, want_dx)) << what << ", infer";
  EXPECT_TRUE(equal_bits(layer.infer(x), want_dx)) << what << ", infer";
  EXPECT_EQ(y.name + dx.name, "minemine") << what;
  EXPECT_EQ(state(layer), state(expected)) << what;
}

TEST(EigenInputs, DerivedClasses) {
  LayerNorm<float> ln({6});
  Eigen::Tensor<float, 2, kRow> t = Guarded<float, 2, kRow>({9, 6}, normal(54, 9)).map();
  Eigen::MatrixXf m = Eigen::Map<const Eigen::MatrixXd>(normal(54, 2).data(), 9, 6).cast<float>();
  Eigen::MatrixXf memory(9, 12);
  const auto at = [&](Index column) { return memory.data() + 9 * column; };

  using Tensor = Named<Eigen::Tensor<float, 2, kRow>>;
  Tensor tensor(9, 6);
  std::copy(t.data(), t.data() + 54, tensor.data());
  works_as_its_base("Tensor", ln, tensor, Tensor(), Tensor(2, 3));
  using Matrix = Named<Eigen::MatrixXf>;
  works_as_its_base("Matrix", ln, Matrix(m), Matrix(), Matrix(2, 3));
  using Fixed = Named<Eigen::Matrix<float, 9, 6>>;
  works_as_its_base("fixed Matrix", ln, Fixed(m), Fixed(), Fixed());
  using Array = Named<Eigen::ArrayXXf>;
  works_as_its_base("Array", ln, Array(m.array()), Array(), Array(1, 1));
  using Map = Named<Eigen::Map<Eigen::MatrixXf>>;
  works_as_its_base("Map", ln, Map(m.data(), 9, 6), Map(at(0), 9, 6), Map(at(6), 9, 6));
  using TensorMap = Named<Eigen::TensorMap<Eigen::Tensor<float, 2, kRow>>>;
  works_as_its_base("TensorMap", ln, TensorMap(t.data(), 9, 6), TensorMap(at(0), 9, 6), TensorMap(at(6), 9, 6));
  EXPECT_THROW(ln.forward(m, Map(at(0), 6, 9)), std::invalid_argument);
}

TEST(EigenInputs, WhiteningOfDerivedClasses) {
  Named<Eigen::MatrixXf> x(Eigen::Map<const Eigen::MatrixXd>(normal(54, 2).data(), 9, 6).cast<float>()), y, back;
  Whitening<float> layer(6);
  layer.fit(x);
  layer.infer(x, y);
  layer.inverse(y, back);
  EXPECT_TRUE(back.isApprox(x, 1e-4F));
  EXPECT_EQ(y.name + back.name, "minemine");
}

// What a function template of the user's own gets and hands on.
template <class D, class E>
void normalize_matrix(const Eigen::MatrixBase<D>& x, Eigen::MatrixBase<E>& y, LayerNorm<float>& ln) {
  ln.forward(x, y);
}
template <class D, class E>
void normalize_array(const Eigen::ArrayBase<D>& x, Eigen::ArrayBase<E>& y, LayerNorm<float>& ln) {
  ln.forward(x, y);
}
template <class D, class E>
void normalize_dense(const Eigen::DenseBase<D>& x, Eigen::DenseBase<E>& y, LayerNorm<float>& ln) {
  ln.forward(x, y);
}
template <class D>
void normalize_plain(const Eigen::PlainObjectBase<D>& x, Eigen::PlainObjectBase<D>& y, LayerNorm<float>& ln) {
  ln.forward(x, y);
}
void normalize_ref(const Eigen::Ref<const Eigen::MatrixXf>& x, Eigen::Ref<Eigen::MatrixXf> y, LayerNorm<float>& ln) {
  ln.forward(x, y);
}
template <class D, class E>
void normalize_tensor(const Eigen::TensorBase<D, Eigen::ReadOnlyAccessors>& x, Eigen::TensorBase<E>& y,
                      LayerNorm<float>& ln) {
  ln.forward(x, y);
}

TEST(EigenInputs, BaseClasses) {
  const Eigen::MatrixXf x = Eigen::Map<const Eigen::MatrixXd>(normal(54, 2).data(), 9, 6).cast<float>();
  const Eigen::ArrayXXf a = x;
  const Eigen::Tensor<float, 2> t = Eigen::TensorMap<const Eigen::Tensor<float, 2>>(x.data(), 9, 6);
  LayerNorm<float> ln({6});
  const Eigen::MatrixXf want = ln(x);
  Eigen::MatrixXf y;
  Eigen::ArrayXXf array;
  Eigen::Tensor<float, 2> tensor;
  const auto expect = [&](auto& got, const char* what) {
    EXPECT_TRUE(equal_bits(got, want)) << what;
    got.setZero();
  };
  normalize_matrix(x, y, ln);
  expect(y, "MatrixBase");
  normalize_matrix(2 * x - x, y, ln);
  expect(y, "MatrixBase of an expression");
  normalize_array(a, array, ln);
  expect(array, "ArrayBase");
  normalize_dense(a, y, ln);
  expect(y, "DenseBase");
  y.resize(1, 1);
  normalize_plain(x, y, ln);
  expect(y, "PlainObjectBase");
  normalize_ref(x, y, ln);
  expect(y, "Ref");
  normalize_tensor(t, tensor, ln);
  expect(tensor, "TensorBase");
  normalize_tensor(t * 1.0F, tensor, ln);
  expect(tensor, "TensorBase of an expression");
}

template <class Scalar>
void returns_its_scalar() {
  using T = Eigen::Tensor<Scalar, 2, kRow>;
  const T x = Guarded<Scalar, 2, kRow>({4, 6}, normal(24, 1)).map();
  has_type<T>(BatchNorm<Scalar>(6)(x));
  has_type<T>(LayerNorm<Scalar>({6})(x + x));
  LayerNorm<Scalar> ln({6});
  const T y = ln(x);
  for (Index r = 0; r < 4; ++r) {
    double sum = 0, squares = 0;
    for (Index c = 0; c < 6; ++c) {
      sum += to_double(y(r, c));
      squares += to_double(y(r, c)) * to_double(y(r, c));
    }
    EXPECT_NEAR(sum, 0, 0.03) << name_of<Scalar>();
    EXPECT_NEAR(squares, 6, 0.1) << name_of<Scalar>();
  }
}

TEST(EigenInputs, EveryScalar) {
  returns_its_scalar<float>();
  returns_its_scalar<double>();
  returns_its_scalar<Eigen::half>();
  returns_its_scalar<Eigen::bfloat16>();
}

}  // namespace
}  // namespace tensornorm_test
