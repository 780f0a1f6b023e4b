// expect: (static assertion failed|static_assert failed).*tensornorm: a diagonal, triangular.*dense
#include <tensornorm/tensornorm.hpp>

int main() {
  const Eigen::MatrixXf x = Eigen::MatrixXf::Random(4, 4);
  tensornorm::RMSNorm<float> rms({4});
#ifdef TENSORNORM_EXPECT_OK
  const Eigen::MatrixXf y = rms(x.triangularView<Eigen::Lower>().toDenseMatrix());
#else
  const Eigen::MatrixXf y = rms(x.triangularView<Eigen::Lower>());
#endif
  return int(y.size());
}
