// The layers as one list, but for Whitening, and what a test that knows only the protocol may ask of any of them.
#pragma once

#include <cstring>
#include <random>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <tensornorm/tensornorm.hpp>

#include "oracle.hpp"
#include "tensors.hpp"

namespace tensornorm_test {

constexpr int kRow = Eigen::RowMajor;
constexpr int kCol = Eigen::ColMajor;

template <class Layer, class = void>
inline constexpr bool has_mean = false;
template <class Layer>
inline constexpr bool has_mean<Layer, std::void_t<decltype(std::declval<Layer&>().mean())>> = true;

template <class Layer, class = void>
inline constexpr bool has_beta = false;
template <class Layer>
inline constexpr bool has_beta<Layer, std::void_t<decltype(std::declval<Layer&>().beta())>> = true;

template <class Layer, class = void>
inline constexpr bool has_running = false;
template <class Layer>
inline constexpr bool has_running<Layer, std::void_t<decltype(std::declval<Layer&>().running_mean())>> = true;

template <class T>
std::string bytes(const T* data, Index size) {
  return std::string(reinterpret_cast<const char*>(data), std::size_t(size) * sizeof(T));
}

/// The bits of a Tensor, a TensorMap or an array, and how many there are.
template <class Dense>
std::string bytes(const Dense& a) {
  return std::to_string(a.size()) + ":" + (a.size() > 0 ? bytes(a.data(), Index(a.size())) : "");
}

/// Gradients and statistics of the last forward and backward.
template <class Layer>
std::string results(const Layer& layer) {
  std::string s = bytes(layer.dgamma()) + bytes(layer.rstd());
  if constexpr (has_beta<Layer>) s += bytes(layer.dbeta());
  if constexpr (has_mean<Layer>) s += bytes(layer.mean());
  return s;
}

/// Running statistics and their counter; empty for layers without.
template <class Layer>
std::string running(const Layer& layer) {
  if constexpr (has_running<Layer>) {
    return bytes(layer.running_mean()) + bytes(layer.running_var()) + std::to_string(layer.num_batches_tracked());
  } else {
    return {};
  }
}

template <class Layer>
inline constexpr bool whitens = false;
template <class Scalar>
inline constexpr bool whitens<tensornorm::Whitening<Scalar>> = true;

/// Everything the protocol lets a caller see, bit for bit.
template <class Layer>
std::string state(const Layer& layer) {
  if constexpr (whitens<Layer>) {
    return bytes(layer.gamma()) + bytes(layer.beta()) + bytes(layer.dgamma()) + bytes(layer.dbeta()) +
           bytes(layer.running_mean()) + bytes(layer.running_whitening()) + bytes(layer.mean()) +
           bytes(layer.whitening()) + std::to_string(layer.num_batches_tracked()) +
           (layer.training() ? "train" : "eval");
  } else {
    std::string s = results(layer) + running(layer) + bytes(layer.gamma());
    if constexpr (has_beta<Layer>) s += bytes(layer.beta());
    return s + (layer.training() ? "train" : "eval");
  }
}

template <class Scalar, int Layout>
using Tensor4 = Eigen::Tensor<Scalar, 4, Layout>;

/// Normal numbers about 0.5, in the order of memory.
template <class Scalar, int Layout>
Tensor4<Scalar, Layout> drawn(const Extents& extents, unsigned seed) {
  Tensor4<Scalar, Layout> result(extents[0], extents[1], extents[2], extents[3]);
  const Values values = normal(count(extents), seed, 0.5);
  for (Index i = 0; i < result.size(); ++i) result.data()[i] = from_double<Scalar>(values[std::size_t(i)]);
  return result;
}

/// What a call that must be refused says.
template <class Call>
std::string refusal_of(const Call& call) {
  try {
    call();
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "no error";
}

/// gamma not 1, beta not 0, running statistics not their defaults.
template <class Layer>
void stir(Layer& layer) {
  const auto ramp = [](auto& a, double first, double step) {
    Values values;
    for (Index i = 0; i < a.size(); ++i) values.push_back(first + step * double(i % 11));
    assign(a, values);
  };
  ramp(layer.gamma(), 0.75, 0.125);
  if constexpr (has_beta<Layer>) ramp(layer.beta(), -0.5, 0.0625);
  if constexpr (has_running<Layer>) {
    ramp(layer.running_mean(), 0.25, -0.125);
    ramp(layer.running_var(), 0.5, 0.25);
  }
}

/// A layer as the oracle sees it: who shares what, and whether the mean is subtracted.
struct Kind {
  std::string name;
  Sets sets;
  Centred centred = Centred::kYes;
};

/// Offers use(kind, layer) one stirred layer of each kind for x of these extents, rank 2 or more; axis 0 is the batch.
/// LayerNorm and RMSNorm normalize over all other axes; InstanceNorm tracks and has gamma and beta as BatchNorm has.
template <class Scalar, class Use>
void for_each_layer(const Extents& extents, int channel_axis, double eps, Use use) {
  using namespace tensornorm;
  const int rank = int(extents.size()), axis = channel_axis < 0 ? channel_axis + rank : channel_axis;
  const Index c = extents[std::size_t(axis)];
  const Index groups = c % 4 == 0 ? 4 : c % 3 == 0 ? 3 : 1;
  const Extents trailing(extents.begin() + 1, extents.end());
  const std::string suffix =
      "<" + name_of<Scalar>() + "> x " + text(extents) + " channel_axis " + std::to_string(channel_axis);
  const auto offer = [&](const char* name, Sets sets, Centred centred, auto layer) {
    stir(layer);
    use(Kind{name + suffix, std::move(sets), centred}, layer);
  };
  const auto with = [&](auto options) {
    options.eps = eps;
    return options;
  };
  BatchNormOptions bn = with(BatchNormOptions{});
  bn.channel_axis = channel_axis;
  offer("BatchNorm", batch_sets(extents, axis), Centred::kYes, BatchNorm<Scalar>(c, bn));
  if (rank > 2) {  // one value per instance is InstanceNorm's error
    InstanceNormOptions in = with(InstanceNormOptions{});
    in.channel_axis = channel_axis;
    in.affine = in.track_running_stats = true;
    offer("InstanceNorm", instance_sets(extents, axis), Centred::kYes, InstanceNorm<Scalar>(c, in));
  }
  GroupNormOptions gn = with(GroupNormOptions{});
  gn.channel_axis = channel_axis;
  offer("GroupNorm", group_sets(extents, axis, groups), Centred::kYes, GroupNorm<Scalar>(groups, c, gn));
  if (count(trailing) == 0) return;  // no row is empty: its extents are the layer's
  offer("LayerNorm", row_sets(extents, rank - 1), Centred::kYes, LayerNorm<Scalar>(trailing, with(LayerNormOptions{})));
  offer("RMSNorm", row_sets(extents, rank - 1), Centred::kNo, RMSNorm<Scalar>(trailing, with(RMSNormOptions{})));
}

template <class Scalar, class Use>
void for_each_layer(const Extents& extents, int channel_axis, Use use) {
  for_each_layer<Scalar>(extents, channel_axis, 1e-5, use);
}

/// The values as Scalar holds them.
template <class Scalar>
Values rounded(Values values) {
  for (double& v : values) v = to_double(from_double<Scalar>(v));
  return values;
}

/// beta of parameter p, zero for a layer without.
template <class Layer>
double beta_of(const Layer& layer, Index p) {
  if constexpr (has_beta<Layer>) {
    if (layer.beta().size() > 0) return double(layer.beta()[p]);
  }
  return 0;
}

}  // namespace tensornorm_test
