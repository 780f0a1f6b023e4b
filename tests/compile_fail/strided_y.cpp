// expect: (static assertion failed|static_assert failed).*tensornorm.*(memory|dense|stride)
#include <tensornorm/tensornorm.hpp>

int main() {
  Eigen::Tensor<float, 2> x(3, 4), wide(6, 4);
  x.setRandom();
  tensornorm::BatchNorm<float> bn(4);
#ifdef TENSORNORM_EXPECT_OK
  bn.forward(x, wide);
#else
  bn.forward(x, wide.stride(Eigen::array<Eigen::Index, 2>{2, 1}));
#endif
}
