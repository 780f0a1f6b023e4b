// expect: (static assertion failed|static_assert failed).*tensornorm.*scalar
#include <tensornorm/tensornorm.hpp>

int main() {
#ifdef TENSORNORM_EXPECT_OK
  using Scalar = float;
#else
  using Scalar = double;
#endif
  Eigen::Tensor<Scalar, 2> x(3, 4);
  x.setRandom();
  tensornorm::BatchNorm<float> bn(4);
  return int(bn(x).size());
}
