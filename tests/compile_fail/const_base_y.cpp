// expect: (static assertion failed|static_assert failed).*tensornorm: the output is const
#include <tensornorm/tensornorm.hpp>

#ifdef TENSORNORM_EXPECT_OK
template <class D>
using Output = Eigen::MatrixBase<D>;
#else
template <class D>
using Output = const Eigen::MatrixBase<D>;
#endif

template <class D>
void normalize(const Eigen::MatrixBase<D>& x, Output<D>& y) {
  tensornorm::BatchNorm<float> bn(4);
  bn.forward(x, y);
}

int main() {
  Eigen::MatrixXf x = Eigen::MatrixXf::Random(3, 4), y;
  normalize<Eigen::MatrixXf>(x, y);
}
