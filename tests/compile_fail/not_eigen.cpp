// expect: (static assertion failed|static_assert failed).*tensornorm.*(Eigen|tensor|matrix)
#include <tensornorm/tensornorm.hpp>

#include <vector>

int main() {
#ifdef TENSORNORM_EXPECT_OK
  Eigen::Tensor<float, 2> x(3, 4);
  x.setRandom();
#else
  std::vector<float> x(12);
#endif
  tensornorm::RMSNorm<float> rms({4});
  return int(rms(x).size());
}
