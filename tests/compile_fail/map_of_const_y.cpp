// expect: (static assertion failed|static_assert failed).*tensornorm.*(const|writ|memory)
#include <tensornorm/tensornorm.hpp>

#ifdef TENSORNORM_EXPECT_OK
using Element = Eigen::Tensor<float, 2>;
#else
using Element = const Eigen::Tensor<float, 2>;
#endif

int main() {
  Eigen::Tensor<float, 2> x(3, 4), memory(3, 4);
  x.setRandom();
  tensornorm::BatchNorm<float> bn(4);
  bn.infer(x, Eigen::TensorMap<Element>(memory.data(), 3, 4));
}
