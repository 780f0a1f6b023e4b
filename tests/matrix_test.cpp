// Matrices need no Tensor header, and a file that has both is right in whatever order it includes them.
#include <tensornorm/fwd.hpp>

#include <tensornorm/matrix.hpp>

#if defined(EIGEN_CXX11_TENSOR_MODULE) || defined(EIGEN_CXX11_TENSOR_MODULE_H)
#error "tensornorm/matrix.hpp includes the Tensor header"
#endif

#include <gtest/gtest.h>
#include <tensornorm/tensornorm.hpp>

namespace {

TEST(Matrix, IsNormalizedAsATensorIs) {
  using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  const Matrix x = Matrix::Random(6, 8), dy = Matrix::Random(6, 8);
  Matrix y, dx;
  tensornorm::LayerNorm<float> norm({8});
  norm.forward(x, y);
  norm.backward(x, dy, dx);

  using Tensor = Eigen::Tensor<float, 2, Eigen::RowMajor>;
  const Tensor tensor = Eigen::TensorMap<const Tensor>(x.data(), 6, 8);
  const Tensor tensor_dy = Eigen::TensorMap<const Tensor>(dy.data(), 6, 8);
  Tensor tensor_y, tensor_dx;
  norm.forward(Eigen::DefaultDevice(), tensor, tensor_y);
  norm.backward(tensor, tensor_dy, tensor_dx);
  EXPECT_EQ(y, Matrix::Map(tensor_y.data(), 6, 8));
  EXPECT_EQ(dx, Matrix::Map(tensor_dx.data(), 6, 8));
}

TEST(Matrix, IsWhitenedAndClipped) {
  const Eigen::MatrixXf x = Eigen::MatrixXf::Random(60, 4);
  tensornorm::Whitening<float> whitening(4);
  whitening.fit(x);
  const Eigen::MatrixXf y = whitening.infer(x);
  EXPECT_NEAR((y.transpose() * y / 60 - Eigen::MatrixXf::Identity(4, 4)).norm(), 0, 1e-3);
  Eigen::MatrixXf gradient = Eigen::MatrixXf::Constant(2, 2, 2);
  EXPECT_EQ(tensornorm::clip_grad_norm(1.0, gradient), 4);
  EXPECT_EQ(gradient(0, 0), 0.5F);
}

}  // namespace
