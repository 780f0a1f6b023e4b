// expect: (static assertion failed|static_assert failed).*tensornorm.*scalar
#include <tensornorm/tensornorm.hpp>

int main() {
#ifdef TENSORNORM_EXPECT_OK
  using Scalar = double;
#else
  using Scalar = float;
#endif
  Eigen::Tensor<double, 2> x(3, 4);
  Eigen::Tensor<Scalar, 2> y(3, 4);
  x.setRandom();
  tensornorm::LayerNorm<double> ln({4});
  ln.forward(x, y);
}
