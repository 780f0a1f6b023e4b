// expect: (static assertion failed|static_assert failed).*tensornorm: then_times takes y and z in forward
#include <tensornorm/tensornorm.hpp>

using namespace tensornorm;

int main() {
  const Eigen::MatrixXf x = Eigen::MatrixXf::Random(3, 4), z = x, dy = x;
  Eigen::MatrixXf y, dx, dz;
  Pass<float> pass;
  layer_norm(x, kNone, kNone, 1e-5, then_times(y, z), pass);
#ifdef TENSORNORM_EXPECT_OK
  layer_norm_backward(x, then_times(dy, z, dz), kNone, pass, dx, kNone, kNone);
#else
  layer_norm_backward(x, then_times(dy, z), kNone, pass, dx, kNone, kNone);
#endif
}
