// expect: (static assertion failed|static_assert failed).*tensornorm.*(const|writ|memory)
#include <tensornorm/tensornorm.hpp>

#ifdef TENSORNORM_EXPECT_OK
using Output = Eigen::Tensor<float, 2>;
#else
using Output = const Eigen::Tensor<float, 2>;
#endif

int main() {
  Eigen::Tensor<float, 2> x(3, 4);
  x.setRandom();
  Output y(3, 4);
  tensornorm::BatchNorm<float> bn(4);
  bn.forward(x, y);
}
