// expect: (static assertion failed|static_assert failed).*tensornorm.*(memory|dense|stride)
#include <tensornorm/tensornorm.hpp>

int main() {
  Eigen::MatrixXf x = Eigen::MatrixXf::Random(3, 4), y(3, 4);
  tensornorm::BatchNorm<float> bn(4);
#ifdef TENSORNORM_EXPECT_OK
  bn.forward(x, y);
#else
  bn.forward(x, y.rowwise().reverse());
#endif
}
