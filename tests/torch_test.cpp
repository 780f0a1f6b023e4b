// Every layer against PyTorch's, forward, running statistics and gradients, in configurations drawn at random.
//
// PyTorch computes in double on what our tensors hold, so two things may part the results: what we promise to be off
// (sweep.hpp), and PyTorch's own rounding (torch_share). A configuration is made from its seed alone:
// TENSORNORM_TORCH_SEED=s TENSORNORM_TORCH_COUNT=n torch_test runs s, s + 1, ... s + n - 1.
//
// Where they differ (README, Semantics), and what becomes of it here:
//   an empty batch: ours changes nothing, PyTorch counts it                        CountsAnEmptyBatch
//   ... its GroupNorm: dgamma is 0 in ours, NaN in PyTorch                         0 is wanted
//   ... no sample for InstanceNorm: PyTorch throws                                 only_torch_refuses
//   momentum 0 and NaN: ours keeps the running value, PyTorch 0 * NaN              LetsNaNThroughAMomentumOf0
//   var + eps = 0: beta in ours, beta, NaN or noise in PyTorch                     GivesBetaOrNaN..., is_constant
//   InstanceNorm of one spatial element: ours throws, PyTorch in Python only       only_ours_refuses
//   InstanceNorm of a matrix: (N, C) in ours, one sample (C, L) in PyTorch         torch_oracle.cpp
//   InstanceNorm's counter and cumulative average: PyTorch has none                torch_oracle.cpp
//   unbiased_running_var = false, LayerNorm without beta: 1.13 has neither         torch_oracle.cpp, compare
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <initializer_list>
#include <iostream>
#include <random>
#include <string>

#include <tensornorm/tensornorm.hpp>

#include "every_layer.hpp"
#include "sweep.hpp"
#include "torch_oracle.hpp"

using namespace tensornorm;
using namespace tensornorm_test;

namespace {

// ---- configurations -------------------------------------------------------------------------------------------------

enum class Data { kNormal, kFewValues, kConstant };

struct Configuration {
  unsigned seed = 0;
  LayerOptions options;
  int scalar = 0;  // float, double, half, bfloat16
  bool row_major = true;
  bool loaded = false;  // running statistics that are not those a layer starts with
  double offset = 0, scale = 1, dy_scale = 1;
  Data data = Data::kNormal;
  Index misalign = 0;
  std::vector<Extents> batches;  // all are trained on, and the last is then normalized in eval mode
};

/// Draws that are the same with every standard library.
class Draw {
 public:
  explicit Draw(unsigned seed) : engine_(seed) {}

  Index below(Index n) { return Index(engine_() % std::uint_fast32_t(n)); }
  bool one_in(Index n) { return below(n) == 0; }
  template <class T>
  T of(std::initializer_list<T> values) {
    return values.begin()[below(Index(values.size()))];
  }
  double power_of_10(int least, int most) { return std::pow(10., least + (most - least) * double(below(1000)) / 1000); }

