// Small manners of the layers: how they are made, printed, changed and walked over.
#include <gtest/gtest.h>

#include <sstream>

#include "every_layer.hpp"

namespace tensornorm_test {
namespace {

using namespace tensornorm;

template <class Layer>
std::string printed(const Layer& layer) {
  std::ostringstream out;
  out << layer;
  return out.str();
}

TEST(Constructors, TakeExtentsAsPeopleWriteThem) {
  const std::vector<int> ints{2, 4};
  const std::vector<Index> indices{2, 4};
  const std::size_t eight = 8;
  EXPECT_EQ(LayerNorm<float>(8).extents(), std::vector<Index>({8}));
  EXPECT_EQ(LayerNorm<float>{8}.extents(), std::vector<Index>({8}));
  EXPECT_EQ(LayerNorm<float>(eight).extents(), std::vector<Index>({8}));
  EXPECT_EQ(LayerNorm<float>({2, 4}).extents(), indices);
  EXPECT_EQ(LayerNorm<float>(ints).extents(), indices);
  const Index six = 6;
  EXPECT_EQ(LayerNorm<float>({six}).extents(), std::vector<Index>({6}));
  EXPECT_EQ(LayerNorm<float>({six, 4}).extents(), std::vector<Index>({6, 4}));
  EXPECT_EQ(LayerNorm<float>{eight}.extents(), std::vector<Index>({8}));
  EXPECT_EQ((RMSNorm<float>{8, 1e-6}.options().eps), 1e-6);
  EXPECT_EQ(RMSNorm<float>(indices).extents(), indices);
  EXPECT_EQ(RMSNorm<float>(8, 1e-6).options().eps, 1e-6);
  EXPECT_EQ(LayerNorm<float>({2, 4}, 1e-6).options().eps, 1e-6);
  EXPECT_EQ(BatchNorm<float>(8, 1e-3F).options().eps, double(1e-3F));
  EXPECT_EQ(InstanceNorm<float>(8, 1e-3).options().eps, 1e-3);
  EXPECT_EQ(GroupNorm<float>(2, 8, 1e-3).options().eps, 1e-3);
}

template <class Layer>
void expect_empty(Layer made) {
  Layer layer;
  Eigen::Tensor<float, 3> x(4, 8, 5), y;
  x.setRandom();
  try {
    layer.forward(x, y);
    ADD_FAILURE() << "an empty layer ran";
  } catch (const std::invalid_argument& error) {
    EXPECT_NE(std::string(error.what()).find("was made without"), std::string::npos) << error.what();
  }
  EXPECT_THROW(layer.infer(x, y), std::invalid_argument);
  EXPECT_EQ(layer.parameters().size(), 0);
  layer = std::move(made);
  layer.forward(x, y);
  EXPECT_EQ(y.size(), x.size());
}
TEST(Constructors, MakeLayersOfNothing) {
  expect_empty(BatchNorm<float>(8));
  expect_empty(InstanceNorm<float>(8));
  expect_empty(GroupNorm<float>(2, 8));
  expect_empty(LayerNorm<float>(5));
  expect_empty(RMSNorm<float>({8, 5}));
}

TEST(Printing, IsAsPyTorchPrints) {
  EXPECT_EQ(printed(LayerNorm<float>(768)), "LayerNorm((768,), eps=1e-05, affine=True, bias=True)");
  EXPECT_EQ(printed(RMSNorm<float>({4, 8}, 1e-6)), "RMSNorm((4, 8), eps=1e-06, affine=True)");
  EXPECT_EQ(printed(BatchNorm<float>(64)),
            "BatchNorm(64, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True)");
  InstanceNormOptions options;
  options.momentum = std::nullopt;
  EXPECT_EQ(printed(InstanceNorm<float>(3, options)),
            "InstanceNorm(3, eps=1e-05, momentum=None, affine=False, track_running_stats=False)");
  EXPECT_EQ(printed(GroupNorm<float>(2, 8)), "GroupNorm(2, 8, eps=1e-05, affine=True)");
  EXPECT_EQ(printed(Whitening<float>(6)).substr(0, 11), "Whitening(6");
}

TEST(Changes, OfModeEpsAndMomentum) {
  Eigen::MatrixXf x = Eigen::MatrixXf::Random(9, 6), y, want;
  BatchNorm<float> layer(6);
  layer.train(false);
  EXPECT_FALSE(layer.training());
  layer.infer(x, y);
  layer.set_eps(0.5);
  EXPECT_EQ(layer.options().eps, 0.5);
  layer.infer(x, y);
  BatchNorm<float>(6, 0.5).infer(x, want);
  EXPECT_TRUE(y.isApprox(want)) << "the scale that eval() made is not used";
  layer.train(true);
  layer.set_momentum(1.0);
  layer.forward(x, y);
  EXPECT_TRUE(layer.running_mean().isApprox(x.colwise().mean().transpose().array(), 1e-5F));
  EXPECT_THROW(layer.set_eps(-1), std::invalid_argument);
  EXPECT_THROW(layer.set_momentum(2), std::invalid_argument);
  EXPECT_EQ(layer.options().eps, 0.5);
}

TEST(Parameters, AreWalkedOver) {
  Eigen::MatrixXf x = Eigen::MatrixXf::Random(9, 6), y;
  LayerNorm<float> layer(6);
  layer.forward(x, y);
  const Eigen::MatrixXf dx = layer.backward(x, y);
  EXPECT_EQ(dx.rows(), 9);
  std::string names;
  for (auto& [name, value, gradient] : layer.parameters()) {
    names += name;
    value -= 0.1F * gradient;
  }
  EXPECT_EQ(names, "gammabeta");
  EXPECT_TRUE(layer.gamma().isApprox(1 - 0.1F * layer.dgamma()));
  RMSNorm<float> rms(6);
  for (auto& parameter : rms.parameters()) EXPECT_EQ(&parameter.value, &rms.gamma());
  EXPECT_EQ(rms.parameters().size(), 1);
}

TEST(Axes, OfSamplesInColumns) {
  const Eigen::MatrixXf x = Eigen::MatrixXf::Random(8, 5);
  Eigen::MatrixXf y, rows;
  LayerNormOptions along;
  along.axis = 0;
  LayerNorm<float>({8}, along).forward(x, y);
  LayerNorm<float>(8).forward(Eigen::MatrixXf(x.transpose()), rows);
  EXPECT_TRUE(y.isApprox(rows.transpose(), 1e-6F));
  GroupNormOptions groups;
  groups.channel_axis = 0;
  groups.batch_axis = -1;
  GroupNorm<float>(2, 8, groups).forward(x, y);
  GroupNorm<float>(2, 8).forward(Eigen::MatrixXf(x.transpose()), rows);
  EXPECT_TRUE(y.isApprox(rows.transpose(), 1e-6F));
  // In the middle of more axes, against the turned tensor.
  Eigen::Tensor<float, 3, Eigen::RowMajor> image(4, 6, 7), out, turned_out;
  image.setRandom();
  along.axis = -2;
  LayerNorm<float>({6}, along).forward(image, out);
  const Eigen::array<int, 3> turn{0, 2, 1};
  const Eigen::Tensor<float, 3, Eigen::RowMajor> turned = image.shuffle(turn);
  LayerNorm<float>(6).forward(turned, turned_out);
  const Eigen::Tensor<float, 3, Eigen::RowMajor> back = turned_out.shuffle(turn);
  const Eigen::Tensor<float, 0, Eigen::RowMajor> worst = (out - back).abs().maximum();
  EXPECT_LT(worst(), 1e-6F);
  InstanceNormOptions last;
  last.channel_axis = 0;
  last.batch_axis = 2;
  InstanceNorm<float>(4, last).forward(image, out);
  const Eigen::array<int, 3> other{2, 0, 1}, home{1, 2, 0};
  const Eigen::Tensor<float, 3, Eigen::RowMajor> samples = image.shuffle(other);
  InstanceNorm<float>(4).forward(samples, turned_out);
  const Eigen::Tensor<float, 3, Eigen::RowMajor> home_again = turned_out.shuffle(home);
  const Eigen::Tensor<float, 0, Eigen::RowMajor> worst_instance = (out - home_again).abs().maximum();
  EXPECT_LT(worst_instance(), 1e-6F);
  last.track_running_stats = true;
  InstanceNormOptions usual;
  usual.track_running_stats = true;
  InstanceNorm<float> tracks(4, last), turned_tracks(4, usual);
  tracks.forward(image, out);
  turned_tracks.forward(samples, turned_out);
  EXPECT_TRUE(tracks.running_mean().isApprox(turned_tracks.running_mean(), 1e-5F));
  EXPECT_TRUE(tracks.mean().isApprox(turned_tracks.mean(), 1e-5F));
}

TEST(Axes, AColumnIsASample) {
  const Eigen::VectorXf v = Eigen::VectorXf::Random(8);
  Eigen::VectorXf w;
  Eigen::RowVectorXf row;
  LayerNorm<float> layer(8);
  layer.forward(v, w);
  layer.forward(v.transpose(), row);
  EXPECT_TRUE(w.isApprox(row.transpose()));
  Eigen::Tensor<float, 1> one(8), out;
  one.setRandom();
  RMSNorm<float>(8).infer(one, out);
  EXPECT_EQ(out.size(), 8);
  const Eigen::VectorXf dv = layer.backward(v.transpose(), v.transpose()).transpose();
  EXPECT_EQ(dv.size(), 8);
}

template <class Layer>
void expect_checked(Layer layer, const Extents& extents) {
  const Eigen::ArrayXf x = Eigen::ArrayXf::Random(count(extents));
  Eigen::ArrayXf y(x.size()), wanted(x.size());
  const auto in = view(x.data(), extents);
  layer.forward(in, view(wanted.data(), extents));
  layer.infer(in, view(wanted.data(), extents));
  const auto checked = layer.check(extents);
  const auto out = view(y.data(), extents);
  static_assert(noexcept(checked.infer(in, out)), "infer of what was checked throws nothing");
  checked.infer(in, out);
  EXPECT_EQ(bytes(y), bytes(wanted));
  for (const Extents& other : {Extents{3, 7, 3}, Extents{7}, Extents{}, Extents{2, -1}}) {
    std::string thrown, checked_message;
    try {
      layer.infer(view(x.data(), other), view(y.data(), other));
    } catch (const std::invalid_argument& error) {
      thrown = error.what();
    }
    try {
      layer.check(other);
    } catch (const std::invalid_argument& error) {
      checked_message = error.what();
    }
    EXPECT_NE(thrown, "");
    EXPECT_EQ(thrown, checked_message);
  }
}
TEST(CheckedInfer, IsInferThatThrowsNothing) {
  expect_checked(BatchNorm<float>(8), {3, 8, 4});
  expect_checked(InstanceNorm<float>(8), {3, 8, 4});
  expect_checked(GroupNorm<float>(2, 8), {3, 8, 4});
  expect_checked(LayerNorm<float>({8, 4}), {3, 8, 4});
  expect_checked(RMSNorm<float>({8, 4}), {3, 8, 4});
  expect_checked(Normalization<float>({1, 2}, {1, 2}), {3, 8, 4});
  expect_checked(Whitening<float>(8), {3, 8, 4});
  expect_checked(AnyNorm<float>(LayerNorm<float>({8, 4})), {3, 8, 4});
}
TEST(CheckedInfer, RefusesALayerThatWouldFail) {
  BatchNorm<float> norm(8);
  norm.check({4, 8});
  EXPECT_THROW(norm.check({4, 7}), std::invalid_argument);
  norm.gamma().resize(7);
  EXPECT_THROW(norm.check({4, 8}), std::invalid_argument);
  EXPECT_THROW(LayerNorm<float>().check({4, 8}), std::invalid_argument);
  UnitNorm<float>().check({4, 8});
  EXPECT_THROW(UnitNorm<float>(UnitNormOptions{1e-12, 2}).check({4, 8}), std::invalid_argument);
  EXPECT_THROW(AnyNorm<float>().check({4, 8}), std::invalid_argument);
  EXPECT_THROW(Normalization<float>({1}, {1}).check({4, 8}), std::invalid_argument);
  BatchNormOptions options;
  options.track_running_stats = false;
  EXPECT_THROW(BatchNorm<float>(8, options).check({1, 8}), std::invalid_argument);
}
TEST(CheckedInferDeathTest, EndsTheProgramOnOtherExtents) {
  const LayerNorm<float> norm(8);
  Eigen::ArrayXXf x = Eigen::ArrayXXf::Random(4, 7), y;
  const auto checked = norm.check({4, 8});
  EXPECT_DEATH(checked.infer(x, y), "");
}

}  // namespace
}  // namespace tensornorm_test
