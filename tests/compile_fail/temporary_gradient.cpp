// expect: (static assertion failed|static_assert failed).*tensornorm.*temporary
#include <tensornorm/clip_grad.hpp>

#include <vector>

int main() {
  std::vector<tensornorm::GradientRef> list;
#ifdef TENSORNORM_EXPECT_OK
  Eigen::MatrixXf g = Eigen::MatrixXf::Ones(3, 4);
  list.emplace_back(g);
#else
  list.emplace_back(Eigen::MatrixXf(3, 4));
#endif
}