 private:
  std::mt19937 engine_;
};

constexpr int kFloat = 0, kDouble = 1, kHalf = 2, kBfloat16 = 3;

bool has_channels(const LayerOptions& o) { return o.kind != LayerKind::kLayer && o.kind != LayerKind::kRms; }
bool may_track(const LayerOptions& o) { return o.kind == LayerKind::kBatch || o.kind == LayerKind::kInstance; }

Index draw_extent(Draw& draw) {
  return draw.of<Index>(
      {1, 1, 2, 2, 3, 3, 4, 5, 6, 7, 8, 9, 12, 15, 16, 17, 24, 31, 32, 33, 49, 64, 65, 100, 128, 257});
}

/// `keep` says which axes belong to the layer. The others are new for each batch, and seldom 0.
void draw_extents(Draw& draw, Extents& extents, Index most, const std::vector<bool>& keep) {
  for (std::size_t a = 0; a < extents.size(); ++a) {
    if (!keep[a]) extents[a] = draw.one_in(100) ? 0 : draw_extent(draw);
  }
  for (Index size = count(extents); size > most; size = count(extents)) {
    Index* largest = nullptr;
    for (std::size_t a = 0; a < extents.size(); ++a) {
      if (!keep[a] && (largest == nullptr || extents[a] > *largest)) largest = &extents[a];
    }
    if (largest == nullptr || *largest == 1) return;
    *largest = std::max<Index>(*largest / 2, 1);
  }
}

Configuration draw_configuration(unsigned seed) {
  Draw draw(seed);
  Configuration c;
  c.seed = seed;
  LayerOptions& o = c.options;
  o.kind = draw.of({LayerKind::kBatch, LayerKind::kInstance, LayerKind::kGroup, LayerKind::kLayer, LayerKind::kRms});
  c.scalar = draw.of({kFloat, kFloat, kFloat, kDouble, kDouble, kDouble, kHalf, kBfloat16});
  c.row_major = draw.one_in(2);
  c.misalign = draw.of<Index>({0, 0, 1, 3});
  o.eps = draw.of({1e-5, 1e-5, 1e-5, 1e-3, 1e-8, 1e-12, 1., 100., 0.});
  o.affine = !draw.one_in(4);
  o.bias = !draw.one_in(4);
  o.track = may_track(o) && !draw.one_in(4);
  o.unbiased = !draw.one_in(4);
  o.momentum = draw.of<std::optional<double>>({0.1, 0.1, 0.01, 0.75, 0., 1., std::nullopt});
  c.loaded = o.track && draw.one_in(3);
  c.offset = draw.of({0., 0., 0., 1., -3., 30., -100., 1e3, 1e4, -1e4});
  c.scale = draw.of({1., 1., draw.power_of_10(-3, 3)});
  c.dy_scale = draw.of({1., draw.power_of_10(-3, 3)});
  c.data = draw.of({Data::kNormal, Data::kNormal, Data::kNormal, Data::kNormal, Data::kFewValues});
  if (draw.one_in(30)) c.data = Data::kConstant;

  const Index most = draw.one_in(100) ? 150000 : draw.one_in(10) ? 20000 : 3000;
  const int rank = int(draw.of<Index>({2, 3, 4, 4, 5}));
  Extents extents(std::size_t(rank), 1);
  std::vector<bool> keep(std::size_t(rank), false);
  if (has_channels(o)) {
    const int least = o.kind == LayerKind::kBatch ? 0 : 1;
    const int axis = int(draw.of<Index>({1, rank - 1, least + draw.below(rank - least)}));
    o.channel_axis = draw.one_in(2) ? axis : axis - rank;
    o.channels = extents[std::size_t(axis)] = draw_extent(draw);
    keep[std::size_t(axis)] = true;
    do o.groups = 1 + draw.below(o.channels);
    while (o.channels % o.groups != 0);
  } else {
    const auto first = std::size_t(draw.below(rank));
    for (std::size_t a = first; a < std::size_t(rank); ++a) keep[a] = true;
    std::vector<bool> leading = keep;
    leading.flip();
    draw_extents(draw, extents, most, leading);
    for (std::size_t a = first; a < std::size_t(rank); ++a)
      o.trailing.push_back(extents[a] = std::max<Index>(extents[a], 1));
  }
  for (Index b = may_track(o) ? 1 + draw.below(4) : 1; b > 0; --b) {
    draw_extents(draw, extents, most, keep);
    c.batches.push_back(extents);
  }
  if (c.scalar == kHalf) {  // dx must stay below 65504
    o.eps = std::max(o.eps, 1e-5);
    c.dy_scale = 1;
  }
  return c;
}

std::string scalar_name(int scalar) {
  return scalar == kFloat    ? name_of<float>()
         : scalar == kDouble ? name_of<double>()
         : scalar == kHalf   ? name_of<Eigen::half>()
                             : name_of<Eigen::bfloat16>();
}

std::string line(const Configuration& c) {
  const LayerOptions& o = c.options;
  std::ostringstream s;
  const auto flag = [&](bool is, const char* name) { s << (is ? ", " : ", no ") << name; };
  const char* const names[] = {"BatchNorm", "InstanceNorm", "GroupNorm", "LayerNorm", "RMSNorm"};
  s << names[int(o.kind)] << '<' << scalar_name(c.scalar) << "> of";
  for (const Extents& extents : c.batches) s << ' ' << text(extents);
  s << (c.row_major ? " RowMajor" : " ColMajor");
  if (has_channels(o)) {
    s << ", channel_axis " << o.channel_axis;
    if (o.kind == LayerKind::kGroup) s << ", groups " << o.groups;
  } else {
    s << " over " << text(o.trailing);
  }
  s << ", eps " << o.eps;
  flag(o.affine, "affine");
  if (o.kind == LayerKind::kLayer) flag(o.bias, "bias");
  if (may_track(o)) flag(o.track, "track_running_stats");
  if (o.track) {
    s << ", momentum " << (o.momentum ? std::to_string(*o.momentum) : "nullopt");
    flag(o.unbiased, "unbiased_running_var");
    flag(c.loaded, "loaded");
  }
  s << ", data "
    << (c.data == Data::kNormal      ? "normal"
        : c.data == Data::kFewValues ? "of few values"
                                     : "constant")
    << " about " << c.offset << " by " << c.scale << ", dy by " << c.dy_scale << ", misaligned by " << c.misalign
    << "; TENSORNORM_TORCH_SEED=" << c.seed << " TENSORNORM_TORCH_COUNT=1";
  return s.str();
}

Values draw_x(const Configuration& c, const Extents& extents, unsigned seed) {
  Values x = normal(count(extents), seed);
  for (double& v : x) {
    if (c.data == Data::kFewValues) v = std::round(v);
    if (c.data == Data::kConstant) v = 0;
    v = c.offset + c.scale * v;
  }
  return x;
}

// ---- what may part the results --------------------------------------------------------------------------------------

Sets sets_of(const LayerOptions& o, const Extents& extents, bool frozen) {
  const int axis = o.channel_axis < 0 ? o.channel_axis + int(extents.size()) : o.channel_axis;
  switch (o.kind) {
    case LayerKind::kBatch:
      return batch_sets(extents, axis);
    case LayerKind::kInstance:
      return frozen ? batch_sets(extents, axis) : instance_sets(extents, axis);
    case LayerKind::kGroup:
      return group_sets(extents, axis, o.groups);
    default:
      return row_sets(extents, int(o.trailing.size()));
  }
}

/// What PyTorch rounds in one number made from n: a few units of 2^-53, and n / 2 where it adds one to the next, worst
/// when all round alike. Measured: 10 units at most in 20000 configurations, 1087 in one of 12000 others, for squares
/// of few values and n = 15872.
Real torch_rounding(Real n) { return (64 + n / 2) * 0x1p-53L; }

/// The share of each statistic in its normalized values: PyTorch subtracts a rounded mean or folds it into an additive
/// constant, which costs its rounding of the largest |x| or |mean| times rstd: 6e-12 for a thousand x a hundred
/// deviations from 0.
Reals torch_share(const Values& x, const Sets& sets, const Statistics& s, Centred centred) {
  Reals share(s.rstd.size(), 1);
  for (std::size_t k = 0; k < share.size(); ++k) {
    if (centred == Centred::kYes) share[k] = std::max<Real>(1, std::abs(s.mean(k)) * s.rstd[k]);
  }
  for (std::size_t i = 0; i < x.size(); ++i) {
    const auto k = std::size_t(sets.stat[i]);
    share[k] = std::max(share[k], std::abs(Real(x[i])) * s.rstd[k]);
  }
  for (std::size_t k = 0; k < share.size(); ++k) share[k] *= torch_rounding(s.n[k]);
  return share;
}

/// Running statistics may lie thousands of deviations from x, where the promise for y is not held: x - mean, rstd and
/// their product are rounded to float, with gamma and beta rstd * gamma and the sum too.
Real far_rounding(Real scaled, Real beta, bool plain) {
  return 0x1p-24L * (plain ? 3 * scaled : 4 * scaled + std::max(scaled, beta));
}

/// What y, dx, dgamma and dbeta may differ by. The plain loops of oracle.hpp say only how large the terms are.
struct Tolerances {
  Reals y, dx, dgamma, dbeta;
};

template <class Scalar>
Tolerances tolerances(const Values& x, const Values& dy, const Sets& sets, const Statistics& stats, const Values& gamma,
                      const Values& beta, Centred centred, bool frozen) {
  const Normalized terms = oracle_forward(x, sets, stats, gamma, beta);
  const Gradients gradients = oracle_backward(x, dy, sets, stats, gamma, centred, frozen);
  Tolerances t{y_tolerance<Scalar>(terms, sets, gamma, beta), dx_tolerance<Scalar>(gradients, sets, stats, dy, gamma),
               sum_tolerance<Scalar>(gradients.dgamma, sets, dy, terms.xhat),
               sum_tolerance<Scalar>(gradients.dbeta, sets, dy, {})};
  const Reals share = torch_share(x, sets, stats, centred);
  const auto weight = [&](std::size_t i) {
    return gamma.empty() ? 1 : std::abs(Real(gamma[std::size_t(sets.param[i])]));
  };
  Reals largest(stats.rstd.size(), 0);
  for (std::size_t i = 0; i < x.size(); ++i) {
    const auto k = std::size_t(sets.stat[i]);
    largest[k] = std::max({largest[k], std::abs(Real(dy[i])) * weight(i) * stats.rstd[k], std::abs(gradients.dx[i])});
  }
  const Real sum_rounding = torch_rounding(Real(x.size()) / Real(sets.params));
  for (std::size_t i = 0; i < x.size(); ++i) {
    const auto k = std::size_t(sets.stat[i]), p = std::size_t(sets.param[i]);
    const Real b = beta.empty() ? 0 : std::abs(Real(beta[p])), scaled = weight(i) * std::abs(terms.xhat[i]);
    if (frozen && !std::is_same_v<Scalar, double>) {
      t.y[i] = std::max(t.y[i], Precision<Scalar>::stored(terms.y[i], far_rounding(scaled, b, gamma.empty())));
    }
    t.y[i] += share[k] * std::max({weight(i), b, Real(1)});
    t.dx[i] += share[k] * largest[k] * std::max<Real>(1, std::abs(terms.xhat[i]));
    t.dgamma[p] += (share[k] + sum_rounding * std::abs(terms.xhat[i])) * std::abs(Real(dy[i]));
    t.dbeta[p] += sum_rounding * std::abs(Real(dy[i]));
  }
  return t;
}

// ---- ours -----------------------------------------------------------------------------------------------------------

struct Ours {
  Values y, dx, dgamma, dbeta, inferred;
  std::string refusal;
};

/// Forward and backward in the layer's mode; in eval mode infer too.
template <class Scalar, int Rank, int Layout, class Layer>
Ours run(Layer& layer, const Extents& extents, const Values& x_values, const Values& dy_values, Index misalign) {
  Guarded<Scalar, Rank, Layout> x(extents, x_values, misalign), dy(extents, dy_values, misalign);
  Guarded<Scalar, Rank, Layout> y(extents, misalign), dx(extents, misalign), inferred(extents, misalign);
  Ours ours;
  try {
    layer.forward(x.map(), y.map());
    ours.y = y.values();
    layer.backward(x.map(), dy.map(), dx.map());
    ours.dx = dx.values();
    ours.dgamma = values_of(layer.dgamma());
    if constexpr (has_beta<Layer>) ours.dbeta = values_of(layer.dbeta());
    if (!layer.training()) {
      static_cast<const Layer&>(layer).infer(x.map(), inferred.map());
      ours.inferred = inferred.values();
    }
  } catch (const std::invalid_argument& e) {
    return {{}, {}, {}, {}, {}, e.what()};
  }
  return ours;
}

template <class Scalar, class Layer>
Ours run(Layer& layer, const Configuration& c, const Extents& extents, const Values& x, const Values& dy) {
  const auto of_rank = [&](auto rank) {
    return c.row_major ? run<Scalar, rank, kRow>(layer, extents, x, dy, c.misalign)
                       : run<Scalar, rank, kCol>(layer, extents, x, dy, c.misalign);
  };
  switch (extents.size()) {
    case 2:
      return of_rank(Int<2>{});
    case 3:
      return of_rank(Int<3>{});
    case 4:
      return of_rank(Int<4>{});
    default:
      return of_rank(Int<5>{});
  }
}

// What one library refuses and the other does not. Nothing else may be refused by one alone.
bool only_ours_refuses(const LayerOptions& o, const Extents& extents, bool frozen) {
  return o.kind == LayerKind::kInstance && !frozen && count(extents) == extents[0] * o.channels;
}
bool only_torch_refuses(const LayerOptions& o, const Extents& extents) {
  return o.kind == LayerKind::kInstance && extents[0] == 0;
}

// ---- the comparison -------------------------------------------------------------------------------------------------

struct Tally {
  int passes = 0, refused_by_both = 0, refused_by_one = 0, empty = 0, left_out = 0;
};
Tally tally;

Reals reals(const Values& values) { return Reals(values.begin(), values.end()); }

template <class Layer>
TorchState state_of(const Layer& layer) {
  TorchState state{gamma_of(layer), beta_of(layer), {}, {}, 0};
  if constexpr (has_running<Layer>) {
    state.running_mean = values_of(layer.running_mean());
    state.running_var = values_of(layer.running_var());
    state.num_batches_tracked = layer.num_batches_tracked();
  }
  return state;
}

/// One batch's step of the running statistics: the batch's moments, as exact as y, enter by `weight`, and the sum is
/// rounded to Param.
template <class Scalar>
void expect_running(const std::string& what, const Configuration& c, const TorchState& before, const TorchState& ours,
                    const TorchState& torch, const Values& x) {
  using P = Precision<Scalar>;
  const Real u = torch_rounding(Real(x.size()) / Real(c.options.channels));
  const double weight = c.options.momentum ? *c.options.momentum : 1. / double(ours.num_batches_tracked);
  Real largest = 0;
  for (const double v : x) largest = std::max(largest, std::abs(Real(v)));
  Reals mean, var;
  for (std::size_t k = 0; k < before.running_mean.size(); ++k) {
    const Real entered = torch.running_var[k] - (1 - weight) * before.running_var[k];
    const Real deviation = weight > 0 ? std::sqrt(std::max<Real>(entered / weight, 0)) : 0;
    const auto rounding = [u](Real a, Real b) {
      const Real larger = std::max(std::abs(a), std::abs(b));
      return P::ulp(larger) + u * larger;  // PyTorch averages copies of it, one a sample
    };
    mean.push_back(rounding(before.running_mean[k], torch.running_mean[k]) +
                   weight * (P::kY * deviation + u * largest));
    var.push_back(rounding(before.running_var[k], torch.running_var[k]) +
                  weight * (2 * P::kY * deviation * deviation + u * largest * (deviation + u * largest)));
  }
  expect_close(what + " running_mean()", ours.running_mean, reals(torch.running_mean), mean);
  expect_close(what + " running_var()", ours.running_var, reals(torch.running_var), var);
  EXPECT_EQ(ours.num_batches_tracked, torch.num_batches_tracked) << what;
}

/// Where var + eps is 0 ours gives beta and PyTorch, whose var is its rounding, beta, NaN or anything.
bool is_constant(const Values& x, const Statistics& s) {
  Real largest = 0;
  for (const double v : x) largest = std::max(largest, std::abs(Real(v)));
  for (std::size_t k = 0; k < s.var.size(); ++k) {
    if (s.n[k] > 0 && std::sqrt(s.var[k]) <= 1e-8 * largest) return true;
  }
  return false;
}

/// Both in the layer's mode on one tensor.
template <class Scalar, class Layer>
void compare(Layer& layer, const Configuration& c, const Extents& extents, unsigned seed, const std::string& what) {
  const LayerOptions& o = c.options;
  const bool training = layer.training(), frozen = !training && o.track;
  const Values x = rounded<Scalar>(draw_x(c, extents, seed));
  const Values dy = rounded<Scalar>(normal(count(extents), seed + 1, 0.1 * c.dy_scale, c.dy_scale));
  const TorchState before = state_of(layer);
  const Sets sets = sets_of(o, extents, frozen);
  const Centred centred = o.kind == LayerKind::kRms ? Centred::kNo : Centred::kYes;
  const Statistics stats = frozen ? frozen_statistics(before.running_mean, before.running_var, o.eps)
                                  : oracle_statistics(x, sets, o.eps, centred);
  if (o.eps == 0 && is_constant(x, stats)) return void(++tally.left_out);
  TorchState torch = before;
  if (o.kind == LayerKind::kLayer && o.affine && !o.bias) torch.beta = Values(torch.gamma.size(), 0);
  const TorchResult want = run_torch(o, torch, extents, x, dy, training);
  const Ours got = run<Scalar>(layer, c, extents, x, dy);
  const TorchState after = state_of(layer);
  ++tally.passes;

  if (!got.refusal.empty() || !want.refusal.empty()) {
    const bool ours = !got.refusal.empty(), theirs = !want.refusal.empty();
    const bool known = (ours || only_torch_refuses(o, extents)) && (theirs || only_ours_refuses(o, extents, frozen));
    ++(ours && theirs ? tally.refused_by_both : tally.refused_by_one);
    EXPECT_TRUE(known) << what << ": ours says \"" << got.refusal << "\" and PyTorch \"" << want.refusal << '"';
    return;
  }
  tally.empty += x.empty();
  const Tolerances t = tolerances<Scalar>(x, dy, sets, stats, before.gamma, before.beta, centred, frozen);
  expect_close(what + " y", got.y, reals(want.y), t.y);
  expect_close(what + " dx", got.dx, reals(want.dx), t.dx);
  // Of no elements: 0, where the GroupNorm of PyTorch gives NaN.
  const Reals dgamma = x.empty() ? Reals(want.dgamma.size(), 0) : reals(want.dgamma);
  if (!before.gamma.empty()) expect_close(what + " dgamma()", got.dgamma, dgamma, t.dgamma);
  if (!before.beta.empty()) expect_close(what + " dbeta()", got.dbeta, reals(want.dbeta), t.dbeta);
  if (!training) expect_close(what + " y of infer", got.inferred, reals(want.y), t.y);
  if (o.track && training && !x.empty()) {
    expect_running<Scalar>(what, c, before, after, torch, x);
  } else {
    EXPECT_EQ(after.running_mean, before.running_mean) << what;
    EXPECT_EQ(after.running_var, before.running_var) << what;
    EXPECT_EQ(after.num_batches_tracked, before.num_batches_tracked) << what;
  }
}

template <class Scalar, class Layer>
void check(Layer layer, const Configuration& c, const std::string& what) {
  if (layer.gamma().size() > 0) draw_parameters(layer, c.seed + 1);
  if constexpr (has_running<Layer>) {
    if (c.loaded) {
      assign(layer.running_mean(), normal(c.options.channels, c.seed + 2, c.offset, c.scale));
      Values var = normal(c.options.channels, c.seed + 3);
      for (double& v : var) v = c.scale * c.scale * (0.5 + v * v);
      assign(layer.running_var(), var);
      layer.num_batches_tracked() = 3;
    }
  }
  unsigned seed = c.seed * 100;
  for (std::size_t b = 0; b < c.batches.size(); ++b) {
    compare<Scalar>(layer, c, c.batches[b], seed += 2, "in train mode, batch " + std::to_string(b) + " of " + what);
  }
  layer.eval();
  compare<Scalar>(layer, c, c.batches.back(), seed += 2, "in eval mode, " + what);
}

template <class Scalar>
void check(const Configuration& c) {
  const LayerOptions& o = c.options;
  const std::string what = line(c);
  const auto channels = [&](auto options) {
    options.eps = o.eps;
    options.affine = o.affine;
    options.channel_axis = o.channel_axis;
    return options;
  };
  const auto tracking = [&](auto options) {
    options.momentum = o.momentum;
    options.track_running_stats = o.track;
    options.unbiased_running_var = o.unbiased;
    return channels(options);
  };
  switch (o.kind) {
    case LayerKind::kBatch:
      return check<Scalar>(BatchNorm<Scalar>(o.channels, tracking(BatchNormOptions{})), c, what);
    case LayerKind::kInstance:
      return check<Scalar>(InstanceNorm<Scalar>(o.channels, tracking(InstanceNormOptions{})), c, what);
    case LayerKind::kGroup:
      return check<Scalar>(GroupNorm<Scalar>(o.groups, o.channels, channels(GroupNormOptions{})), c, what);
    case LayerKind::kLayer: {
      LayerNormOptions options;
      options.eps = o.eps, options.affine = o.affine, options.bias = o.bias;
      return check<Scalar>(LayerNorm<Scalar>(o.trailing, options), c, what);
    }
    case LayerKind::kRms: {
      RMSNormOptions options;
      options.eps = o.eps, options.affine = o.affine;
      return check<Scalar>(RMSNorm<Scalar>(o.trailing, options), c, what);
    }
  }
}

// ---- the differences that README states ----------------------------------------------------------------------------

const double kNaN = std::nan("");

TEST(Torch, CountsAnEmptyBatch) {
  LayerOptions options;
  options.channels = 3;
  BatchNorm<double> layer(3);
  TorchState torch = state_of(layer);
  Guarded<double, 2, kRow> x({0, 3}), y({0, 3});
  layer.forward(x.map(), y.map());
  run_torch(options, torch, {0, 3}, {}, {}, true);
  EXPECT_EQ(layer.num_batches_tracked(), 0);
  EXPECT_EQ(torch.num_batches_tracked, 1);
  EXPECT_EQ(torch.running_mean, values_of(layer.running_mean()));
  EXPECT_EQ(torch.running_var, values_of(layer.running_var()));
}

TEST(Torch, LetsNaNThroughAMomentumOf0) {
  LayerOptions options;
  options.channels = 1;
  options.momentum = 0;
  BatchNormOptions ours;
  ours.momentum = 0;
  BatchNorm<double> layer(1, ours);
  TorchState torch = state_of(layer);
  Guarded<double, 2, kRow> x({2, 1}, {kNaN, 1}), y({2, 1});
  layer.forward(x.map(), y.map());
  run_torch(options, torch, {2, 1}, x.values(), {1, 1}, true);
  EXPECT_EQ(layer.running_mean()[0], 0);
  EXPECT_TRUE(std::isnan(torch.running_mean[0]));
}

TEST(Torch, GivesBetaOrNaNOfNoVarianceAndNoEps) {
  LayerNormOptions ours;
  ours.eps = 0;
  LayerNorm<double> layer({4}, ours);
  draw_parameters(layer, 1);
  TorchState torch = state_of(layer);
  LayerOptions options;
  options.kind = LayerKind::kLayer;
  options.trailing = {4};
  options.eps = 0;
  options.track = false;
  Guarded<double, 2, kRow> x({1, 4}, {3, 3, 3, 3}), y({1, 4});
  layer.forward(x.map(), y.map());
  EXPECT_EQ(y.values(), torch.beta);
  for (const double v : run_torch(options, torch, {1, 4}, x.values(), x.values(), true).y) EXPECT_TRUE(std::isnan(v));
}

// ---- all others -----------------------------------------------------------------------------------------------------

unsigned from_environment(const char* name, unsigned otherwise) {
  const char* const value = std::getenv(name);
  return value == nullptr ? otherwise : unsigned(std::stoul(value));
}

TEST(Torch, AgreesInConfigurationsDrawnAtRandom) {
  const unsigned first = from_environment("TENSORNORM_TORCH_SEED", 1);
  const unsigned n = from_environment("TENSORNORM_TORCH_COUNT", 3000);
  for (unsigned seed = first; seed < first + n; ++seed) {
    const Configuration c = draw_configuration(seed);
    switch (c.scalar) {
      case kFloat:
        check<float>(c);
        break;
      case kDouble:
        check<double>(c);
        break;
      case kHalf:
        check<Eigen::half>(c);
        break;
      default:
        check<Eigen::bfloat16>(c);
    }
  }
  std::cout << n << " configurations, " << tally.passes << " forward and backward passes, " << tally.empty
            << " of an empty tensor; left out " << tally.left_out << ", refused by both " << tally.refused_by_both
            << ", by one " << tally.refused_by_one << '\n';
}

}  // namespace
