// expect: (static assertion failed|static_assert failed).*tensornorm: then_times takes y and z in forward
#include <tensornorm/tensornorm.hpp>

using namespace tensornorm;

int main() {
  const Eigen::MatrixXf x = Eigen::MatrixXf::Random(3, 4), z = x;
  Eigen::MatrixXf y, dz;
  LayerNorm<float> norm(4);
#ifdef TENSORNORM_EXPECT_OK
  norm.forward(x, then_times(y, z));
#else
  norm.forward(x, then_times(y, z, dz));
#endif
}
