// expect: (static assertion failed|static_assert failed).*tensornorm.*layout
#include <tensornorm/tensornorm.hpp>

#ifdef TENSORNORM_EXPECT_OK
constexpr auto kLayout = Eigen::RowMajor;
#else
constexpr auto kLayout = Eigen::ColMajor;
#endif

int main() {
  Eigen::Tensor<float, 2, Eigen::RowMajor> x(3, 4), dx(3, 4);
  Eigen::Tensor<float, 2, kLayout> dy(3, 4);
  x.setRandom();
  dy.setRandom();
  tensornorm::LayerNorm<float> ln({4});
  ln.forward(x, dx);
  ln.backward(x, dy, dx);
}
