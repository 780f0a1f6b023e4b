// expect: (static assertion failed|static_assert failed).*tensornorm: a pointer.*Eigen::Map
#include <tensornorm/tensornorm.hpp>

int main() {
  float memory[12] = {};
  Eigen::MatrixXf y(3, 4);
  tensornorm::BatchNorm<float> bn(4);
#ifdef TENSORNORM_EXPECT_OK
  bn.forward(Eigen::Map<Eigen::MatrixXf>(memory, 3, 4), y);
#else
  float* const x = memory;
  bn.forward(x, y);
#endif
}
