// The kernels that take a small tile of columns at once, against the kernels they stand for: the same bits.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "tensornorm/core/kernel/backward_columns.hpp"
#include "tensornorm/core/kernel/column_reduce.hpp"
#include "tensornorm/core/kernel/forward_columns.hpp"
#include "tensornorm/core/kernel/map.hpp"
#include "tensornorm/core/kernel/map_arithmetic.hpp"
#include "tensornorm/core/kernel/sample.hpp"
#include "tensornorm/core/kernel/sum_arithmetic.hpp"

namespace {

using namespace tensornorm;
using namespace tensornorm::core;

constexpr Index kGap = 3;  // between rows, never to be written
constexpr double kEps = 1e-5;

template <class Scalar>
std::vector<Scalar> random_numbers(Index n, unsigned seed, float mean = 0) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(mean, 1);
  std::vector<Scalar> x(static_cast<std::size_t>(n));
  for (Scalar& v : x) v = static_cast<Scalar>(normal(random));
  return x;
}

template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && std::memcmp(static_cast<const void*>(a.data()), b.data(), a.size() * sizeof(T)) == 0;
}

// A tile of columns, what is along it, and what forward makes of it.
template <class S>
struct Case {
  Index rows, cols, stride;
  bool centred, affine;
  std::vector<S> x, dy;
  std::vector<float> gamma, beta, hi, lo, rstd;
  std::vector<double> m2;
  SamplePoints points;

  Case(Index r, Index c, bool is_centred, bool is_affine)
      : rows(r), cols(c), stride(c + kGap), centred(is_centred), affine(is_affine),
        x(random_numbers<S>(r * stride, 1, 100)), dy(random_numbers<S>(r * stride, 2)),
        gamma(random_numbers<float>(c, 3)), beta(random_numbers<float>(c, 4)) {
    const auto room = static_cast<std::size_t>(c + FinishSums::kMostTogether);
    for (auto* v : {&hi, &lo, &rstd}) v->assign(room, 0);
    m2.assign(room, 0);
    points.count = static_cast<int>(std::min<Index>(r, 16));
    for (int i = 0; i < points.count; ++i) points.offsets[i] = i * r / points.count * stride;
  }

  FinishRule rule() const { return {static_cast<double>(rows), kEps, least_trusted_var<float>(kEps), 0, centred}; }
  Tile tile() const {
    Tile t{0, rows, cols, stride, 0, 0, 0, 0};
    t.span = rows * stride;
    return t;
  }

  // One kernel after the other.
  std::vector<S> forward_apart() {
    const auto room = hi.size(), n = static_cast<std::size_t>(cols);
    std::vector<float> estimate(room), scale(room), shift(room);
    std::vector<double> sum_d(room), sum_d2(room);
    if (centred) dispatch(SampleColumns<S>{x.data(), cols, points, estimate.data()});
    column_reduce(Deviations<S, PerColumn<float>>{{x.data(), stride}, {estimate.data()}}, tile(), sum_d.data(),
                  sum_d2.data());
    bool trusted = false;
    dispatch(FinishSums{rule(),
                        cols,
                        estimate.data(),
                        sum_d.data(),
                        sum_d2.data(),
                        m2.data(),
                        {hi.data(), lo.data(), rstd.data(), scale.data(), shift.data()},
                        &trusted});
    EXPECT_TRUE(trusted);
    for (std::size_t c = 0; c < n; ++c) {
      scale[c] = -rstd[c] * (affine ? gamma[c] : 1.0F);
      shift[c] = (affine ? beta[c] : 0.0F) + product(lo[c], scale[c]);
    }
    std::vector<S> y(x.size(), static_cast<S>(77));
    map(Xhat<S, PerColumn<float>>{{{x.data(), stride}, {hi.data()}, {scale.data()}}, {shift.data()}}, tile(), y.data(),
        stride);
    return y;
  }

  // Into other arrays; false where it was not trusted.
  bool forward_at_once(Case& to, std::vector<S>& y) const {
    bool trusted = false;
    run_forward(to, y.data(), trusted);
    return trusted;
  }
  void run_forward(Case& to, S* y, bool& trusted) const {
    dispatch(ForwardColumns<S>{{x.data(), stride},
                               rows,
                               cols,
                               points,
                               rule(),
                               to.hi.data(),
                               to.lo.data(),
                               to.rstd.data(),
                               to.m2.data(),
                               affine ? gamma.data() : nullptr,
                               affine ? beta.data() : nullptr,
                               nullptr,
                               nullptr,
                               y,
                               stride,
                               &trusted});
  }

