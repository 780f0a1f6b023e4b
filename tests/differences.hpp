// Gradients against central differences: no formula of the backward pass takes part.
#pragma once

#include "sweep.hpp"

namespace tensornorm_test {

constexpr double kStep = 1e-5;
constexpr Real kAllowed = 1e-7L;  // relative to the largest: truncation (kStep^2) and cancellation (1e-16 / kStep)

inline void expect_gradient(const std::string& what, const Values& got, const Reals& want) {
  Real largest = 0;
  for (const Real v : want) largest = std::max(largest, std::abs(v));
  EXPECT_GT(largest, 0.01) << what << " is too small to test";
  expect_close(what, got, want, Reals(want.size(), kAllowed * std::max(largest, Real(1))));
}

/// loss = sum(w * y(x, gamma, beta)), and backward's dy is w. In double, gamma not 1, beta not 0. `every`: only each so
/// many-th element of x is moved.
template <int Rank, int Layout, class Layer>
void check_gradient(Layer layer, const Extents& extents, const Values& x_values, const std::string& name,
                    std::size_t every = 1) {
  const std::string what = name + " " + text(extents) + " " + layout_name(Layout);
  Guarded<double, Rank, Layout> x(extents, x_values), dy(extents, normal(count(extents), 32)), y(extents), dx(extents);
  const Values w = dy.values();
  draw_parameters(layer, 33);
  auto loss = [&] {
    layer.forward(x.map(), y.map());
    Real sum = 0;
    const Values values = y.values();
    for (std::size_t i = 0; i < w.size(); ++i) sum += Real(w[i]) * Real(values[i]);
    return sum;
  };
  auto difference = [&](double& v) {
    const double at = v, above = at + kStep, below = at - kStep;
    v = above;
    const Real up = loss();
    v = below;
    const Real down = loss();
    v = at;
    return (up - down) / (Real(above) - Real(below));
  };
  Reals want_dx, want_dgamma, want_dbeta;
  const auto positions = storage_positions(extents, Layout);
  for (std::size_t i = 0; i < w.size(); i += every) want_dx.push_back(difference(x.data()[positions[i]]));
  for (Index p = 0; p < layer.gamma().size(); ++p) want_dgamma.push_back(difference(layer.gamma()[p]));
  if constexpr (HasBeta<Layer>::value) {
    for (Index p = 0; p < layer.beta().size(); ++p) want_dbeta.push_back(difference(layer.beta()[p]));
  }
  loss();
  layer.backward(x.map(), dy.map(), dx.map());
  EXPECT_TRUE(dx.guards_intact()) << what;
  Values got;
  for (std::size_t i = 0; i < w.size(); i += every) got.push_back(dx.values()[i]);
  expect_gradient(what + " dx", got, want_dx);
  if (!want_dgamma.empty()) expect_gradient(what + " dgamma()", values_of(layer.dgamma()), want_dgamma);
  if constexpr (HasBeta<Layer>::value) {
    if (!want_dbeta.empty()) expect_gradient(what + " dbeta()", values_of(layer.dbeta()), want_dbeta);
  }
}

}  // namespace tensornorm_test
