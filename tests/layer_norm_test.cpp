// LayerNorm and RMSNorm: rows of the trailing axes.
#include <tensornorm/layer_norm.hpp>
#include <tensornorm/rms_norm.hpp>

#include "sweep.hpp"

using namespace tensornorm_test;
using tensornorm::LayerNorm;
using tensornorm::LayerNormOptions;
using tensornorm::RMSNorm;
using tensornorm::RMSNormOptions;

namespace {

std::string name_over(const char* layer, int trailing) {
  return std::string(layer) + " over " + std::to_string(trailing) + " axes";
}

enum class Affine { kNone, kGamma, kGammaAndBeta };

/// Both layers over the last `trailing` axes of a tensor.
template <class Scalar, int... Ranks>
void check(const Extents& extents, int trailing, const Data& data = {}, Affine affine = Affine::kGammaAndBeta) {
  const Extents row(extents.end() - trailing, extents.end());
  const Sets sets = row_sets(extents, trailing);
  LayerNormOptions layer_options;
  layer_options.affine = affine != Affine::kNone;
  layer_options.bias = affine != Affine::kGamma;
  RMSNormOptions rms_options;
  rms_options.affine = layer_options.affine;
  in_both_layouts<Ranks...>(extents, [&](auto rank, auto layout) {
    expect_oracle<Scalar, rank, layout>(LayerNorm<Scalar>(row, layer_options), extents, sets, data,
                                        name_over("LayerNorm", trailing));
    expect_oracle<Scalar, rank, layout>(RMSNorm<Scalar>(row, rms_options), extents, sets, data,
                                        name_over("RMSNorm", trailing));
  });
}

/// Whose memory is given away when the number of statistics changes.
TEST(LayerNorm, ViewOfItsOwnMean) {
  LayerNorm<float> layer({4});
  Eigen::Tensor<float, 2, Eigen::RowMajor> x(8, 4), y, want;
  x.setRandom();
  layer.forward(x, y);
  using Map = Eigen::TensorMap<const Eigen::Tensor<float, 2, Eigen::RowMajor>>;
  const Eigen::Tensor<float, 2, Eigen::RowMajor> copy = Map(layer.mean().data(), 2, 4);
  LayerNorm<float>({4}).forward(copy, want);
  layer.forward(Map(layer.mean().data(), 2, 4), y);
  for (Index i = 0; i < want.size(); ++i) EXPECT_EQ(y.data()[i], want.data()[i]);
}

TEST(LayerNorm, RowsOfEveryLaneCount) {
  for (const Index d : {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 255, 513}) {
    for (const Index n : {1, 2, 3, 5, 8, 17}) check<float, 2>({n, d}, 1, {0.5, 1, n % 2});
  }
}

TEST(LayerNorm, EveryNumberOfTrailingAxesOfEveryRank) {
  const Extents shapes[] = {{7, 9}, {5, 7, 9}, {2, 3, 5, 7}, {3, 6, 17, 5}, {2, 3, 4, 5, 7}, {3, 1, 2, 1, 5}};
  for (const Extents& extents : shapes) {
    for (int trailing = 1; trailing <= int(extents.size()); ++trailing) {
      check<float, 2, 3, 4, 5>(extents, trailing, {0.5, 1, trailing % 2});
      check<float, 2, 3, 4, 5>(extents, trailing, {0.5, 1, 3}, Affine::kGamma);
      check<float, 2, 3, 4, 5>(extents, trailing, {0.5, 1, 0}, Affine::kNone);
    }
  }
}

TEST(LayerNorm, OneRowOfRankOne) {
  for (const Index d : {1, 4, 17, 300}) check<float, 1>({d}, 1);
}

TEST(LayerNorm, LargerShapes) {
  for (const Extents& extents : {Extents{33, 257}, {1000, 17}, {1, 5000}, {300, 8}, {4, 640}, {16, 768}, {2, 40000}}) {
    check<float, 2>(extents, 1, {-1, 1, 1});
  }
  for (const int trailing : {1, 2, 3}) {
    for (const Extents& extents : {Extents{2, 64, 7, 7}, {5, 96, 1, 3}}) check<float, 4>(extents, trailing, {2, 3});
  }
}

TEST(LayerNorm, OutgrowsTheCaches) {
  for (const int trailing : {1, 2, 3}) check<float, 4>({3, 40, 63, 65}, trailing);
  const Extents extents{4, 2, 22, 768};
  expect_oracle_of_repeats(LayerNorm<float>({768}), extents, 40, row_sets(extents, 1), "LayerNorm");
  expect_oracle_of_repeats(RMSNorm<float>({22, 768}), extents, 40, row_sets(extents, 2), "RMSNorm");
}

TEST(LayerNorm, KeepsItsDigitsAtAnyOffset) {
  for (const double mean : {0., -100., 1e4, 1e6}) {
    for (const Affine affine : {Affine::kNone, Affine::kGammaAndBeta}) {
      check<float, 2>({9, 257}, 1, {mean}, affine);
      check<float, 2>({3, 5003}, 1, {mean}, affine);
      check<float, 4>({2, 7, 5, 9}, 2, {mean}, affine);
      check<double, 2>({9, 257}, 1, {mean}, affine);
    }
  }
}

template <class Scalar>
class LayerNormOf : public testing::Test {};
using OtherScalars = testing::Types<double, Eigen::half, Eigen::bfloat16>;
TYPED_TEST_SUITE(LayerNormOf, OtherScalars, ScalarNames);

TYPED_TEST(LayerNormOf, EveryScalar) {
  for (const Index d : {1, 3, 4, 5, 8, 15, 16, 17, 33, 257, 768}) {
    for (const Index n : {1, 2, 5}) check<TypeParam, 2>({n, d}, 1, {0, 1, n % 3});
    check<TypeParam, 2>({7, d}, 1, {100, 3, 1}, Affine::kNone);
  }
  for (const int trailing : {1, 2, 3}) {
    check<TypeParam, 4>({2, 3, 5, 7}, trailing);
    check<TypeParam, 4>({3, 6, 17, 5}, trailing, {-10, 1, 1}, Affine::kNone);
  }
}

TEST(LayerNorm, EmptyTensors) {
  for (const Extents& extents : {Extents{0, 3}, {0, 4, 3}, {2, 0, 3}, {0, 2, 4, 3}}) {
    in_both_layouts<2, 3, 4>(extents, [&](auto rank, auto layout) {
      expect_empty<rank, layout>(LayerNorm<float>({3}), extents, "LayerNorm");
      expect_empty<rank, layout>(RMSNorm<float>({3}), extents, "RMSNorm");
    });
  }
}

}  // namespace
