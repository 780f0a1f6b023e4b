// Gradient clipping against plain loops in long double: every scalar, rank, layout, stride and length round a vector's,
// the ends of the types, what is not finite, misuse, and the same bits on any number of threads.
#define EIGEN_USE_THREADS

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cmath>
#include <functional>
#include <limits>
#include <list>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include <tensornorm/batch_norm.hpp>
#include <tensornorm/clip_grad.hpp>

#include "counting_pool.hpp"
#include "sweep.hpp"

namespace tensornorm_test {
namespace {

using namespace tensornorm;

constexpr int kRow = Eigen::RowMajor;
constexpr int kCol = Eigen::ColMajor;
constexpr NormType kTypes[] = {NormType::kOne, NormType::kTwo, NormType::kInfinity};
constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

std::string name_of_type(NormType type) {
  return type == NormType::kOne ? "1-norm" : type == NormType::kTwo ? "2-norm" : "inf-norm";
}

ClipGradNormOptions options_of(NormType type, bool error_if_nonfinite = true) {
  ClipGradNormOptions options;
  options.norm_type = type;
  options.error_if_nonfinite = error_if_nonfinite;
  return options;
}

Real oracle_norm(const Values& values, NormType type) {
  Real sum = 0, largest = 0;
  for (const double v : values) {
    sum += type == NormType::kOne ? std::abs(Real(v)) : Real(v) * Real(v);
    largest = std::max(largest, std::abs(Real(v)));
  }
  return type == NormType::kOne ? sum : type == NormType::kTwo ? std::sqrt(sum) : largest;
}

template <class Scalar>
constexpr double kNormError = std::is_same_v<Scalar, double> ? 1e-14 : 1e-6;

void expect_norm(double got, Real want, double error, const std::string& what) {
  EXPECT_LE(std::abs(Real(got) - want), Real(error) * want) << what << ": " << got << ", not " << double(want);
}

// x * max_norm / norm: an error of the norm, a product and a store.
template <class Scalar>
void expect_scaled(const Values& before, const Values& after, Real factor, const std::string& what) {
  using P = Precision<Scalar>;
  for (std::size_t i = 0; i < before.size(); ++i) {
    const Real want = Real(before[i]) * factor;
    const Real arithmetic = 2 * P::ulp(want) + std::abs(want) * Real(kNormError<Scalar>);
    ASSERT_LE(std::abs(Real(after[i]) - want), P::stored(want, arithmetic))
        << what << ": " << before[i] << " at " << i << " became " << after[i] << ", not " << double(want);
  }
}

template <class Dense>
std::string bits(const Dense& a) {
  return std::string(reinterpret_cast<const char*>(a.data()), std::size_t(a.size()) * sizeof(*a.data()));
}

template <class Scalar>
class ClipGrad : public testing::Test {};
using Scalars = testing::Types<float, double, Eigen::half, Eigen::bfloat16>;
TYPED_TEST_SUITE(ClipGrad, Scalars, ScalarNames);

// Round every vector's length, a tile's and a unit's.
const Index kSizes[] = {0,  1,  2,  3,  4,  5,   7,   8,   9,   15,   16,    17,    31,    32,   33,
                        63, 64, 65, 66, 67, 127, 128, 129, 511, 1031, 16383, 16385, 32769, 70001};

TYPED_TEST(ClipGrad, AnySizeAtAnyAlignment) {
  for (const Index n : kSizes) {
    for (const NormType type : kTypes) {
      double first = 0;
      for (const Index misalign : {0, 1, 3}) {
        Guarded<TypeParam, 1, kRow> g({n}, normal(n, unsigned(n), 0.25), misalign), same({n}, g.values());
        const std::string what = std::to_string(n) + " misaligned by " + std::to_string(misalign) + ", " +
                                 name_of_type(type) + " of " + name_of<TypeParam>();
        const Values before = g.values();
        const Real want = oracle_norm(before, type);
        const double norm = clip_grad_norm(double(want) * 1.01, options_of(type), g.map());
        expect_norm(norm, want, kNormError<TypeParam>, what);
        if (misalign == 0) first = norm;
        EXPECT_EQ(norm, first) << what;
        EXPECT_TRUE(g.same_bits(same)) << what << ": changed below max_norm";
        EXPECT_EQ(clip_grad_norm(double(want) / 4, options_of(type), g.map()), norm) << what;
        expect_scaled<TypeParam>(before, g.values(), Real(0.25), what);
        EXPECT_TRUE(g.guards_intact()) << what;
      }
    }
  }
}

TYPED_TEST(ClipGrad, ValueOfAnySizeAtAnyAlignment) {
  for (const Index n : kSizes) {
    for (const Index misalign : {0, 1, 3}) {
      Guarded<TypeParam, 1, kRow> g({n}, normal(n, unsigned(n) + 1), misalign);
      if (n > 2) g.data()[1] = TypeParam(kNaN), g.data()[n - 1] = TypeParam(-kInf);
      const Values before = g.values();
      const double value = 0.7, rounded_value = to_double(from_double<TypeParam>(value));
      clip_grad_value(value, g.map());
      const Values after = g.values();
      for (std::size_t i = 0; i < before.size(); ++i) {
        if (std::isnan(before[i])) {
          ASSERT_TRUE(std::isnan(after[i])) << n << " at " << i;
        } else {
          ASSERT_EQ(after[i], std::min(std::max(before[i], -rounded_value), rounded_value)) << n << " at " << i;
        }
      }
      EXPECT_TRUE(g.guards_intact()) << n << " misaligned by " << misalign;
    }
  }
}

// ---- ranks, layouts and strides

template <class Scalar, int Layout>
void any_rank() {
  Guarded<Scalar, 1, Layout> a({7}, normal(7, 1));
  Guarded<Scalar, 2, Layout> b({3, 11}, normal(33, 2), 1);
  Guarded<Scalar, 3, Layout> c({2, 1, 9}, normal(18, 3), 2);
  Guarded<Scalar, 4, Layout> d({3, 5, 7, 11}, normal(1155, 4), 3);
  Guarded<Scalar, 5, Layout> e({2, 0, 3, 1, 4});
  Eigen::Tensor<Scalar, 0, Layout> f;
  f() = Scalar(2);
  Values all{2};
  const auto append = [&](const Values& v) { all.insert(all.end(), v.begin(), v.end()); };
  append(a.values()), append(b.values()), append(c.values()), append(d.values());
  const Real want = oracle_norm(all, NormType::kTwo);
  const Values before = d.values();
  const double norm = clip_grad_norm(3, a.map(), b.map(), c.map(), d.map(), e.map(), f);
  expect_norm(norm, want, kNormError<Scalar>, "ranks 0 to 5");
  expect_scaled<Scalar>(before, d.values(), 3 / want, "rank 4");
  expect_scaled<Scalar>({2}, {to_double(f())}, 3 / want, "rank 0");
  EXPECT_TRUE(a.guards_intact() && b.guards_intact() && c.guards_intact() && d.guards_intact() && e.guards_intact());
}
TYPED_TEST(ClipGrad, AnyRankRowMajor) { any_rank<TypeParam, kRow>(); }
TYPED_TEST(ClipGrad, AnyRankColMajor) { any_rank<TypeParam, kCol>(); }

// A part of a matrix of distinct numbers: its norm, its elements scaled and clamped, and no other touched.
template <class Matrix, class Part>
void expect_part(const std::string& what, Part part_of, Index rows = 90, Index cols = 83) {
  using Scalar = typename Matrix::Scalar;
  Matrix matrix(rows, cols);
  for (Index i = 0; i < matrix.size(); ++i) matrix.data()[i] = from_double<Scalar>(std::sin(double(i)) + 1.5);
  const Matrix before = matrix;
  Matrix marked = Matrix::Zero(rows, cols);
  part_of(marked).setConstant(Scalar(1));
  Values inside;
  for (Index i = 0; i < matrix.size(); ++i) {
    if (to_double(marked.data()[i]) != 0) inside.push_back(to_double(before.data()[i]));
  }
  for (const NormType type : kTypes) {
    matrix = before;
    const Real want = oracle_norm(inside, type);
    expect_norm(clip_grad_norm(double(want) / 8, options_of(type), part_of(matrix)), want, kNormError<Scalar>,
                what + ", " + name_of_type(type));
    for (Index i = 0; i < matrix.size(); ++i) {
      const bool is_inside = to_double(marked.data()[i]) != 0;
      const double was = to_double(before.data()[i]);
      expect_scaled<Scalar>({was}, {to_double(matrix.data()[i])}, is_inside ? Real(0.125) : Real(1), what);
    }
  }
  matrix = before;
  clip_grad_value(1, part_of(matrix));
  for (Index i = 0; i < matrix.size(); ++i) {
    const double was = to_double(before.data()[i]), is = to_double(matrix.data()[i]);
    ASSERT_EQ(is, to_double(marked.data()[i]) != 0 ? std::min(was, 1.0) : was) << what << " at " << i;
  }
}

template <class Matrix>
void any_strides() {
  using Scalar = typename Matrix::Scalar;
  using Stride = Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>;
  expect_part<Matrix>("whole", [](Matrix& m) -> Matrix& { return m; });
  expect_part<Matrix>("block", [](Matrix& m) { return m.block(3, 5, 70, 61); });
  expect_part<Matrix>("narrow block", [](Matrix& m) { return m.block(1, 2, 3, 80); });
  expect_part<Matrix>("row", [](Matrix& m) { return m.row(2); });
  expect_part<Matrix>("column", [](Matrix& m) { return m.col(2); });
  expect_part<Matrix>("transposed", [](Matrix& m) { return m.transpose(); });
  expect_part<Matrix>("diagonal", [](Matrix& m) { return m.diagonal(); });
  expect_part<Matrix>("empty block", [](Matrix& m) { return m.block(3, 5, 0, 61); });
  expect_part<Matrix>("every other of every third", [](Matrix& m) {
    const Index inner = m.innerSize(), rows = Matrix::IsRowMajor ? 20 : 41, cols = Matrix::IsRowMajor ? 41 : 20;
    return Eigen::Map<Matrix, 0, Stride>(m.data() + 1, rows, cols, Stride(3 * inner, 2));
  });
  expect_part<Matrix>("ref",
                      [](Matrix& m) { return Eigen::Ref<Matrix, 0, Eigen::OuterStride<>>(m.block(3, 5, 7, 9)); });
  expect_part<Matrix>(
      "wide block", [](Matrix& m) { return m.block(0, 0, m.rows() - 1, m.cols() - 1); }, Matrix::IsRowMajor ? 3 : 20000,
      Matrix::IsRowMajor ? 20000 : 3);
  expect_part<Matrix>("map", [](Matrix& m) { return Eigen::Map<Eigen::Array<Scalar, -1, 1>>(m.data() + 3, 99); });
}
TEST(ClipGradStrides, ColMajor) { any_strides<Eigen::MatrixXf>(); }
TEST(ClipGradStrides, RowMajor) {
  any_strides<Eigen::Matrix<Eigen::half, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>>();
}

// ---- lists

TEST(ClipGradLists, MixedTypesInOneCallAndInAnyKindOfList) {
  Eigen::Tensor<float, 3, kRow> a(3, 5, 7);
  Eigen::Tensor<double, 1> b(40);
  Eigen::TensorFixedSize<Eigen::half, Eigen::Sizes<2, 3>> c;
  Eigen::Matrix<Eigen::bfloat16, 2, 3> d;
  BatchNorm<float> layer(6);
  layer.dgamma() = 3;
  layer.dbeta() = -2;
  const auto fill = [&] {
    a.setConstant(0.5f);
    b.setConstant(-0.25);
    c.setConstant(Eigen::half(2.0f));
    d.setConstant(Eigen::bfloat16(4.0f));
  };
  const Real want[] = {105 * 0.5L + 40 * 0.25L + 12 + 24 + 18 + 12,
                       std::sqrt(105 * 0.25L + 40 * 0.0625L + 24 + 96 + 54 + 24), 4};
  for (const NormType type : kTypes) {
    fill();
    const auto measure = options_of(type);
    const double norm = clip_grad_norm(kInf, measure, a, b, c, d, layer.dgamma(), layer.dbeta());
    expect_norm(norm, want[int(type)], 1e-6, name_of_type(type));
    std::vector<GradientRef> list{a, b, c, d};
    list.emplace_back(layer.dgamma());
    list.push_back(layer.dbeta());
    EXPECT_EQ(list[0].size(), 105);
    EXPECT_EQ(clip_grad_norm(kInf, measure, list), norm);
    EXPECT_EQ(clip_grad_norm(kInf, measure, std::array<GradientRef, 3>{a, b, c}, d, layer.dgamma(), list.back()), norm);
    EXPECT_EQ(clip_grad_norm(Eigen::DefaultDevice(), norm / 2, measure, std::as_const(list)), norm);
    EXPECT_FLOAT_EQ(a(2, 4, 6), 0.25f);
    EXPECT_DOUBLE_EQ(b(39), -0.125 * (double(want[int(type)]) / norm));
    EXPECT_EQ(to_double(c(1, 2)), 1);
    EXPECT_EQ(to_double(d(1, 2)), 2);
    EXPECT_FLOAT_EQ(layer.dgamma()[5], 1.5f);
    EXPECT_FLOAT_EQ(layer.dbeta()[5], -1);
    clip_grad_norm(kInf, a, list);
    layer.dgamma() = 3;
    layer.dbeta() = -2;
  }
  fill();
  clip_grad_value(0.3, std::vector<GradientRef>{a, b}, d);
  EXPECT_EQ(a(0, 0, 0), 0.3f);
  EXPECT_EQ(b(0), -0.25);
  EXPECT_EQ(to_double(d(0, 0)), to_double(Eigen::bfloat16(0.3f)));
}

// More gradients than are taken at once, some of them empty.
TEST(ClipGradLists, ManyGradients) {
  std::list<Eigen::MatrixXf> list;
  Values all;
  for (Index i = 0; i < 300; ++i) {
    list.emplace_back(Eigen::MatrixXf(i % 7, i % 11));
    const Values values = normal(list.back().size(), unsigned(i));
    for (std::size_t k = 0; k < values.size(); ++k) list.back().data()[k] = float(values[k]);
    all.insert(all.end(), values.begin(), values.end());
  }
  const auto before = list;
  const Real want = oracle_norm(all, NormType::kTwo);
  std::vector<GradientRef> refs(list.begin(), list.end());
  const double norm = clip_grad_norm(kInf, refs);
  expect_norm(norm, want, 1e-6, "300 gradients");
  EXPECT_EQ(clip_grad_norm(1, list), norm);
  auto was = before.begin();
  for (const auto& g : list) {
    EXPECT_TRUE(g.isApprox(*was++ / float(want), 1e-6f));
  }
  clip_grad_value(0, refs);
  for (const auto& g : list) EXPECT_TRUE((g.array() == 0).all());
}

// Wherever units are cut: through a gradient, between two, through blocks with gaps, up to the most there are.
TEST(ClipGradLists, EveryElementOnce) {
  for (const Index n : {98303, 98304, 131075, 700001}) {
    std::vector<Eigen::ArrayXf> list{Eigen::ArrayXf::Ones(n), Eigen::ArrayXf::Ones(3), Eigen::ArrayXf::Ones(2 * n)};
    Eigen::MatrixXf matrix = Eigen::MatrixXf::Ones(400, 301);
    auto block = matrix.topRows(399);
    const double elements = double(3 * n + 3 + block.size());
    EXPECT_EQ(clip_grad_norm(elements / 2, options_of(NormType::kOne), list, block), elements) << n;
    for (const auto& g : list) EXPECT_TRUE((g == 0.5f).all()) << n;
    EXPECT_TRUE((block.array() == 0.5f).all() && (matrix.row(399).array() == 1).all()) << n;
    clip_grad_value(0.25, list, block);
    for (const auto& g : list) EXPECT_TRUE((g == 0.25f).all()) << n;
    EXPECT_TRUE((block.array() == 0.25f).all() && (matrix.row(399).array() == 1).all()) << n;
  }
}

TEST(ClipGradLists, NoGradients) {
  EXPECT_EQ(clip_grad_norm(1), 0);
  EXPECT_EQ(clip_grad_norm(0, std::vector<GradientRef>()), 0);
  EXPECT_EQ(clip_grad_norm(0, std::vector<Eigen::MatrixXf>(3)), 0);
  clip_grad_value(1);
}

// Classes of the user's own, and their base classes.
struct Image : Eigen::Tensor<float, 4> {
  using Eigen::Tensor<float, 4>::Tensor;
};
struct Weights : Eigen::MatrixXf {
  using Eigen::MatrixXf::MatrixXf;
};
template <class D>
double clip_base(double max_norm, Eigen::MatrixBase<D>& g) {
  return clip_grad_norm(max_norm, g);
}
template <class D>
double clip_tensor_base(double max_norm, Eigen::TensorBase<D>& g) {
  return clip_grad_norm(max_norm, g);
}

TEST(ClipGradLists, DerivedAndBaseClasses) {
  Image image(1, 2, 2, 3);
  Weights weights(2, 2);
  const auto fill = [&] {
    image.setConstant(2);
    weights.setConstant(-2);
  };
  fill();
  EXPECT_EQ(clip_grad_norm(4, image, weights), 8);
  EXPECT_TRUE(image(0, 1, 1, 2) == 1 && weights(1, 1) == -1);
  fill();
  EXPECT_EQ(clip_grad_norm(4, std::vector<GradientRef>{image, weights}), 8);
  EXPECT_TRUE(image(0, 1, 1, 2) == 1 && weights(1, 1) == -1);
  fill();
  std::vector<Weights> list(4, weights);
  EXPECT_EQ(clip_grad_norm(4, list), 8);
  EXPECT_TRUE((list[3].array() == -1).all());
  EXPECT_EQ(clip_base(2, weights), 4);
  EXPECT_TRUE((weights.array() == -1).all());
  EXPECT_EQ(clip_tensor_base(kInf, image), std::sqrt(48.0));
  clip_grad_value(0.5, image, weights);
  EXPECT_TRUE(image(0, 1, 1, 2) == 0.5f && weights(1, 1) == -0.5f);
}

// Walked twice, by iterators that say so in C++17's way or in C++20's.
template <class Category, class Concept>
struct Walk {
  struct Iterator {
    using iterator_category = Category;
    using iterator_concept = Concept;
    using value_type = GradientRef;
    using difference_type = std::ptrdiff_t;
    using pointer = void;
    using reference = GradientRef;
    GradientRef operator*() const { return *at; }
    Iterator& operator++() { return ++at, *this; }
    bool operator!=(const Iterator& other) const { return at != other.at; }
    Eigen::MatrixXf* at;
  };
  Iterator begin() const { return {list.data()}; }
  Iterator end() const { return {list.data() + list.size()}; }
  mutable std::vector<Eigen::MatrixXf> list;
};

TEST(ClipGradLists, RangesThatCanBeWalkedAgain) {
  const Walk<std::input_iterator_tag, std::random_access_iterator_tag> view{{4, Eigen::MatrixXf::Constant(2, 2, 2)}};
  EXPECT_EQ(clip_grad_norm(4, view), 8);
  EXPECT_TRUE((view.list[3].array() == 1).all());
}

// Extents whose product an int does not hold, over memory that is not read: a GradientRef counts them.
TEST(ClipGradLists, MoreElementsThanAnIntCounts) {
  using Huge = Eigen::TensorMap<Eigen::Tensor<Eigen::half, 2, kRow, int>>;
  Eigen::half memory[2] = {};
  EXPECT_EQ(GradientRef(Huge(memory, 1 << 16, 1 << 15)).size(), Index{1} << 31);
  EXPECT_EQ(GradientRef(Huge(memory, 1 << 16, 1 << 16)).size(), Index{1} << 32);
  EXPECT_EQ(GradientRef(Huge(memory, 0, 1 << 16)).size(), 0);
}

// ---- the ends of the types

struct Pattern {
  const char* name;
  std::function<double(Index)> value;
};
const Pattern kPatterns[] = {
    {"1e30", [](Index i) { return 1e30 * std::sin(double(i * i) + 1); }},
    {"1e-30", [](Index i) { return 1e-30 * std::sin(double(i * i) + 1); }},
    {"3e38", [](Index i) { return i % 2 == 0 ? 3e38 : -3e38; }},
    {"denormal", [](Index i) { return 1e-43 * double(i % 9); }},
    {"1e200", [](Index i) { return 1e200 * std::cos(double(i * 3)); }},
    {"1e306", [](Index i) { return i == 5 ? 1e306 : -1e300; }},
    {"1e-200", [](Index i) { return 1e-200 * std::cos(double(i * 3)); }},
    {"5e-324", [](Index) { return 5e-324; }},
    {"half's largest", [](Index i) { return i % 3 == 0 ? -65504.0 : 65504.0; }},
    {"half's denormals", [](Index i) { return 6e-8 * double(i % 5); }},
    {"one huge among small", [](Index i) { return i == 3 ? 1e30 : std::sin(double(i)); }},
    {"one huge among tiny", [](Index i) { return i == 3 ? 1e10 : 1e-25; }},
    {"one tiny among zeros", [](Index i) { return i == 3 ? 1e-30 : 0; }},
    {"zeros", [](Index i) { return i % 2 == 0 ? 0.0 : -0.0; }},
};

TYPED_TEST(ClipGrad, NormsDoNotOverflowOrUnderflow) {
  using P = Precision<TypeParam>;
  for (const Pattern& pattern : kPatterns) {
    for (const Index n : {7, 100, 20011}) {
      Values values;
      for (Index i = 0; i < n; ++i) values.push_back(to_double(from_double<TypeParam>(pattern.value(i))));
      if (std::isinf(values[5]) || std::isinf(values[3]) || std::isinf(values[0])) continue;  // not this type's
      for (const NormType type : kTypes) {
        const std::string what =
            std::string(pattern.name) + ", " + name_of_type(type) + " of " + std::to_string(n) + name_of<TypeParam>();
        Guarded<TypeParam, 1, kRow> g({n}, values);
        const Real want = oracle_norm(values, type);
        const double norm = clip_grad_norm(kInf, options_of(type), g.map());
        // A norm below the normal doubles has fewer digits.
        EXPECT_LE(std::abs(Real(norm) - want), Real(kNormError<TypeParam>) * want + 5e-324L) << what << norm;
        if (want == 0) continue;
        const Real max_norm = double(want / 1000), factor = max_norm / Real(norm);
        if (max_norm == 0) continue;
        EXPECT_EQ(clip_grad_norm(double(max_norm), options_of(type), g.map()), norm) << what;
        const Values after = g.values();
        for (std::size_t i = 0; i < after.size(); ++i) {
          const Real scaled = Real(values[i]) * factor;
          ASSERT_LE(std::abs(Real(after[i]) - scaled), P::stored(scaled, 2 * P::ulp(scaled))) << what << " at " << i;
        }
      }
    }
  }
}

// A factor that the tensor's own precision holds with few digits, or not at all.
TEST(ClipGradEnds, FactorsBelowTheNormalNumbers) {
  Eigen::ArrayXf g = Eigen::ArrayXf::Constant(100, 3e38f);
  g[1] = 0;
  double norm = clip_grad_norm(0.7, g);
  expect_norm(norm, Real(3e38f) * std::sqrt(99.0L), 1e-6, "3e38");
  EXPECT_NEAR(double(g[0]), 0.7 / std::sqrt(99.0), 1e-7);
  EXPECT_EQ(g[1], 0);
  Eigen::ArrayXd d = Eigen::ArrayXd::Constant(4, 1e307);
  norm = clip_grad_norm(1e-5, d);
  EXPECT_DOUBLE_EQ(norm, 2e307);
  EXPECT_DOUBLE_EQ(d[3], 5e-6);
  // In one call: the tiny one vanishes, as its share does.
  Eigen::ArrayXf small = Eigen::ArrayXf::Ones(4);
  d.setConstant(1e200);
  EXPECT_DOUBLE_EQ(clip_grad_norm(1, d, small), 2e200);
  EXPECT_DOUBLE_EQ(d[0], 0.5);
  EXPECT_TRUE((small == 0).all());
}

TEST(ClipGradEnds, MaxNorms) {
  Eigen::ArrayXd g(2);
  g << 3, -4;
  EXPECT_EQ(clip_grad_norm(5, g), 5);
  EXPECT_EQ(g[1], -4) << "a norm of max_norm is not clipped";
  EXPECT_EQ(clip_grad_norm(kInf, g), 5);
  EXPECT_EQ(g[0], 3);
  EXPECT_EQ(clip_grad_norm(1, g), 5);
  EXPECT_DOUBLE_EQ(g[0], 0.6) << "nothing is added to the divisor";
  EXPECT_DOUBLE_EQ(g[1], -0.8);
  g << 3e-10, -4e-10;
  EXPECT_DOUBLE_EQ(clip_grad_norm(1e-10, g), 5e-10);
  EXPECT_DOUBLE_EQ(g[0], 0.6e-10);
  EXPECT_DOUBLE_EQ(clip_grad_norm(0, g), 1e-10);
  EXPECT_EQ(g[0], 0);
  EXPECT_EQ(g[1], 0);
}

TEST(ClipGradEnds, Values) {
  Eigen::ArrayXf g(4);
  g << -0.0f, 3, -4, float(kInf);
  clip_grad_value(kInf, g);
  EXPECT_EQ(g[3], float(kInf));
  clip_grad_value(1e300, g);
  EXPECT_EQ(g[3], std::numeric_limits<float>::max());
  EXPECT_EQ(g[2], -4);
  clip_grad_value(0, g);
  EXPECT_TRUE((g == 0).all());
  EXPECT_TRUE(std::signbit(g[0]) && !std::signbit(g[1]) && std::signbit(g[2]));
  Eigen::Array<Eigen::half, 2, 1> h(Eigen::half(float(-kInf)), Eigen::half(2.0f));
  clip_grad_value(1e6, h);
  EXPECT_EQ(to_double(h[0]), -65504);
  EXPECT_EQ(to_double(h[1]), 2);
}

// ---- what is not finite

TYPED_TEST(ClipGrad, ANonFiniteNormThrowsOrIsReportedAndScalesNothing) {
  for (const double bad : {kNaN, -kNaN, kInf, -kInf}) {
    for (const Index n : {1, 5, 33, 1000, 40000}) {
      for (const Index at : {Index{0}, n / 2, n - 1}) {
        Guarded<TypeParam, 1, kRow> g({n}, normal(n, 1)), after({n});
        Eigen::ArrayXf other = Eigen::ArrayXf::Constant(100, 5);
        g.data()[at] = from_double<TypeParam>(bad);
        std::memcpy(static_cast<void*>(after.data()), g.data(), std::size_t(n) * sizeof(TypeParam));
        for (const NormType type : kTypes) {
          const std::string what = std::to_string(bad) + " at " + std::to_string(at) + " of " + std::to_string(n) +
                                   name_of<TypeParam>() + ", " + name_of_type(type);
          const double norm = clip_grad_norm(1, options_of(type, false), other, g.map(), other);
          EXPECT_EQ(std::isnan(norm), std::isnan(bad)) << what << " gives " << norm;
          EXPECT_FALSE(std::isfinite(norm)) << what;
          EXPECT_THROW(clip_grad_norm(1, options_of(type), other, g.map()), std::range_error) << what;
          EXPECT_TRUE(g.same_bits(after)) << what;
          EXPECT_TRUE((other == 5).all()) << what;
        }
      }
    }
  }
}

TEST(ClipGradNonFinite, NaNOutweighsInfinityWhicheverComesFirst) {
  Eigen::ArrayXf infinite = Eigen::ArrayXf::Constant(3, float(kInf)), nan = Eigen::ArrayXf::Constant(3, float(kNaN));
  for (const NormType type : kTypes) {
    EXPECT_TRUE(std::isnan(clip_grad_norm(1, options_of(type, false), infinite, nan)));
    EXPECT_TRUE(std::isnan(clip_grad_norm(1, options_of(type, false), nan, infinite)));
  }
}

// Finite gradients, but no double holds the norm.
TEST(ClipGradNonFinite, ANormBeyondDoubles) {
  Eigen::ArrayXd g = Eigen::ArrayXd::Constant(100, 1.5e308);
  EXPECT_EQ(clip_grad_norm(1, options_of(NormType::kTwo, false), g), kInf);
  EXPECT_EQ(clip_grad_norm(1, options_of(NormType::kOne, false), g), kInf);
  EXPECT_EQ(clip_grad_norm(2e307, options_of(NormType::kInfinity), g), 1.5e308);
  EXPECT_DOUBLE_EQ(g[0], 2e307);
}

TEST(ClipGradNonFinite, TheMessageSaysWhich) {
  Eigen::ArrayXf g = Eigen::ArrayXf::Constant(3, float(kNaN));
  const auto message = [&] {
    try {
      clip_grad_norm(1, g);
    } catch (const std::range_error& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  EXPECT_NE(message().find("NaN"), std::string::npos);
  g.setConstant(float(-kInf));
  EXPECT_NE(message().find("infinite"), std::string::npos);
}

// ---- misuse

template <class Action>
void expect_refused(const std::string& number, Action action) {
  try {
    action();
    ADD_FAILURE() << number << ": accepted";
  } catch (const std::invalid_argument& e) {
    EXPECT_NE(std::string(e.what()).find(number), std::string::npos) << e.what();
  }
}

TEST(ClipGradMisuse, NegativeAndNaN) {
  Eigen::ArrayXf g = Eigen::ArrayXf::LinSpaced(100, -5, 5);
  const std::string before = bits(g);
  for (const auto& [bad, number] : {std::pair{-0.5, "-0.5"}, {-kInf, "-inf"}, {kNaN, "nan"}}) {
    expect_refused(number, [&, v = bad] { clip_grad_norm(v, g); });
    expect_refused(number, [&, v = bad] { clip_grad_norm(v, options_of(NormType::kOne, false), g); });
    expect_refused(number, [&, v = bad] { clip_grad_norm(Eigen::DefaultDevice(), v, g); });
    expect_refused(number, [&, v = bad] { clip_grad_value(v, g); });
    expect_refused(number, [&, v = bad] { clip_grad_value(Eigen::DefaultDevice(), v, g); });
    expect_refused(number, [&, v = bad] { clip_grad_norm(v); });
    EXPECT_EQ(bits(g), before) << number;
  }
}

TEST(ClipGradMisuse, ExtentsOfNoTensor) {
  using Map = Eigen::TensorMap<Eigen::Tensor<float, 2, kRow>>;
  Eigen::ArrayXf g = Eigen::ArrayXf::LinSpaced(100, -5, 5);
  const std::string before = bits(g);
  const Index huge = Index{1} << 32;
  expect_refused("-5", [&] { clip_grad_norm(1, g, Map(g.data(), 3, -5)); });
  expect_refused("4294967296", [&] { clip_grad_norm(1, g, Map(g.data(), huge, huge)); });
  expect_refused("4294967296", [&] { GradientRef ref(Map(g.data(), huge, huge)); });
  EXPECT_EQ(bits(g), before);
}

// ---- threads

// Gradients of 150 000 elements in all, among them one that overflows and one with gaps.
struct Gradients {
  explicit Gradients(Index misalign)
      : a({3, 7, 4001}, normal(84021, 1), misalign), b({30011}, normal(30011, 2), misalign),
        c({40000}, normal(40000, 3), misalign) {
    a.data()[50000] = 1e30f;
    for (int i = 0; i < 200; ++i) many.emplace_back(Eigen::MatrixXf::Constant(3, i % 40, 0.1f));
  }
  template <class Use>
  auto with(Use use) {
    return use(a.map(), b.map(), c.map(), many, many.back().topRows(2));
  }
  std::string bytes() {
    std::string s = bits(a.map()) + bits(b.map()) + bits(c.map());
    for (const auto& m : many) s += bits(m);
    EXPECT_TRUE(a.guards_intact() && b.guards_intact() && c.guards_intact());
    return s;
  }

  Guarded<float, 3, kRow> a;
  Guarded<double, 1, kCol> b;
  Guarded<Eigen::bfloat16, 1, kRow> c;
  std::vector<Eigen::MatrixXf> many;
};

template <class Device>
std::string trace(const Device& device, NormType type, Index misalign) {
  Gradients g(misalign);
  const auto clip = [&](auto&&... all) { return clip_grad_norm(device, 100, options_of(type), all...); };
  const auto clip_value = [&](auto&&... all) { clip_grad_value(device, 1e-28, all...); };
  const double norm = g.with(clip);
  const std::string scaled = g.bytes();
  g.with(clip_value);
  return std::string(reinterpret_cast<const char*>(&norm), sizeof norm) + scaled + g.bytes();
}

TEST(ClipGradThreads, ChangeNoBit) {
  for (const NormType type : kTypes) {
    const std::string expected = trace(Eigen::DefaultDevice(), type, 0);
    EXPECT_TRUE(trace(Eigen::DefaultDevice(), type, 1) == expected) << name_of_type(type) << ", misaligned";
    for (const int threads : {1, 2, 3, 8}) {
      CountingPool pool(threads);
      const Eigen::ThreadPoolDevice device(&pool, threads);
      for (const Index misalign : {0, 3}) {
        EXPECT_TRUE(trace(device, type, misalign) == expected)
            << name_of_type(type) << ", " << threads << " threads, misaligned by " << misalign;
      }
      EXPECT_EQ(pool.scheduled > 0, threads > 1) << "helpers";
    }
  }
}

}  // namespace
}  // namespace tensornorm_test
