// expect: (static assertion failed|static_assert failed).*tensornorm: a device where a tensor.*first argument
#include <tensornorm/tensornorm.hpp>

int main() {
  const Eigen::MatrixXf x = Eigen::MatrixXf::Random(3, 4);
  Eigen::MatrixXf y;
  const Eigen::DefaultDevice device;
  tensornorm::BatchNorm<float> bn(4);
#ifdef TENSORNORM_EXPECT_OK
  bn.infer(device, x, y);
#else
  bn.infer(device, x);
#endif
}
