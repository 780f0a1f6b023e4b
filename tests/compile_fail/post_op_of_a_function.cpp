// expect: (static assertion failed|static_assert failed).*tensornorm: backward of a function is not told beta
#include <tensornorm/tensornorm.hpp>

using namespace tensornorm;

int main() {
  const Eigen::MatrixXf x = Eigen::MatrixXf::Random(3, 4), dy = x;
  Eigen::MatrixXf y, dx;
  Pass<float> pass;
  layer_norm(x, kNone, kNone, 1e-5, then_relu(y), pass);
#ifdef TENSORNORM_EXPECT_OK
  layer_norm_backward(x, dy, kNone, pass, dx, kNone, kNone);
#else
  layer_norm_backward(x, then_relu(dy), kNone, pass, dx, kNone, kNone);
#endif
}
