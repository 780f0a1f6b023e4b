// expect: (static assertion failed|static_assert failed).*tensornorm.*const
#include <tensornorm/clip_grad.hpp>

#ifdef TENSORNORM_EXPECT_OK
using Gradient = Eigen::Tensor<float, 2>;
#else
using Gradient = const Eigen::Tensor<float, 2>;
#endif

int main() {
  Gradient g(3, 4);
  return int(tensornorm::clip_grad_norm(1, g));
}
