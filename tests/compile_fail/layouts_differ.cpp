// expect: (static assertion failed|static_assert failed).*tensornorm.*layout
#include <tensornorm/tensornorm.hpp>

#ifdef TENSORNORM_EXPECT_OK
constexpr auto kLayout = Eigen::RowMajor;
#else
constexpr auto kLayout = Eigen::ColMajor;
#endif

int main() {
  Eigen::Tensor<float, 2, Eigen::RowMajor> x(3, 4);
  Eigen::Tensor<float, 2, kLayout> y(3, 4);
  x.setRandom();
  tensornorm::BatchNorm<float> bn(4);
  bn.forward(x, y);
}
