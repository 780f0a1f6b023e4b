// expect: (static assertion failed|static_assert failed).*tensornorm.*Eigen
#include <tensornorm/clip_grad.hpp>

#include <vector>

int main() {
#ifdef TENSORNORM_EXPECT_OK
  std::vector<Eigen::ArrayXf> g(12);
#else
  std::vector<float> g(12);
#endif
  return int(tensornorm::clip_grad_norm(1, g));
}
