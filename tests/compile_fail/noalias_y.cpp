// expect: (static assertion failed|static_assert failed).*tensornorm: noalias.*itself
#include <tensornorm/tensornorm.hpp>

int main() {
  const Eigen::MatrixXf x = Eigen::MatrixXf::Random(3, 4);
  Eigen::MatrixXf y(3, 4);
  tensornorm::BatchNorm<float> bn(4);
#ifdef TENSORNORM_EXPECT_OK
  bn.forward(x, y);
#else
  bn.forward(x, y.noalias());
#endif
}
