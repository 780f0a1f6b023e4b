// What a layer's sweep checks: forward and backward against the oracle, in any rank, layout and scalar. Loops over
// elements are in sweep.cpp, which is optimized also where the tests are not.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <type_traits>
#include <utility>

#include <gtest/gtest.h>

#include "oracle.hpp"

namespace tensornorm_test {

template <int N>
using Int = std::integral_constant<int, N>;

/// Calls f(Int<rank>, Int<layout>) in both layouts for the one of Ranks that `extents` has.
template <int... Ranks, class F>
void in_both_layouts(const Extents& extents, F f) {
  ASSERT_TRUE(((int(extents.size()) == Ranks) || ...)) << "no case of rank " << extents.size();
  auto both = [&](auto rank) {
    f(rank, Int<Eigen::RowMajor>{});
    f(rank, Int<Eigen::ColMajor>{});
  };
  ((int(extents.size()) == Ranks ? both(Int<Ranks>{}) : void()), ...);
}

// ---- precision ------------------------------------------------------------------------------------------------------

/// The spacing of a format with `digits` significant bits at v; `exponent` is that of its smallest number.
Real spacing(Real v, int digits, int exponent);

/// What a result may be off: the arithmetic's share and, for 16-bit tensors, half a spacing for the one rounding.
template <class Scalar>
struct Precision {
  static constexpr bool kDouble = std::is_same_v<Scalar, double>;
  static constexpr Real kY = kDouble ? 1.5e-15L : 8e-7L;  // of a normalized value, or this many spacings of Param if
  static constexpr Real kUlps = kDouble ? 4 : 1.5L;  // more; statistics of doubles have no wider type to round from
  static constexpr Real kGradient = kDouble ? 4e-15L : 2e-6L;

  static Real ulp(Real v) { return kDouble ? spacing(v, 53, -1074) : spacing(v, 24, -149); }  // of Param

  static Real rounding(Real v) {
    if (std::is_same_v<Scalar, Eigen::half>) return spacing(v, 11, -24) / 2;
    if (std::is_same_v<Scalar, Eigen::bfloat16>) return spacing(v, 8, -133) / 2;
    return 0;
  }

