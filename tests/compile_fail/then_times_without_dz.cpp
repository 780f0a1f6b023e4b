// expect: (static assertion failed|static_assert failed).*tensornorm: then_times takes y and z in forward
#include <tensornorm/tensornorm.hpp>

using namespace tensornorm;

int main() {
  const Eigen::MatrixXf x = Eigen::MatrixXf::Random(3, 4), dy = x, z = x;
  Eigen::MatrixXf y, dx;
  LayerNorm<float> norm(4);
  norm.forward(x, then_times(y, z));
#ifdef TENSORNORM_EXPECT_OK
  norm.backward(x, then_times(dy, z, kNone), dx);
#else
  norm.backward(x, then_times(dy, z), dx);
#endif
}
