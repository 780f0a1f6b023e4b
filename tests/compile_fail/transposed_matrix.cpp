// expect: (static assertion failed|static_assert failed).*tensornorm.*matrices.*layout of x
#include <tensornorm/tensornorm.hpp>

int main() {
  const Eigen::MatrixXf x = Eigen::MatrixXf::Random(4, 3);
  Eigen::MatrixXf y;
  tensornorm::BatchNorm<float> bn(4);
#ifdef TENSORNORM_EXPECT_OK
  bn.forward(Eigen::MatrixXf(x.transpose()), y);
#else
  bn.forward(x.transpose(), y);
#endif
}