  /// `arithmetic` widened to a tolerance of a stored result near v.
  static Real stored(Real v, Real arithmetic) { return arithmetic + rounding(std::abs(v) + arithmetic); }
};

/// Compares element by element and reports the worst.
void expect_close(const std::string& what, const Values& got, const Reals& want, const Reals& tolerance);

/// y = gamma * xhat + beta: the error of xhat times gamma, then the rounding of the largest term.
template <class Scalar>
Reals y_tolerance(const Normalized& want, const Sets& sets, const Values& gamma, const Values& beta);

/// dx = (dxhat - means) * rstd: relative to the largest term of its statistic, for the terms may cancel.
template <class Scalar>
Reals dx_tolerance(const Gradients& want, const Sets& sets, const Statistics& s, const Values& dy, const Values& gamma);

/// dgamma = sum(dy * xhat) and, without `xhat`, dbeta = sum(dy): relative to the sum and to the root of the sum of the
/// squares, for the terms may cancel; and xhat itself is off by kY.
template <class Scalar>
Reals sum_tolerance(const Reals& sum, const Sets& sets, const Values& dy, const Reals& xhat);

// ---- layers ---------------------------------------------------------------------------------------------------------

template <class Layer, class = void>
struct HasMean : std::false_type {};
template <class Layer>
struct HasMean<Layer, std::void_t<decltype(std::declval<Layer&>().mean())>> : std::true_type {};

template <class Layer, class = void>
struct HasBeta : std::false_type {};
template <class Layer>
struct HasBeta<Layer, std::void_t<decltype(std::declval<Layer&>().beta())>> : std::true_type {};

/// Whether the mean is subtracted: as the options say, or where there is a mean.
template <class Layer, class = void>
struct SaysCentred : std::false_type {};
template <class Layer>
struct SaysCentred<Layer, std::void_t<decltype(std::declval<Layer&>().options().centred)>> : std::true_type {};
template <class Layer>
bool is_centred(const Layer& layer) {
  if constexpr (SaysCentred<Layer>::value) return layer.options().centred;
  return HasMean<Layer>::value;
}

template <class Layer>
Values gamma_of(const Layer& layer) {
  return values_of(layer.gamma());
}

template <class Layer>
Values beta_of(const Layer& layer) {
  if constexpr (HasBeta<Layer>::value) return values_of(layer.beta());
  return {};
}

/// Parameters no formula can hide behind: gamma of both signs and not 1, beta not 0. Sizes stay as they are.
template <class Layer>
void draw_parameters(Layer& layer, unsigned seed) {
  assign(layer.gamma(), normal(layer.gamma().size(), seed, 0.5));
  if constexpr (HasBeta<Layer>::value) assign(layer.beta(), normal(layer.beta().size(), seed + 1, -0.25));
}

struct Data {
  double mean = 0, sigma = 1;
  Index misalign = 0;  // x by as many elements, dy, y and dx by one more each
};

/// Forward and backward of `layer` in its current mode against the oracle with the statistics given.
template <class Scalar, int Rank, int Layout, class Layer>
void expect_oracle_with(Layer& layer, const Extents& extents, const Sets& sets, const Data& data, const Values* frozen,
                        const std::string& name) {
  using P = Precision<Scalar>;
  const std::string what = name + "<" + name_of<Scalar>() + "> " + text(extents) + " " + layout_name(Layout) +
                           " mean " + std::to_string(data.mean) + " misaligned by " + std::to_string(data.misalign);
  const double eps = layer.options().eps;
  const Centred centred = is_centred(layer) ? Centred::kYes : Centred::kNo;
  const Index step = data.misalign == 0 ? 0 : 1;

  Guarded<Scalar, Rank, Layout> x(extents, normal(count(extents), 11, data.mean, data.sigma), data.misalign);
  Guarded<Scalar, Rank, Layout> dy(extents, normal(count(extents), 12, 0.1), data.misalign + step);
  Guarded<Scalar, Rank, Layout> y(extents, data.misalign + 2 * step), dx(extents, data.misalign + 3 * step);
  const Values x_values = x.values(), dy_values = dy.values(), gamma = gamma_of(layer), beta = beta_of(layer);
  const Statistics stats = frozen == nullptr ? oracle_statistics(x_values, sets, eps, centred)
                                             : frozen_statistics(frozen[0], frozen[1], eps);

  layer.forward(x.map(), y.map());
  const Normalized want = oracle_forward(x_values, sets, stats, gamma, beta);
  expect_close(what + " y", y.values(), want.y, y_tolerance<Scalar>(want, sets, gamma, beta));
  EXPECT_TRUE(y.guards_intact()) << what << ": forward wrote outside y";
  EXPECT_EQ(x.values(), x_values) << what << ": forward changed x";

  Reals tolerance;
  for (const Real r : stats.rstd) tolerance.push_back(P::kY * r);
  expect_close(what + " rstd()", values_of(layer.rstd()), stats.rstd, tolerance);
  if constexpr (HasMean<Layer>::value) {
    Reals mean;
    for (std::size_t k = 0; k < tolerance.size(); ++k) {
      mean.push_back(stats.mean(k));
      // Half of what y may be off by: doubles are summed in double, and each order rounds its own way.
      tolerance[k] = std::max(P::ulp(mean[k]), P::kY / 2 * std::sqrt(stats.var[k]));
    }
    expect_close(what + " mean()", values_of(layer.mean()), mean, tolerance);
  }

  layer.backward(x.map(), dy.map(), dx.map());
  const Gradients grads = oracle_backward(x_values, dy_values, sets, stats, gamma, centred, frozen != nullptr);
  expect_close(what + " dx", dx.values(), grads.dx, dx_tolerance<Scalar>(grads, sets, stats, dy_values, gamma));
  EXPECT_TRUE(dx.guards_intact()) << what << ": backward wrote outside dx";
  EXPECT_EQ(x.values(), x_values) << what << ": backward changed x";
  EXPECT_EQ(dy.values(), dy_values) << what << ": backward changed dy";
  if (!gamma.empty()) {
    expect_close(what + " dgamma()", values_of(layer.dgamma()), grads.dgamma,
                 sum_tolerance<Scalar>(grads.dgamma, sets, dy_values, want.xhat));
  }
  if (!beta.empty()) {
    if constexpr (HasBeta<Layer>::value) {
      expect_close(what + " dbeta()", values_of(layer.dbeta()), grads.dbeta,
                   sum_tolerance<Scalar>(grads.dbeta, sets, dy_values, {}));
    }
  }
}

/// The same in training mode (or without running statistics): the statistics are those of x.
template <class Scalar, int Rank, int Layout, class Layer>
void expect_oracle(Layer layer, const Extents& extents, const Sets& sets, const Data& data, const std::string& name) {
  draw_parameters(layer, 13);
  expect_oracle_with<Scalar, Rank, Layout>(layer, extents, sets, data, nullptr, name);
}

/// An empty tensor has no statistics and zero gradients, and nothing is written.
template <int Rank, int Layout, class Layer>
void expect_empty(Layer layer, const Extents& extents, const std::string& name) {
  const std::string what = name + "<float> " + text(extents) + " " + layout_name(Layout);
  Guarded<float, Rank, Layout> x(extents), dy(extents), y(extents), dx(extents);
  draw_parameters(layer, 13);
  layer.forward(x.map(), y.map());
  EXPECT_EQ(layer.rstd().size(), 0) << what;
  layer.backward(x.map(), dy.map(), dx.map());
  EXPECT_TRUE(y.guards_intact() && dx.guards_intact()) << what;
  EXPECT_EQ(values_of(layer.dgamma()), Values(gamma_of(layer).size(), 0)) << what;
  if constexpr (HasBeta<Layer>::value) {
    EXPECT_EQ(values_of(layer.dbeta()), Values(beta_of(layer).size(), 0)) << what;
  }
  EXPECT_EQ(layer(x.map()).size(), 0) << what;
}

/// A tensor too large for any cache is `repeats` copies of a small one along axis 0: every copy of y and dx is the
/// small one's, and dgamma and dbeta are its own times `repeats`. `stats` may repeat (rows) or not (channels).
template <class Layer>
void expect_oracle_of_repeats(Layer layer, const Extents& extents, Index repeats, const Sets& sets,
                              const std::string& name) {
  using Tensor = Eigen::Tensor<float, 4, Eigen::RowMajor>;
  const std::string what = name + "<float> " + std::to_string(repeats) + " times " + text(extents) + " RowMajor";
  draw_parameters(layer, 13);
  const std::size_t small = std::size_t(count(extents));
  Guarded<float, 4, Eigen::RowMajor> x_small(extents, normal(count(extents), 11, 10));
  Guarded<float, 4, Eigen::RowMajor> dy_small(extents, normal(count(extents), 12, 0.1));
  Tensor x(repeats * extents[0], extents[1], extents[2], extents[3]), dy(x.dimensions()), y(x.dimensions());
  for (Index r = 0; r < repeats; ++r) {
    std::copy_n(x_small.data(), small, x.data() + std::size_t(r) * small);
    std::copy_n(dy_small.data(), small, dy.data() + std::size_t(r) * small);
  }
  const Values x_values = x_small.values(), dy_values = dy_small.values(), gamma = gamma_of(layer);
  const Centred centred = is_centred(layer) ? Centred::kYes : Centred::kNo;
  const Statistics stats = oracle_statistics(x_values, sets, layer.options().eps, centred);
  const Normalized want = oracle_forward(x_values, sets, stats, gamma, beta_of(layer));
  const Reals y_allowed = y_tolerance<float>(want, sets, gamma, beta_of(layer));
  Gradients grads = oracle_backward(x_values, dy_values, sets, stats, gamma, centred);
  const Reals dx_allowed = dx_tolerance<float>(grads, sets, stats, dy_values, gamma);

  layer.forward(x, y);
  for (Index r = 0; r < repeats && !testing::Test::HasFailure(); ++r) {
    const float* copy = y.data() + std::size_t(r) * small;
    expect_close(what + " y, copy " + std::to_string(r), Values(copy, copy + small), want.y, y_allowed);
  }
  Tensor& dx = y;
  layer.backward(x, dy, dx);
  for (Index r = 0; r < repeats && !testing::Test::HasFailure(); ++r) {
    const float* copy = dx.data() + std::size_t(r) * small;
    expect_close(what + " dx, copy " + std::to_string(r), Values(copy, copy + small), grads.dx, dx_allowed);
  }
  Reals allowed = sum_tolerance<float>(grads.dgamma, sets, dy_values, want.xhat);
  for (std::size_t p = 0; p < allowed.size(); ++p) grads.dgamma[p] *= Real(repeats), allowed[p] *= Real(repeats);
  expect_close(what + " dgamma()", values_of(layer.dgamma()), grads.dgamma, allowed);
}

}  // namespace tensornorm_test