  std::vector<S> backward_apart(std::vector<float>& dgamma, std::vector<float>& dbeta) const {
    const auto n = static_cast<std::size_t>(cols);
    std::vector<float> minus_rstd(n), scale(n), slope(n), shift(n);
    std::vector<double> g(n), gx(n);
    for (std::size_t c = 0; c < n; ++c) minus_rstd[c] = -rstd[c];
    column_reduce(
        Gradients<S, Unshifted<S, PerColumn<float>>, PerRowOrAll<float>>{
            {{x.data(), stride}, {hi.data()}, {minus_rstd.data()}}, {dy.data(), stride}, every_row(kOne<float>)},
        tile(), g.data(), gx.data());
    for (std::size_t c = 0; c < n; ++c) {
      const auto offset = static_cast<double>(lo[c] * minus_rstd[c]), factor = affine ? double{gamma[c]} : 1.0;
      if (std::fpclassify(offset) != FP_ZERO) gx[c] += product(offset, g[c]);
      dbeta[c] = static_cast<float>(g[c]);
      dgamma[c] = static_cast<float>(gx[c]);
      scale[c] = rstd[c] * static_cast<float>(factor);
      double of_slope, of_shift;
      find_coefficients(double{lo[c]}, double{rstd[c]}, centred ? 0 + product(factor, g[c]) : 0.0,
                        0 + product(factor, gx[c]), static_cast<double>(rows), of_slope, of_shift);
      slope[c] = static_cast<float>(of_slope);
      shift[c] = static_cast<float>(of_shift);
    }
    std::vector<S> dx(x.size(), static_cast<S>(77));
    map(InputGradient<S, PerColumn<float>, PerRowOrAll<float>>{{x.data(), stride},
                                                               {dy.data(), stride},
                                                               {hi.data()},
                                                               {minus_rstd.data()},
                                                               {scale.data()},
                                                               {slope.data()},
                                                               {shift.data()},
                                                               every_row(kOne<float>)},
        tile(), dx.data(), stride);
    return dx;
  }

  // y in the place of x, and dx in those of x and dy: between the rows, those hold what they held.
  void expect_in_place(const std::vector<S>& y, const std::vector<S>& dx) const {
    std::vector<float> dgamma(static_cast<std::size_t>(cols)), dbeta = dgamma;
    Case of_x = *this, of_dy = *this, forward = *this;
    of_x.run_backward(of_x.x.data(), dgamma, dbeta);
    of_dy.run_backward(of_dy.dy.data(), dgamma, dbeta);
    bool trusted = false;
    forward.run_forward(forward, forward.x.data(), trusted);
    ASSERT_TRUE(trusted);
    for (Index i = 0; i < rows * stride; ++i) {
      const auto at = static_cast<std::size_t>(i);
      const bool inside = i % stride < cols;
      const auto same = [](const S& a, const S& b) { return std::memcmp(&a, &b, sizeof a) == 0; };
      ASSERT_TRUE(same(forward.x[at], inside ? y[at] : x[at])) << i;
      ASSERT_TRUE(same(of_x.x[at], inside ? dx[at] : x[at])) << i;
      ASSERT_TRUE(same(of_dy.dy[at], inside ? dx[at] : dy[at])) << i;
    }
  }

  void expect_added(const std::vector<S>& dx) const {
    std::vector<float> dgamma(static_cast<std::size_t>(cols)), dbeta = dgamma;
    std::vector<S> sum = x;
    run_backward(sum.data(), dgamma, dbeta, /*adds=*/true);
    for (Index i = 0; i < rows * stride; ++i) {
      const auto at = static_cast<std::size_t>(i);
      const S added = static_cast<S>(static_cast<float>(x[at]) + static_cast<float>(dx[at]));
      // Of 16 bits the kernel rounds the sum once; dx here was rounded before it was added.
      const double unit = std::is_same<S, float>::value ? 0 : std::is_same<S, Eigen::half>::value ? 1e-3 : 8e-3;
      const double expected = i % stride < cols ? static_cast<double>(added) : static_cast<double>(x[at]);
      const double scale = std::abs(static_cast<double>(dx[at])) + std::abs(expected);
      ASSERT_LE(std::abs(static_cast<double>(sum[at]) - expected), unit * scale) << i;
    }
  }

