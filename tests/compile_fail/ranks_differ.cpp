// expect: (static assertion failed|static_assert failed).*tensornorm.*rank
#include <tensornorm/tensornorm.hpp>

int main() {
  Eigen::Tensor<float, 3> x(3, 4, 5);
#ifdef TENSORNORM_EXPECT_OK
  Eigen::Tensor<float, 3> y(3, 4, 5);
#else
  Eigen::Tensor<float, 2> y(12, 5);
#endif
  x.setRandom();
  tensornorm::GroupNorm<float> gn(2, 4);
  gn.forward(x, y);
}
