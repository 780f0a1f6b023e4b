// ONNX's node tests of the operators that are our layers, as an importer of models would run them. The data and what
// they are: onnx/generate.py. Outputs there are double and held to our own accuracy, not to ONNX's tolerance of 1e-3.
#include <algorithm>
#include <cmath>
#include <fstream>
#include <map>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <tensornorm/tensornorm.hpp>

#include "sweep.hpp"

using namespace tensornorm;
using namespace tensornorm_test;

namespace {

// ---- data

struct Tensor {
  Extents extents;
  Values values;
};

struct Case {
  std::map<std::string, double> attributes;
  std::vector<Tensor> inputs, outputs;  // in the operator's order

  double attribute(const char* name, double otherwise) const {
    const auto found = attributes.find(name);
    return found == attributes.end() ? otherwise : found->second;
  }
};

Tensor read_tensor(std::istream& in) {
  Tensor tensor;
  for (std::string extent; in >> extent && extent != ":";) tensor.extents.push_back(std::stol(extent));
  tensor.values.resize(std::size_t(count(tensor.extents)));
  for (double& v : tensor.values) in >> v;
  return tensor;
}

/// The cases of one operator by name.
std::map<std::string, Case> read_cases(const std::string& name) {
  const std::string path = TENSORNORM_TEST_DATA "/" + name + ".txt";
  std::ifstream in(path);
  std::map<std::string, Case> cases;
  Case* last = nullptr;
  std::string comment, word;
  std::getline(in, comment);
  while (in >> word) {
    std::string of;
    in >> of;
    if (word == "case") {
      last = &cases[of];
    } else if (last != nullptr && word == "attribute") {
      in >> last->attributes[of];
    } else if (last != nullptr && (word == "input" || word == "output")) {
      (word == "input" ? last->inputs : last->outputs).push_back(read_tensor(in));
    } else {
      throw std::runtime_error(path + ": neither a case nor part of one: " + word);
    }
    if (!in) throw std::runtime_error(path + ": no number where one is due in " + word + " " + of);
  }
  if (cases.empty()) throw std::runtime_error("no cases in " + path);
  return cases;
}

// ---- what a layer gives

/// What y_tolerance wants to know: xhat follows from the y of the data.
Normalized wanted(const Tensor& y, const Sets& sets, const Values& gamma, const Values& beta) {
  Normalized want;
  for (std::size_t i = 0; i < y.values.size(); ++i) {
    const auto p = std::size_t(sets.param[i]);
    want.y.push_back(y.values[i]);
    want.xhat.push_back((want.y[i] - (beta.empty() ? 0 : Real(beta[p]))) / (gamma.empty() ? 1 : Real(gamma[p])));
  }
  return want;
}

/// Forward of a copy of `layer` in both layouts gives y. Then `check_rest` looks at what else that copy gives.
template <int... Ranks, class Layer, class CheckRest>
void expect_y(const Layer& layer, const Tensor& x, const Tensor& y, const Sets& sets, const std::string& what,
              CheckRest check_rest) {
  ASSERT_EQ(x.extents, y.extents);
  const Values gamma = gamma_of(layer), beta = beta_of(layer);
  const Normalized want = wanted(y, sets, gamma, beta);
  in_both_layouts<Ranks...>(x.extents, [&](auto rank, auto layout) {
    const std::string where = what + layout_name(layout);
    Layer copy = layer;
    Guarded<float, rank, layout> in(x.extents, x.values), out(x.extents);
    copy.forward(in.map(), out.map());
    expect_close(where + " y", out.values(), want.y, y_tolerance<float>(want, sets, gamma, beta));
    EXPECT_TRUE(out.guards_intact()) << where << ": forward wrote outside y";
    check_rest(copy, where);
  });
}

constexpr auto kNothing = [](const auto&, const std::string&) {};

Tensor channels_last(const Tensor& nchw) {
  const Extents& e = nchw.extents;
  return {{e[0], e[2], e[3], e[1]}, permuted(nchw.values, e, {0, 2, 3, 1})};
}

/// The layers over channels, channels first as ONNX has them and last. make(channel_axis) is the layer.
template <class Make, class CheckRest>
void expect_y_of_channels(const Case& c, Make make, CheckRest check_rest) {
  const Tensor &x = c.inputs.at(0), &y = c.outputs.at(0);
  expect_y<4>(make(1), x, y, batch_sets(x.extents, 1), "channels first, ", check_rest);
  const Tensor last = channels_last(x);
  expect_y<4>(make(-1), last, channels_last(y), batch_sets(last.extents, 3), "channels last, ", check_rest);
}

// ---- operators

template <class Options>
Options options_of(const Case& c, Index channel_axis) {
  Options options;
  options.eps = c.attribute("epsilon", 1e-5);
  options.affine = true;
  options.channel_axis = channel_axis;
  return options;
}

template <class Layer>
Layer with_parameters(Layer layer, const Case& c) {
  assign(layer.gamma(), c.inputs.at(1).values);
  if constexpr (HasBeta<Layer>::value) assign(layer.beta(), c.inputs.at(2).values);
  return layer;
}

void batch_normalization(const Case& c) {
  const bool training = c.attribute("training_mode", 0) != 0;
  const Values &mean = c.inputs.at(3).values, &var = c.inputs.at(4).values;
  const auto make = [&](Index channel_axis) {
    auto options = options_of<BatchNormOptions>(c, channel_axis);
    options.momentum = 1 - c.attribute("momentum", 0.9);
    options.unbiased_running_var = false;
    auto layer = with_parameters(BatchNorm<float>(c.inputs.at(0).extents[1], options), c);
    assign(layer.running_mean(), mean);
    assign(layer.running_var(), var);
    if (!training) layer.eval();
    return layer;
  };
  // One rounding of the sum, and a batch variance from squares in float: two spacings of the larger of old and new.
  const auto expect_running = [](const std::string& what, const Values& got, const Values& before, const Values& want) {
    Reals tolerance;
    for (std::size_t i = 0; i < want.size(); ++i) {
      tolerance.push_back(2 * Precision<float>::ulp(std::max(std::abs(want[i]), std::abs(before[i]))));
    }
    expect_close(what, got, Reals(want.begin(), want.end()), tolerance);
  };
  expect_y_of_channels(c, make, [&](const auto& layer, const std::string& where) {
    expect_running(where + " running_mean", values_of(layer.running_mean()), mean,
                   training ? c.outputs.at(1).values : mean);
    expect_running(where + " running_var", values_of(layer.running_var()), var,
                   training ? c.outputs.at(2).values : var);
  });
}

void instance_normalization(const Case& c) {
  const auto make = [&](Index channel_axis) {
    const auto options = options_of<InstanceNormOptions>(c, channel_axis);
    return with_parameters(InstanceNorm<float>(c.inputs.at(0).extents[1], options), c);
  };
  expect_y_of_channels(c, make, kNothing);
}

void group_normalization(const Case& c) {
  const auto make = [&](Index channel_axis) {
    const auto options = options_of<GroupNormOptions>(c, channel_axis);
    const auto groups = Index(c.attributes.at("num_groups"));
    return with_parameters(GroupNorm<float>(groups, c.inputs.at(0).extents[1], options), c);
  };
  expect_y_of_channels(c, make, kNothing);
}

/// How many axes are normalized over: those from `axis` on, which may be negative.
int trailing_axes(const Case& c) {
  const int axis = int(c.attribute("axis", -1)), rank = int(c.inputs.at(0).extents.size());
  return axis < 0 ? -axis : rank - axis;
}

Extents row_of(const Case& c) {
  const Extents& x = c.inputs.at(0).extents;
  return Extents(x.end() - trailing_axes(c), x.end());
}

void layer_normalization(const Case& c) {
  using P = Precision<float>;
  const Tensor& x = c.inputs.at(0);
  const Values &mean = c.outputs.at(1).values, &rstd = c.outputs.at(2).values;
  LayerNormOptions options;
  options.eps = c.attribute("epsilon", 1e-5);
  const auto layer = with_parameters(LayerNorm<float>(row_of(c), options), c);
  Reals mean_tolerance, rstd_tolerance;
  for (std::size_t i = 0; i < rstd.size(); ++i) {
    const Real deviation = std::sqrt(std::max(1 / (Real(rstd[i]) * Real(rstd[i])) - Real(options.eps), Real(0)));
    mean_tolerance.push_back(std::max(P::ulp(mean[i]), P::kY / 2 * deviation));
    rstd_tolerance.push_back(P::kY * Real(rstd[i]));
  }
  const auto expect_statistics = [&](const auto& done, const std::string& where) {
    expect_close(where + " Mean", values_of(done.mean()), Reals(mean.begin(), mean.end()), mean_tolerance);
    expect_close(where + " InvStdDev", values_of(done.rstd()), Reals(rstd.begin(), rstd.end()), rstd_tolerance);
  };
  expect_y<2, 3, 4>(layer, x, c.outputs.at(0), row_sets(x.extents, trailing_axes(c)), "", expect_statistics);
}

void rms_normalization(const Case& c) {
  const Tensor& x = c.inputs.at(0);
  RMSNormOptions options;
  options.eps = c.attribute("epsilon", 1e-5);
  const auto layer = with_parameters(RMSNorm<float>(row_of(c), options), c);
  expect_y<2, 3, 4>(layer, x, c.outputs.at(0), row_sets(x.extents, trailing_axes(c)), "", kNothing);
}

/// Over its default axes, 0, 2 and 3. The 1e-9 that ONNX adds to the standard deviation is no eps of ours; it moves y
/// by 1e-9 / deviation, less than a float shows unless deviations are below 1e-2.
void mean_variance_normalization(const Case& c) {
  ASSERT_EQ(c.attributes.count("axes"), 0U);
  const auto make = [&](Index channel_axis) {
    BatchNormOptions options;
    options.eps = 0;
    options.affine = false;
    options.track_running_stats = false;
    options.channel_axis = channel_axis;
    return BatchNorm<float>(c.inputs.at(0).extents[1], options);
  };
  expect_y_of_channels(c, make, kNothing);
}

// ---- cases

struct Operator {
  void (*run)(const Case&);
  std::set<std::string> cases;
};

/// Every axis of three shapes, from either end, and the default one.
std::set<std::string> trailing_cases(const std::string& prefix) {
  std::set<std::string> names{prefix + "_default_axis"};
  for (int rank = 2; rank <= 4; ++rank) {
    const std::string of_rank = prefix + "_" + std::to_string(rank) + "d_axis", suffix = rank == 3 ? "_epsilon" : "";
    for (int axis = 0; axis < rank; ++axis) {
      names.insert(of_rank + std::to_string(axis) + suffix);
      names.insert(of_rank + "_negative_" + std::to_string(axis + 1) + suffix);
    }
  }
  return names;
}

/// By the name of its file.
const std::map<std::string, Operator>& operators() {
  static const std::map<std::string, Operator> all{
      {"batch_normalization",
       {batch_normalization,
        {"test_batchnorm_example_old", "test_batchnorm_epsilon_old", "test_batchnorm_example", "test_batchnorm_epsilon",
         "test_batchnorm_example_training_mode", "test_batchnorm_epsilon_training_mode"}}},
      {"instance_normalization", {instance_normalization, {"test_instancenorm_example", "test_instancenorm_epsilon"}}},
      {"group_normalization",
       {group_normalization, {"test_group_normalization_example", "test_group_normalization_epsilon"}}},
      {"layer_normalization", {layer_normalization, trailing_cases("test_layer_normalization")}},
      {"rms_normalization", {rms_normalization, trailing_cases("test_rms_normalization")}},
      {"mean_variance_normalization", {mean_variance_normalization, {"test_mvn"}}},
  };
  return all;
}

using Node = std::pair<std::string, std::string>;  // operator, case

std::vector<Node> nodes() {
  std::vector<Node> all;
  for (const auto& [name, op] : operators()) {
    for (const std::string& case_name : op.cases) all.emplace_back(name, case_name);
  }
  return all;
}

class Onnx : public testing::TestWithParam<Node> {};

TEST_P(Onnx, Node) {
  const auto& [name, case_name] = GetParam();
  operators().at(name).run(read_cases(name).at(case_name));
}

INSTANTIATE_TEST_SUITE_P(Normalization, Onnx, testing::ValuesIn(nodes()),
                         [](const auto& node) { return node.param.second; });

TEST(OnnxData, HasTheCasesThatAreTestedAndNoOthers) {
  for (const auto& [name, op] : operators()) {
    std::set<std::string> names;
    for (const auto& named : read_cases(name)) names.insert(named.first);
    EXPECT_EQ(names, op.cases) << name;
  }
}

}  // namespace