  std::vector<S> backward_at_once(std::vector<float>& dgamma, std::vector<float>& dbeta) const {
    std::vector<S> dx(x.size(), static_cast<S>(77));
    run_backward(dx.data(), dgamma, dbeta);
    return dx;
  }
  void run_backward(S* dx, std::vector<float>& dgamma, std::vector<float>& dbeta, bool adds = false) const {
    dispatch(BackwardColumns<S>{{x.data(), stride},
                                {dy.data(), stride},
                                rows,
                                cols,
                                hi.data(),
                                lo.data(),
                                rstd.data(),
                                affine ? gamma.data() : nullptr,
                                centred,
                                dgamma.data(),
                                dbeta.data(),
                                dx,
                                stride,
                                adds});
  }
};

template <class Scalar>
class Columns : public testing::Test {};
using Scalars = testing::Types<float, Eigen::half, Eigen::bfloat16>;
struct ScalarNumber {
  template <class Scalar>
  static std::string GetName(int i) {
    return std::to_string(i);
  }
};
TYPED_TEST_SUITE(Columns, Scalars, ScalarNumber);

TYPED_TEST(Columns, HaveTheBitsOfTheKernelsApart) {
  using S = TypeParam;
  for (const Index rows : {Index{2}, Index{15}, Index{16}, Index{17}, Index{50}}) {
    for (const Index cols : {4, 5, 7, 8, 9, 12, 15, 16, 17, 24, 31, 32, 33, 48, 63, 65, 100}) {
      for (const auto& [centred, affine] : {std::pair{true, true}, {true, false}, {false, true}}) {
        SCOPED_TRACE(testing::Message() << rows << " x " << cols << ", centred " << centred << ", affine " << affine);
        Case<S> apart(rows, cols, centred, affine), at_once = apart;
        const std::vector<S> y = apart.forward_apart();
        std::vector<S> other(y.size(), static_cast<S>(77));
        ASSERT_TRUE(at_once.forward_at_once(at_once, other));
        for (auto* v : {&apart.hi, &apart.lo, &apart.rstd}) v->resize(static_cast<std::size_t>(cols));
        for (auto* v : {&at_once.hi, &at_once.lo, &at_once.rstd}) v->resize(static_cast<std::size_t>(cols));
        for (auto* v : {&apart.m2, &at_once.m2}) v->resize(static_cast<std::size_t>(cols));
        ASSERT_TRUE(same_bits(y, other));
        ASSERT_TRUE(same_bits(apart.hi, at_once.hi));
        ASSERT_TRUE(same_bits(apart.lo, at_once.lo));
        ASSERT_TRUE(same_bits(apart.rstd, at_once.rstd));
        ASSERT_TRUE(same_bits(apart.m2, at_once.m2));

        std::vector<float> dgamma(static_cast<std::size_t>(cols)), dbeta = dgamma, other_dgamma = dgamma,
                                                                   other_dbeta = dgamma;
        const std::vector<S> dx = apart.backward_apart(dgamma, dbeta);
        ASSERT_TRUE(same_bits(dx, apart.backward_at_once(other_dgamma, other_dbeta)));
        ASSERT_TRUE(same_bits(dgamma, other_dgamma));
        ASSERT_TRUE(same_bits(dbeta, other_dbeta));
        if (cols % 16 == 0) {
          at_once.expect_in_place(y, dx);
          apart.expect_added(dx);
        }
      }
    }
  }
}

// A column that must be summed again, wherever it is, leaves y as it was.
TYPED_TEST(Columns, WriteNothingThatCannotBeTrusted) {
  using S = TypeParam;
  const float infinity = std::numeric_limits<float>::infinity();
  for (const Index cols : {4, 16, 33}) {
    for (Index c = 0; c < cols; ++c) {
      for (const float wild : {infinity, -infinity, std::numeric_limits<float>::quiet_NaN()}) {
        Case<S> it(9, cols, true, true);
        it.x[static_cast<std::size_t>(4 * it.stride + c)] = static_cast<S>(wild);
        const std::vector<S> untouched(it.x.size(), static_cast<S>(77));
        std::vector<S> y = untouched;
        ASSERT_FALSE(it.forward_at_once(it, y)) << cols << ", " << c << ", " << wild;
        ASSERT_TRUE(same_bits(y, untouched));
      }
    }
  }
}

}  // namespace
