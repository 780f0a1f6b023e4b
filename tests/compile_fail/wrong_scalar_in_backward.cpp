// expect: (static assertion failed|static_assert failed).*tensornorm.*scalar
#include <tensornorm/tensornorm.hpp>

int main() {
#ifdef TENSORNORM_EXPECT_OK
  using Scalar = float;
#else
  using Scalar = double;
#endif
  Eigen::Tensor<float, 2> x(3, 4), dx(3, 4);
  Eigen::Tensor<Scalar, 2> dy(3, 4);
  x.setRandom();
  dy.setRandom();
  tensornorm::RMSNorm<float> rms({4});
  rms.forward(x, dx);
  rms.backward(x, dy, dx);
}
