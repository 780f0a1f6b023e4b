// expect: (static assertion failed|static_assert failed).*tensornorm: a tensor or matrix where the device
// belongs.*forward
#include <tensornorm/tensornorm.hpp>

int main() {
  const Eigen::MatrixXf x = Eigen::MatrixXf::Random(3, 4);
  Eigen::MatrixXf y;
  tensornorm::BatchNorm<float> bn(4);
#ifdef TENSORNORM_EXPECT_OK
  bn.forward(x, y);
#else
  bn.forward(x, x, y);
#endif
}
