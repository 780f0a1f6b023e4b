// expect: (static assertion failed|static_assert failed).*tensornorm.*float
#include <tensornorm/clip_grad.hpp>

#ifdef TENSORNORM_EXPECT_OK
using Scalar = Eigen::half;
#else
using Scalar = int;
#endif

int main() {
  Eigen::Tensor<Scalar, 2> g(3, 4);
  return int(tensornorm::clip_grad_norm(1, g));
}
