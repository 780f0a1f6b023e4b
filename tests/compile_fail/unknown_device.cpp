// expect 9: (static assertion failed|static_assert failed).*tensornorm: the device is neither.*Eigen::ThreadPoolDevice
#include <tensornorm/tensornorm.hpp>

// One for each call: an error is not said twice of the same types.
template <int>
struct Device {};

int main() {
  using namespace tensornorm;
  Eigen::MatrixXf x = Eigen::MatrixXf::Random(3, 4), y;
  Whitening<float> layer(4);
  layer.forward(Device<1>(), x, y);
  y = layer(Device<2>(), x);
  layer.infer(Device<3>(), x, y);
  layer.backward(Device<4>(), x, y, y);
  layer.fit(Device<5>(), x);
  layer.inverse(Device<6>(), x, y);
  clip_grad_norm(Device<7>(), 1, x);
  clip_grad_norm(Device<8>(), 1, ClipGradNormOptions(), x);
  clip_grad_value(Device<9>(), 1, x);
}
