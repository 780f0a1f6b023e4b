// expect: (static assertion failed|static_assert failed).*tensornorm.*expression without memory.*Map
#include <tensornorm/tensornorm.hpp>

#include <vector>

int main() {
  const Eigen::MatrixXf x = Eigen::MatrixXf::Random(3, 4);
  Eigen::MatrixXf y(9, 4);
  const std::vector<int> rows{7, 2, 5};
  tensornorm::BatchNorm<float> bn(4);
#ifdef TENSORNORM_EXPECT_OK
  y(rows, Eigen::all) = bn(x);
#else
  bn.forward(x, y(rows, Eigen::all));
#endif
}
