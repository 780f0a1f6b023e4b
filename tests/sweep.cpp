#include "sweep.hpp"

#include <sstream>

namespace tensornorm_test {
namespace {

std::string number(Real v) {
  std::ostringstream s;
  s.precision(17);
  s << v;
  return s.str();
}

}  // namespace

Real spacing(Real v, int digits, int exponent) {
  int e = 0;
  std::frexp(v, &e);
  return std::ldexp(Real(1), v == 0 ? exponent : std::max(e - digits, exponent));
}

void expect_close(const std::string& what, const Values& got, const Reals& want, const Reals& tolerance) {
  ASSERT_EQ(got.size(), want.size()) << what;
  std::size_t worst = 0, wrong = 0;
  Real worst_ratio = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    const Real error = std::abs(Real(got[i]) - want[i]);
    if (error <= tolerance[i]) continue;
    const Real ratio = error / tolerance[i];
    if (++wrong == 1 || !(ratio <= worst_ratio)) worst = i, worst_ratio = ratio;
  }
  if (wrong != 0) {
    ADD_FAILURE() << what << ": " << wrong << " of " << got.size() << " values wrong, worst at " << worst << ": got "
                  << number(got[worst]) << ", want " << number(want[worst]) << " within " << number(tolerance[worst]);
  }
}

template <class Scalar>
Reals y_tolerance(const Normalized& want, const Sets& sets, const Values& gamma, const Values& beta) {
  using P = Precision<Scalar>;
  Reals tolerance;
  for (std::size_t i = 0; i < want.y.size(); ++i) {
    const auto p = std::size_t(sets.param[i]);
    const Real g = gamma.empty() ? 1 : std::abs(Real(gamma[p])), b = beta.empty() ? 0 : std::abs(Real(beta[p]));
    const Real largest = std::max({std::abs(want.y[i]), g * std::abs(want.xhat[i]), b});
    const Real arithmetic = std::max(P::kY * std::max(g, Real(1)), P::kUlps * P::ulp(largest));
    tolerance.push_back(P::stored(want.y[i], gamma.empty() ? arithmetic : 1.5L * arithmetic));
  }
  return tolerance;
}

template <class Scalar>
Reals dx_tolerance(const Gradients& want, const Sets& sets, const Statistics& s, const Values& dy,
                   const Values& gamma) {
  using P = Precision<Scalar>;
  Reals scale(s.rstd.size(), 0), tolerance;
  for (std::size_t i = 0; i < dy.size(); ++i) {
    const auto k = std::size_t(sets.stat[i]);
    const Real dxhat = Real(dy[i]) * (gamma.empty() ? 1 : Real(gamma[std::size_t(sets.param[i])]));
    scale[k] = std::max({scale[k], std::abs(dxhat) * s.rstd[k], std::abs(want.dx[i])});
  }
  for (std::size_t i = 0; i < dy.size(); ++i) {
    tolerance.push_back(P::stored(want.dx[i], P::kGradient * scale[std::size_t(sets.stat[i])]));
  }
  return tolerance;
}

template <class Scalar>
Reals sum_tolerance(const Reals& sum, const Sets& sets, const Values& dy, const Reals& xhat) {
  using P = Precision<Scalar>;
  Reals squares(sum.size(), 0), errors(sum.size(), 0);
  for (std::size_t i = 0; i < dy.size(); ++i) {
    const auto p = std::size_t(sets.param[i]);
    squares[p] += std::pow(Real(dy[i]) * (xhat.empty() ? 1 : xhat[i]), 2);
    errors[p] += std::pow(Real(dy[i]), 2);
  }
  for (std::size_t p = 0; p < sum.size(); ++p) {
    squares[p] =
        std::max(P::kGradient * std::max(std::abs(sum[p]), std::sqrt(squares[p])), P::kY * std::sqrt(errors[p]));
  }
  return squares;
}

#define TENSORNORM_TEST_INSTANTIATE(Scalar)                                                                            \
  template Reals y_tolerance<Scalar>(const Normalized&, const Sets&, const Values&, const Values&);                    \
  template Reals dx_tolerance<Scalar>(const Gradients&, const Sets&, const Statistics&, const Values&, const Values&); \
  template Reals sum_tolerance<Scalar>(const Reals&, const Sets&, const Values&, const Reals&);
TENSORNORM_TEST_FOR_EACH_SCALAR(TENSORNORM_TEST_INSTANTIATE)
#undef TENSORNORM_TEST_INSTANTIATE

}  // namespace tensornorm_test
