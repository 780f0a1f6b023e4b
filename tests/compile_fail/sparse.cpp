// expect: (static assertion failed|static_assert failed).*tensornorm: a sparse matrix.*dense
#include <Eigen/SparseCore>
#include <tensornorm/tensornorm.hpp>

int main() {
  const Eigen::SparseMatrix<float> x(3, 4);
  tensornorm::RMSNorm<float> rms({4});
#ifdef TENSORNORM_EXPECT_OK
  const Eigen::MatrixXf y = rms(Eigen::MatrixXf(x));
#else
  const Eigen::MatrixXf y = rms(x);
#endif
  return int(y.size());
}
