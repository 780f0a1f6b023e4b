// No header warns, whatever a program asks its compiler for: the flags are in CMakeLists.txt.
#define EIGEN_USE_THREADS
#include <tensornorm/tensornorm.hpp>

namespace {

using Tensor = Eigen::Tensor<float, 4, Eigen::RowMajor>;

template <class Layer, class X>
bool is_finite(Layer layer, const X& x) {
  Eigen::ThreadPool pool(1);
  const Eigen::ThreadPoolDevice device(&pool, 2);
  X y, dx;
  layer.forward(device, x, y);
  layer.backward(x, y, dx);
  layer.infer(x, y);
  const auto last = static_cast<float>(dx.data()[dx.size() - 1]);
  return last - last <= 0;
}

struct Alone {
  int size() const { return 1; }
  void all_gather(const double* mine, tensornorm::Index n, double* all) const { std::copy_n(mine, n, all); }
};

bool standardizes(const Eigen::MatrixXd& x) {
  Eigen::MatrixXd y;
  tensornorm::Standardizer<double> standardizer;
  standardizer.partial_fit(x);
  standardizer.transform(x, y);
  standardizer.inverse(y, y);
  return tensornorm::merge(standardizer.moments(), tensornorm::moments(y, {0})).n == 2 * x.rows();
}

}  // namespace

int main() {
  using namespace tensornorm;
  Tensor x(5, 4, 3, 3);
  x.setRandom();
  const Eigen::MatrixXd matrix = Eigen::MatrixXd::Random(20, 4);
  const Eigen::Matrix<Eigen::half, -1, -1> half = matrix.cast<Eigen::half>();
  Eigen::VectorXf gradient = Eigen::VectorXf::Ones(9);
  clip_grad_value(1, gradient);
  return !(is_finite(BatchNorm<float>(4), x) && is_finite(InstanceNorm<float>(4), x) &&
           is_finite(GroupNorm<float>(2, 4), x) && is_finite(LayerNorm<double>({4}), matrix) &&
           is_finite(RMSNorm<Eigen::half>({4}), half) && is_finite(Whitening<double>(4), matrix) &&
           is_finite(SyncBatchNorm<float, Alone>(4, Alone()), x) &&
           is_finite(SyncWhitening<double, Alone>(4, Alone()), matrix) && standardizes(matrix) &&
           clip_grad_norm(9, gradient) < 4);
}
