// expect: (static assertion failed|static_assert failed).*tensornorm: the argument's scalar type is not the layer's
#include <tensornorm/tensornorm.hpp>

int main() {
#ifdef TENSORNORM_EXPECT_OK
  using Gradient = Eigen::Array<Eigen::bfloat16, Eigen::Dynamic, 1>;
#else
  using Gradient = Eigen::Array<Eigen::half, Eigen::Dynamic, 1>;
#endif
  Eigen::Matrix<Eigen::bfloat16, Eigen::Dynamic, Eigen::Dynamic> x(3, 4), dx;
  const Eigen::ArrayXf gamma(4);
  Gradient dgamma;
  tensornorm::Pass<Eigen::bfloat16> pass;
  tensornorm::rms_norm_backward(x, x, gamma, pass, dx, dgamma);
}
