// expect: (static assertion failed|static_assert failed).*tensornorm: x's scalar is float, double
#include <tensornorm/tensornorm.hpp>

int main() {
#ifdef TENSORNORM_EXPECT_OK
  using Scalar = Eigen::half;
#else
  using Scalar = int;
#endif
  Eigen::Matrix<Scalar, 3, 4> x;
  x.setZero();
  return int(tensornorm::moments(x, {0}).n);
}
