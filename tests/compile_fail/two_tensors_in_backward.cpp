// expect: (static assertion failed|static_assert failed).*tensornorm: backward takes x, dy and dx.*dx
#include <tensornorm/tensornorm.hpp>

int main() {
  const Eigen::MatrixXf x = Eigen::MatrixXf::Random(3, 4);
  Eigen::MatrixXf dx;
  tensornorm::BatchNorm<float> bn(4);
  bn.forward(x, dx);
#ifdef TENSORNORM_EXPECT_OK
  bn.backward(x, x, dx);
#else
  bn.backward(x, dx);
#endif
}
