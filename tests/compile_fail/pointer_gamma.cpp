// expect: (static assertion failed|static_assert failed).*tensornorm: a pointer says no extents
#include <tensornorm/tensornorm.hpp>

int main() {
  Eigen::MatrixXf x(3, 4), y;
  const float* gamma = x.data();
  tensornorm::rms_norm(x, gamma, 1e-5, y);
}
