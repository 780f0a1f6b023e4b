// expect: (static assertion failed|static_assert failed).*tensornorm.*const
#include <tensornorm/clip_grad.hpp>

#include <vector>

#ifdef TENSORNORM_EXPECT_OK
using Gradients = std::vector<Eigen::MatrixXf>;
#else
using Gradients = const std::vector<Eigen::MatrixXf>;
#endif

int main() {
  Gradients list(2, Eigen::MatrixXf::Ones(3, 4));
  return int(tensornorm::clip_grad_norm(1, list));
}
