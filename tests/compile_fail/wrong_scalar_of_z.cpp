// expect: (static assertion failed|static_assert failed).*tensornorm.*scalar
#include <tensornorm/tensornorm.hpp>

int main() {
#ifdef TENSORNORM_EXPECT_OK
  using Z = Eigen::MatrixXf;
#else
  using Z = Eigen::MatrixXd;
#endif
  const Eigen::MatrixXf x = Eigen::MatrixXf::Random(3, 4);
  const Z z = Z::Ones(3, 4);
  Eigen::MatrixXf y;
  tensornorm::LayerNorm<float> ln(4);
  ln.forward(x, tensornorm::then_times(y, z));
}
