// expect: (static assertion failed|static_assert failed).*tensornorm.*float
#include <tensornorm/tensornorm.hpp>

#ifdef TENSORNORM_EXPECT_OK
using Scalar = Eigen::bfloat16;
#else
using Scalar = int;
#endif

int main() {
  tensornorm::BatchNorm<Scalar> bn(4);
  return int(bn.gamma().size());
}
