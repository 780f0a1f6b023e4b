// expect: (static assertion failed|static_assert failed).*tensornorm.*device.*first argument
#include <tensornorm/tensornorm.hpp>

int main() {
  Eigen::Tensor<float, 2> x(3, 4), y(3, 4);
  x.setRandom();
  const Eigen::DefaultDevice device;
  tensornorm::BatchNorm<float> bn(4);
#ifdef TENSORNORM_EXPECT_OK
  bn.forward(device, x, y);
#else
  Eigen::DefaultDevice assigns;
  bn.forward(x, y.device(assigns));
#endif
}
