// expect: (static assertion failed|static_assert failed).*tensornorm.*(const|writ|memory)
#include <tensornorm/tensornorm.hpp>

#ifdef TENSORNORM_EXPECT_OK
using Element = Eigen::MatrixXf;
#else
using Element = const Eigen::MatrixXf;
#endif

int main() {
  Eigen::MatrixXf x = Eigen::MatrixXf::Random(3, 4), memory(3, 4);
  tensornorm::BatchNorm<float> bn(4);
  bn.infer(x, Eigen::Map<Element>(memory.data(), 3, 4));
}
