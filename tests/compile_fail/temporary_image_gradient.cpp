// expect: (static assertion failed|static_assert failed).*tensornorm.*a temporary.*name it
#include <tensornorm/clip_grad.hpp>

struct Image : Eigen::Tensor<float, 4> {
  using Eigen::Tensor<float, 4>::Tensor;
};

int main() {
#ifdef TENSORNORM_EXPECT_OK
  Image g(2, 3, 4, 5);
  g.setRandom();
  tensornorm::clip_grad_value(1, g);
#else
  tensornorm::clip_grad_value(1, Image(2, 3, 4, 5));
#endif
}
