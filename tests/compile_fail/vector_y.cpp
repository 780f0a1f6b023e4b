// expect: (static assertion failed|static_assert failed).*tensornorm: a standard container.*Eigen::Map
#include <tensornorm/tensornorm.hpp>

#include <vector>

int main() {
  const Eigen::MatrixXf x = Eigen::MatrixXf::Random(3, 4);
  std::vector<float> y(12);
  tensornorm::BatchNorm<float> bn(4);
#ifdef TENSORNORM_EXPECT_OK
  bn.forward(x, Eigen::Map<Eigen::MatrixXf>(y.data(), 3, 4));
#else
  bn.forward(x, y);
#endif
}
