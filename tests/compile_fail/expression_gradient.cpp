// expect: (static assertion failed|static_assert failed).*tensornorm.*memory
#include <tensornorm/clip_grad.hpp>

int main() {
  Eigen::Tensor<float, 2> g(3, 4);
  g.setRandom();
#ifdef TENSORNORM_EXPECT_OK
  tensornorm::clip_grad_value(1, g);
#else
  tensornorm::clip_grad_value(1, g * 2.0f);
#endif
}
