// expect: (static assertion failed|static_assert failed).*tensornorm.*EIGEN_USE_THREADS
#ifdef TENSORNORM_EXPECT_OK
#define EIGEN_USE_THREADS
#endif
#include <tensornorm/tensornorm.hpp>

void forward(tensornorm::RMSNorm<float>& norm, const Eigen::ThreadPoolDevice& device, Eigen::Tensor<float, 2>& x) {
  norm.forward(device, x, x);
}
