// expect: (static assertion failed|static_assert failed).*tensornorm.*const
#include <tensornorm/clip_grad.hpp>

#ifdef TENSORNORM_EXPECT_OK
using Element = Eigen::MatrixXf;
#else
using Element = const Eigen::MatrixXf;
#endif

int main() {
  Eigen::MatrixXf memory = Eigen::MatrixXf::Ones(3, 4);
  tensornorm::clip_grad_value(1, Eigen::Map<Element>(memory.data(), 3, 4));
}
