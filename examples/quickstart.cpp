#include <iomanip>
#include <iostream>
#include <tensornorm/tensornorm.hpp>

int main() {
  const Eigen::MatrixXf x{{1}, {2}, {3}, {4}};  // N = 4 samples of C = 1 channel

  tensornorm::BatchNorm<float> norm(1);
  norm.gamma() = 2;
  norm.beta() = 1;
  const Eigen::MatrixXf y = norm(x);  // (x - mean) * rstd * gamma + beta

  const Eigen::IOFormat list(Eigen::StreamPrecision, Eigen::DontAlignCols, ", ", ", ", "", "", "[", "]");
  std::cout << std::fixed << std::setprecision(3) << "mean = " << norm.mean() << ", rstd = " << norm.rstd() << '\n'
            << "y = " << y.format(list) << '\n';
}
