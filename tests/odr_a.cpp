// One translation unit of odr_test with every header; odr_b.cpp is the other. Windows defines min and max as macros.
#include <algorithm>
#include <array>
#include <atomic>
#include <cfloat>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include <unsupported/Eigen/CXX11/Tensor>

#define min(a, b) (((a) < (b)) ? (a) : (b))
#define max(a, b) (((a) > (b)) ? (a) : (b))

#include <tensornorm/tensornorm.hpp>

#include "every_header.hpp"

#ifndef ODR_FUNCTION
#define ODR_FUNCTION odr_a
#endif

namespace {

template <class Scalar, int Layout, class Layer>
void append(std::vector<double>& values, Layer layer) {
  Eigen::Tensor<Scalar, 4, Layout> x(3, 6, 5, 7), dy(3, 6, 5, 7), y, dx;
  for (Eigen::Index i = 0; i < x.size(); ++i) {
    x.data()[i] = static_cast<Scalar>(static_cast<float>(i * 37 % 101) / 16);
    dy.data()[i] = static_cast<Scalar>(static_cast<float>(i * 53 % 97) / 32 - 1);
  }
  layer.forward(x, y);
  layer.backward(x, dy, dx);
  for (Eigen::Index i = 0; i < y.size(); ++i) {
    values.push_back(static_cast<double>(y.data()[i]));
    values.push_back(static_cast<double>(dx.data()[i]));
  }
  for (Eigen::Index i = 0; i < layer.dgamma().size(); ++i) values.push_back(static_cast<double>(layer.dgamma()[i]));
  layer.infer(x, y);
  for (Eigen::Index i = 0; i < y.size(); ++i) values.push_back(static_cast<double>(y.data()[i]));
}

}  // namespace

std::vector<double> ODR_FUNCTION();

std::vector<double> ODR_FUNCTION() {
  std::vector<double> values;
  append<float, Eigen::RowMajor>(values, tensornorm::BatchNorm<float>(6));
  append<float, Eigen::ColMajor>(values, tensornorm::GroupNorm<float>(3, 6));
  append<double, Eigen::RowMajor>(values, tensornorm::InstanceNorm<double>(6));
  append<Eigen::half, Eigen::RowMajor>(values, tensornorm::LayerNorm<Eigen::half>({5, 7}));
  append<Eigen::bfloat16, Eigen::ColMajor>(values, tensornorm::RMSNorm<Eigen::bfloat16>({7}));
  Eigen::ArrayXf gradient = Eigen::ArrayXf::LinSpaced(999, -3, 5);
  values.push_back(tensornorm::clip_grad_norm(1, gradient));
  tensornorm::clip_grad_value(0.02, gradient);
  for (const float g : gradient) values.push_back(static_cast<double>(g));
  return values;
}
