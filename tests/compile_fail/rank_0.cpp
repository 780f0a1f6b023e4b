// expect: (static assertion failed|static_assert failed).*tensornorm.*rank
#include <tensornorm/tensornorm.hpp>

int main() {
#ifdef TENSORNORM_EXPECT_OK
  Eigen::Tensor<float, 1> x(1);
#else
  Eigen::Tensor<float, 0> x;
#endif
  x.setZero();
  tensornorm::LayerNorm<float> ln({1});
  return int(ln(x).size());
}
