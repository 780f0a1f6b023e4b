// Every layer and scalar against the oracle, the worked example, clipping and an error: one program without a test
// framework, for platforms and compilers that the tests do not run on. Prints what is wrong; exits 0 when nothing is.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "every_layer.hpp"

namespace tensornorm_test {
namespace {

int wrong = 0;

void expect(bool condition, const std::string& what) {
  if (condition) return;
  std::printf("wrong: %s\n", what.c_str());
  ++wrong;
}

/// What arithmetic and the rounding of the result may be off, relative to values of about one.
template <class Scalar>
constexpr double kTolerance = std::is_same_v<Scalar, double>        ? 1e-13
                              : std::is_same_v<Scalar, float>       ? 3e-6
                              : std::is_same_v<Scalar, Eigen::half> ? 1e-3
                                                                    : 8e-3;

void expect_close(const Values& got, const Reals& want, double tolerance, const std::string& what) {
  bool close = got.size() == want.size();
  for (std::size_t i = 0; close && i < got.size(); ++i) {
    close = std::abs(Real(got[i]) - want[i]) <= Real(tolerance) * (1 + std::abs(want[i]));
  }
  expect(close, what);
}

template <class Scalar, int Layout, int Rank>
void expect_oracle(const Index (&extents_of)[Rank], int channel_axis) {
  const Extents extents(extents_of, extents_of + Rank);
  const Values x_values = rounded<Scalar>(normal(count(extents), 1, 3, 2));
  const Values dy_values = rounded<Scalar>(normal(count(extents), 2));
  Guarded<Scalar, Rank, Layout> x(extents, x_values), dy(extents, dy_values), y(extents), dx(extents);
  const double eps = 1e-5, sums = std::is_same_v<Scalar, double> ? 1e-12 : 2e-5;
  for_each_layer<Scalar>(extents, channel_axis, eps, [&](const Kind& kind, auto layer) {
    layer.forward(x.map(), y.map());
    layer.backward(x.map(), dy.map(), dx.map());
    Values beta;
    if constexpr (has_beta<decltype(layer)>) beta = values_of(layer.beta());
    const Values gamma = values_of(layer.gamma());
    const Statistics s = oracle_statistics(x_values, kind.sets, eps, kind.centred);
    const Gradients g = oracle_backward(x_values, dy_values, kind.sets, s, gamma, kind.centred);
    const double tolerance = kTolerance<Scalar>;
    expect_close(y.values(), oracle_forward(x_values, kind.sets, s, gamma, beta).y, tolerance, "y of " + kind.name);
    expect_close(dx.values(), g.dx, tolerance, "dx of " + kind.name);
    expect_close(values_of(layer.dgamma()), g.dgamma, sums, "dgamma of " + kind.name);
    if constexpr (has_beta<decltype(layer)>) {
      expect_close(values_of(layer.dbeta()), g.dbeta, sums, "dbeta of " + kind.name);
    }
    expect(x.guards_intact() && y.guards_intact() && dx.guards_intact(), "memory around tensors of " + kind.name);
    layer.eval();
    layer.infer(x.map(), dx.map());
    layer.forward(x.map(), y.map());
    expect(y.same_bits(dx), "infer of " + kind.name);
  });
}

/// Rows and columns, narrower and wider than vectors, whole and with tails.
template <class Scalar>
void expect_each() {
  expect_oracle<Scalar, kRow>({19, 5}, 1);
  expect_oracle<Scalar, kRow>({67, 133}, 1);
  expect_oracle<Scalar, kRow>({3, 8, 5, 7}, 1);
  expect_oracle<Scalar, kRow>({3, 9, 5, 36}, -1);
  expect_oracle<Scalar, kCol>({33, 12, 3, 3}, 1);
}

void expect_worked_example() {
  Eigen::MatrixXf x(1, 4), y;
  x << 1, 2, 3, 4;
  tensornorm::LayerNorm<float> layer({4});
  layer.gamma().setConstant(2);
  layer.beta().setConstant(1);
  layer.forward(x, y);
  char text[64];
  std::snprintf(text, sizeof text, "%.3f %.3f %.3f %.3f", double(y(0)), double(y(1)), double(y(2)), double(y(3)));
  expect(std::strcmp(text, "-1.683 0.106 1.894 3.683") == 0, std::string("the worked example: ") + text);
}

void expect_clipping() {
  Eigen::VectorXf gradient = Eigen::VectorXf::Constant(4, 2);
  expect(std::abs(tensornorm::clip_grad_norm(1, gradient) - 4) < 1e-6, "the norm of gradients");
  expect(std::abs(gradient(3) - 0.5f) < 1e-6f, "gradients that are scaled");
}

void expect_whitening() {
  const Eigen::MatrixXd x = Eigen::MatrixXd::Random(40, 4);
  Eigen::MatrixXd y;
  tensornorm::Whitening<double> layer(4);
  layer.forward(x, y);
  const Eigen::MatrixXd covariance = y.transpose() * y / 40;
  expect((covariance - Eigen::MatrixXd::Identity(4, 4)).norm() < 1e-3, "whitened data's covariance");
}

const char kMessage[] = "tensornorm: eps is -1 but must be finite and not negative";

int end() {
  std::printf("%s, pointers of %d bits: %d wrong\n", __VERSION__, int(8 * sizeof(void*)), wrong);
  return wrong != 0;
}

/// Ends the program: without exceptions nobody returns from an error.
void expect_error() {
  tensornorm::LayerNormOptions options;
  options.eps = -1;
#ifdef __cpp_exceptions
  try {
    tensornorm::LayerNorm<float> layer({4}, options);
    expect(false, "no error");
  } catch (const std::invalid_argument& error) {
    expect(std::strcmp(error.what(), kMessage) == 0, error.what());
  }
#else
  tensornorm::set_error_handler([](const char* message) {
    expect(std::strcmp(message, kMessage) == 0, message);
    std::exit(end());
  });
  tensornorm::LayerNorm<float> layer({4}, options);
  expect(false, "no error");
#endif
}

}  // namespace
}  // namespace tensornorm_test

int main() {
  using namespace tensornorm_test;
  expect_each<float>();
  expect_each<double>();
  expect_each<Eigen::half>();
  expect_each<Eigen::bfloat16>();
  expect_worked_example();
  expect_clipping();
  expect_whitening();
  expect_error();
  return end();
}
