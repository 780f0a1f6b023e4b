// expect: (static assertion failed|static_assert failed).*tensornorm: the argument's scalar type is not the layer's
#include <tensornorm/tensornorm.hpp>

int main() {
#ifdef TENSORNORM_EXPECT_OK
  using Scalar = Eigen::half;
#else
  using Scalar = float;
#endif
  Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic> x(3, 4), y;
  const Eigen::Array<Eigen::half, Eigen::Dynamic, 1> gamma(4);
  tensornorm::layer_norm(x, gamma, tensornorm::kNone, 1e-5, y);
}
