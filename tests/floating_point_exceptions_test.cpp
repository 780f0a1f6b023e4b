// Good data raise no floating point exception that a program may trap: not invalid, not division by zero, not overflow.
#include <gtest/gtest.h>

#include <cfenv>

#include "every_layer.hpp"

namespace tensornorm_test {
namespace {

constexpr int kTrapped = FE_INVALID | FE_DIVBYZERO | FE_OVERFLOW;

/// Rows and channels of every kind side by side: random, constant, with an offset, large, tiny, zero.
template <class Scalar>
Values mixed(const Extents& extents) {
  const double large = std::is_same_v<Scalar, Eigen::half> ? 100 : 1e10,
               tiny = std::is_same_v<Scalar, Eigen::half> ? 1e-3 : 1e-20;
  Values values = normal(count(extents), 3);
  const Index row = count(extents) / extents[0];
  for (Index i = 0; i < count(extents); ++i) {
    double& v = values[std::size_t(i)];
    switch ((i / row + i % row / 7) % 7) {
      case 1:
        v = 3.3;
        break;
      case 2:
        v = 3.3 * large;
        break;
      case 3:
        v = large + v;
        break;
      case 4:
        v *= large;
        break;
      case 5:
        v *= tiny;
        break;
      case 6:
        v = 0;
        break;
      default:
        break;
    }
  }
  return values;
}

template <class Scalar, int Layout, int Rank>
void expect_quiet(const Index (&extents_of)[Rank], double eps, bool constant) {
  const Extents extents(extents_of, extents_of + Rank);
  Guarded<Scalar, Rank, Layout> x(extents,
                                  constant ? Values(std::size_t(count(extents)), 3.3) : mixed<Scalar>(extents)),
      dy(extents, normal(count(extents), 4)), y(extents), dx(extents);
  const auto xm = x.map(), dym = dy.map();
  auto ym = y.map(), dxm = dx.map();
  for_each_layer<Scalar>(extents, 1, eps, [&](const Kind& kind, auto layer) {
    for (const bool training : {true, false}) {
      training ? layer.train() : layer.eval();
      std::feclearexcept(FE_ALL_EXCEPT);
      layer.forward(xm, ym);
      EXPECT_EQ(std::fetestexcept(kTrapped), 0) << "forward " << kind.name << layout_name(Layout) << eps << training;
      std::feclearexcept(FE_ALL_EXCEPT);
      layer.infer(xm, ym);
      EXPECT_EQ(std::fetestexcept(kTrapped), 0) << "infer " << kind.name << layout_name(Layout) << eps;
      std::feclearexcept(FE_ALL_EXCEPT);
      if (eps > 0) layer.backward(xm, dym, dxm);
      EXPECT_EQ(std::fetestexcept(kTrapped), 0) << "backward " << kind.name << layout_name(Layout) << eps << training;
    }
  });
}

template <class Scalar>
class Exceptions : public testing::Test {};
using Scalars = testing::Types<float, double, Eigen::half, Eigen::bfloat16>;
TYPED_TEST_SUITE(Exceptions, Scalars, ScalarNames);

TYPED_TEST(Exceptions, NoneOfGoodData) {
  for (const double eps : {1e-5, 0.0}) {
    for (const bool constant : {false, true}) {
      expect_quiet<TypeParam, kRow>({9, 64}, eps, constant);
      expect_quiet<TypeParam, kCol>({9, 67}, eps, constant);
      expect_quiet<TypeParam, kRow>({17, 6, 7, 7}, eps, constant);
      expect_quiet<TypeParam, kCol>({17, 8, 5, 4}, eps, constant);
    }
  }
}

}  // namespace
}  // namespace tensornorm_test
