// expect 17: (static assertion failed|static_assert failed).*tensornorm: a standard container.*Eigen::Map
#include <tensornorm/tensornorm.hpp>

#include <array>

// One for each call: an error is not said twice of the same types.
template <int n>
using Numbers = std::array<float, n>;

int main() {
  using namespace tensornorm;
  Eigen::MatrixXf x = Eigen::MatrixXf::Random(3, 4), y;
  Numbers<13> out;
  Numbers<14> inferred;
  Numbers<15> dx;
  Numbers<16> inverted;
  Whitening<float> layer(4);
  layer.forward(Numbers<1>(), y);
  y = layer(Numbers<2>());
  Eigen::Tensor<float, 2> tensor = layer(Numbers<3>());
  layer.infer(Numbers<4>(), y);
  y = layer.infer(Numbers<5>());
  layer.backward(Numbers<6>(), x, y);
  layer.backward(x, Numbers<7>(), y);
  layer.fit(Numbers<8>());
  layer.inverse(Numbers<9>(), y);
  y = layer.inverse(Numbers<10>());
  clip_grad_norm(1, Numbers<11>());
  clip_grad_value(1, Numbers<12>());
  layer.forward(x, out);
  layer.infer(x, inferred);
  layer.backward(x, x, dx);
  layer.inverse(x, inverted);
  clip_grad_norm(Eigen::DefaultDevice(), 1, x, Numbers<17>());
}
