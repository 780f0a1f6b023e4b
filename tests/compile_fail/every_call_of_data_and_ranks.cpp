// expect 10: (static assertion failed|static_assert failed).*tensornorm: a standard container.*Eigen::Map
#include <tensornorm/tensornorm.hpp>

#include <algorithm>
#include <array>

// One for each call: an error is not said twice of the same types.
template <int n>
using Numbers = std::array<float, n>;

struct Alone {
  int size() const { return 1; }
  void all_gather(const double* mine, tensornorm::Index n, double* all) { std::copy_n(mine, n, all); }
};

int main() {
  using namespace tensornorm;
  Eigen::MatrixXf x = Eigen::MatrixXf::Random(3, 4), y;
  Numbers<3> transformed;
  Standardizer<float> standardizer;
  moments(Numbers<1>(), {0});
  standardizer.partial_fit(Numbers<2>());
  standardizer.transform(x, transformed);
  standardizer.transform(Numbers<4>(), y);
  standardizer.inverse(Numbers<5>(), y);
  SyncBatchNorm<float, Alone> norm(4, Alone());
  norm.forward(Numbers<6>(), y);
  y = norm(Numbers<7>());
  norm.backward(Numbers<8>(), x, y);
  norm.backward(x, Numbers<9>(), y);
  y = norm.backward(x, Numbers<10>());
}
