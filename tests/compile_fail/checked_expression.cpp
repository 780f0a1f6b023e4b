// expect: (static assertion failed|static_assert failed).*tensornorm.*expression.*may throw
#include <tensornorm/tensornorm.hpp>

int main() {
  Eigen::MatrixXf x = Eigen::MatrixXf::Zero(2, 8), y(2, 8);
  const tensornorm::LayerNorm<float> norm(8);
  const auto checked = norm.check({2, 8});
#ifdef TENSORNORM_EXPECT_OK
  checked.infer(x, y);
#else
  checked.infer(x + x, y);
#endif
  return int(y.size());
}
