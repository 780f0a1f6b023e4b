// The functions: the bits of the layers, whose parameters they take from anybody's memory; parameters that broadcast,
// against plain loops in double.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <map>

#define EIGEN_USE_THREADS
#include <tensornorm/functional.hpp>
#include <tensornorm/tensornorm.hpp>

#include "counted_malloc.hpp"
#include "every_layer.hpp"

namespace tensornorm_test {
namespace {

using namespace tensornorm;
using Eigen::ArrayXf;

Index at(const std::vector<Index>& v, int d) { return v[std::size_t(d)]; }

// ---- plain loops in double

struct Expected {
  Values y, dx, dgamma, dbeta;
};

// Statistics over the elements of one set; gamma and beta as they broadcast to x, row-major.
Expected plain(const Extents& extents, const Values& x, const Values& dy,
               const std::function<std::string(const Extents&)>& set_of, const Extents& param_extents,
               const Values& gamma, const Values& beta, double eps, bool centred) {
  const std::size_t n = x.size();
  std::vector<std::size_t> param(n);
  std::vector<std::string> set(n);
  std::map<std::string, std::vector<std::size_t>> sets;
  for (std::size_t i = 0; i < n; ++i) {
    Extents index(extents.size());
    Index rest = Index(i), p = 0, stride = 1;
    for (std::size_t d = extents.size(); d-- > 0; rest /= extents[d]) index[d] = rest % extents[d];
    for (std::size_t d = extents.size(); d-- > 0;) {
      if (param_extents[d] == 1) continue;
      p += index[d] * stride;
      stride *= param_extents[d];
    }
    param[i] = std::size_t(p);
    sets[set_of(index)].push_back(i);
  }
  Expected e{Values(n), Values(n), Values(gamma.size()), Values(gamma.size())};
  for (const auto& [name, members] : sets) {
    const double m = double(members.size());
    double mean = 0, var = 0, g_sum = 0, gx_sum = 0;
    for (const auto i : members) mean += centred ? x[i] / m : 0;
    for (const auto i : members) var += (x[i] - mean) * (x[i] - mean) / m;
    const double rstd = 1 / std::sqrt(var + eps);
    for (const auto i : members) {
      const double xhat = (x[i] - mean) * rstd, g = dy[i] * gamma[param[i]];
      e.y[i] = xhat * gamma[param[i]] + beta[param[i]];
      e.dgamma[param[i]] += dy[i] * xhat;
      e.dbeta[param[i]] += dy[i];
      g_sum += g;
      gx_sum += g * xhat;
    }
    for (const auto i : members) {
      const double xhat = (x[i] - mean) * rstd;
      e.dx[i] = rstd * (dy[i] * gamma[param[i]] - (centred ? g_sum / m : 0) - xhat * gx_sum / m);
    }
  }
  return e;
}

void expect_near(const char* what, const std::vector<float>& got, const Values& want, const std::string& name) {
  double worst = 0;
  for (std::size_t i = 0; i < want.size(); ++i) {
    worst = std::max(worst, std::abs(double(got[i]) - want[i]) / std::max(1.0, std::abs(want[i])));
  }
  EXPECT_LE(worst, 4e-6) << name << ": " << what;
}

std::vector<float> floats(const Values& values) { return {values.begin(), values.end()}; }
Values rounded_floats(Values values) {
  for (double& v : values) v = double(float(v));
  return values;
}

std::string key(const Extents& index, const std::vector<int>& kept) {
  std::string s;
  for (const int d : kept) s += std::to_string(at(index, d)) + ",";
  return s;
}

// A function whose statistics are kept along some axes, with parameters of these extents, forward and backward.
template <class Forward, class Backward>
void expect_plain(const std::string& name, const Extents& extents, const std::vector<int>& kept, Index group_channels,
                  const Extents& param_extents, bool centred, const Forward& forward, const Backward& backward) {
  const Values x = rounded_floats(normal(count(extents), 1)), dy = rounded_floats(normal(count(extents), 2));
  const Values gamma = rounded_floats(normal(count(param_extents), 3)),
               beta = rounded_floats(normal(count(param_extents), 4));
  const auto set_of = [&](const Extents& index) {
    return key(index, kept) + (group_channels > 0 ? std::to_string(index[1] / group_channels) : "");
  };
  const Expected want =
      plain(extents, x, dy, set_of, param_extents, gamma, centred ? beta : Values(beta.size()), 1e-5, centred);
  const std::vector<float> xs = floats(x), dys = floats(dy), gs = floats(gamma), bs = floats(beta);
  std::vector<float> y(x.size()), dx(x.size()), dgamma(gs.size()), dbeta(gs.size());
  Pass<float> pass;
  const auto in = view(xs.data(), extents), d = view(dys.data(), extents), g = view(gs.data(), param_extents),
             b = view(bs.data(), param_extents);
  forward(in, g, b, view(y.data(), extents), pass);
  expect_near("y", y, want.y, name);
  backward(in, d, g, pass, view(dx.data(), extents), view(dgamma.data(), param_extents),
           view(dbeta.data(), param_extents));
  expect_near("dx", dx, want.dx, name);
  for (double scale : {double(x.size()) / double(gs.size())}) {
    Values dg = want.dgamma, db = want.dbeta;
    for (double& v : dg) v /= scale;
    for (double& v : db) v /= scale;
    for (float& v : dgamma) v /= float(scale);
    for (float& v : dbeta) v /= float(scale);
    expect_near("dgamma", dgamma, dg, name);
    if (centred) expect_near("dbeta", dbeta, db, name);
  }

  // Behind a clip: away from the bounds, where rounding decides. Behind a product.
  const Values z = rounded_floats(normal(count(extents), 5));
  constexpr double kLow = -0.5, kHigh = 0.75;
  Values of_clip = dy, kept_dy = dy, of_product = dy, clipped = want.y, product = want.y, want_dz = dy;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double v = want.y[i];
    if (std::min(std::abs(v - kLow), std::abs(v - kHigh)) < 1e-4) kept_dy[i] = 0;
    of_clip[i] = v > kLow && v < kHigh ? kept_dy[i] : 0;
    of_product[i] = double(float(dy[i]) * float(z[i]));
    clipped[i] = std::min(std::max(v, kLow), kHigh);
    product[i] = v * z[i];
    want_dz[i] = dy[i] * v;
  }
  const std::vector<float> zs = floats(z), kept_dys = floats(kept_dy);
  std::vector<float> dz(x.size());
  const auto kept_d = view(kept_dys.data(), extents), factor = view(zs.data(), extents);
  const auto expect_dx = [&](const char* what, const Values& of_result) {
    const Expected e =
        plain(extents, x, of_result, set_of, param_extents, gamma, centred ? beta : Values(beta.size()), 1e-5, centred);
    expect_near(what, dx, e.dx, name);
  };
  forward(in, g, b, then_clip(view(y.data(), extents), kLow, kHigh), pass);
  expect_near("clipped y", y, clipped, name);
  backward(in, then_clip(kept_d, kLow, kHigh), g, pass, view(dx.data(), extents), kNone, kNone);
  expect_dx("dx behind a clip", of_clip);
  forward(in, g, b, then_times(view(y.data(), extents), factor), pass);
  expect_near("product", y, product, name);
  backward(in, then_times(d, factor, view(dz.data(), extents)), g, pass, view(dx.data(), extents), kNone, kNone);
  expect_dx("dx behind a product", of_product);
  expect_near("dz", dz, want_dz, name);
}

// Every way that parameters of some extents can broadcast to x.
std::vector<Extents> broadcasts(const Extents& extents) {
  std::vector<Extents> result;
  for (unsigned set = 0; set < (1u << extents.size()); ++set) {
    Extents e = extents;
    for (std::size_t d = 0; d < e.size(); ++d) e[d] = (set >> d & 1) != 0 ? e[d] : 1;
    result.push_back(e);
  }
  return result;
}

TEST(Broadcast, LayerNorm) {
  for (const Extents& extents : {Extents{3, 5, 24}, Extents{2, 40, 7}, Extents{4, 3, 70}}) {
    for (const Extents& p : broadcasts(extents)) {
      expect_plain(
          "layer_norm " + text(extents) + " by " + text(p), extents, {0, 1}, 0, p, true,
          [](auto x, auto g, auto b, auto y, auto& pass) { layer_norm(x, g, b, 1e-5, y, pass); },
          [](auto x, auto dy, auto g, auto& pass, auto dx, auto dg, auto db) {
            layer_norm_backward(x, dy, g, pass, dx, dg, db);
          });
    }
  }
}

TEST(Broadcast, RMSNorm) {
  for (const Extents& p : broadcasts({3, 5, 24})) {
    expect_plain(
        "rms_norm by " + text(p), {3, 5, 24}, {0, 1}, 0, p, false,
        [](auto x, auto g, auto, auto y, auto& pass) { rms_norm(x, g, 1e-5, y, pass); },
        [](auto x, auto dy, auto g, auto& pass, auto dx, auto dg, auto) { rms_norm_backward(x, dy, g, pass, dx, dg); });
  }
}

TEST(Broadcast, GroupNorm) {
  for (const Extents& extents : {Extents{3, 8, 5, 6}, Extents{2, 12, 40}}) {
    for (const Extents& p : broadcasts(extents)) {
      expect_plain(
          "group_norm " + text(extents) + " by " + text(p), extents, {0}, extents[1] / 4, p, true,
          [](auto x, auto g, auto b, auto y, auto& pass) { group_norm(x, 4, g, b, 1e-5, y, pass); },
          [](auto x, auto dy, auto g, auto& pass, auto dx, auto dg, auto db) {
            group_norm_backward(x, dy, g, pass, dx, dg, db);
          });
    }
  }
}

TEST(Broadcast, InstanceAndBatchNorm) {
  const Extents extents{3, 5, 4, 7};
  for (const Extents& p : broadcasts(extents)) {
    expect_plain(
        "instance_norm by " + text(p), extents, {0, 1}, 0, p, true,
        [](auto x, auto g, auto b, auto y, auto& pass) { instance_norm(x, g, b, 1e-5, y, pass); },
        [](auto x, auto dy, auto g, auto& pass, auto dx, auto dg, auto db) {
          instance_norm_backward(x, dy, g, pass, dx, dg, db);
        });
    expect_plain(
        "batch_norm by " + text(p), extents, {1}, 0, p, true,
        [](auto x, auto g, auto b, auto y, auto& pass) { batch_norm(x, g, b, kNone, kNone, 0.1, 1e-5, y, pass); },
        [](auto x, auto dy, auto g, auto& pass, auto dx, auto dg, auto db) {
          batch_norm_backward(x, dy, g, pass, dx, dg, db);
        });
  }
}

TEST(Normalize, OverEveryListOfAxes) {
  const Extents extents{3, 4, 5, 6};
  for (unsigned set = 1; set < 16; ++set) {
    std::vector<int> over, kept;
    Extents p{1, 1, 1, 1};
    for (int d = 0; d < 4; ++d) {
      ((set >> d & 1) != 0 ? over : kept).push_back(d);
      if ((set >> d & 1) != 0) p[std::size_t(d)] = at(extents, d);
    }
    std::vector<int> from_the_end;
    for (const int d : over) from_the_end.insert(from_the_end.begin(), d - 4);
    for (const auto& list : {over, from_the_end}) {
      for (const Extents& params : {p, Extents{1, 4, 1, 1}, Extents{3, 1, 1, 6}}) {
        expect_plain(
            "normalize over set " + std::to_string(set) + " by " + text(params), extents, kept, 0, params, true,
            [&](auto x, auto g, auto b, auto y, auto& pass) { normalize(x, list, g, b, 1e-5, y, pass); },
            [](auto x, auto dy, auto g, auto& pass, auto dx, auto dg, auto db) {
              normalize_backward(x, dy, g, pass, dx, dg, db);
            });
      }
    }
  }
}

// What a call that must be refused says has this word.
template <class Call>
void refused(const std::string& word, const Call& call) {
  try {
    call();
    ADD_FAILURE() << word;
  } catch (const std::invalid_argument& error) {
    EXPECT_NE(std::string(error.what()).find(word), std::string::npos) << error.what();
  }
}

// ---- the layers' bits

template <int Layout, class Layer, class Forward, class Infer, class Backward>
void expect_bits(const std::string& name, Layer layer, const Extents& extents, const Forward& forward,
                 const Infer& infer, const Backward& backward) {
  using S = typename Layer::Scalar;
  stir(layer);
  using Tensor = Eigen::Tensor<S, 4, Layout>;
  const Eigen::array<Index, 4> dimensions{extents[0], extents[1], extents[2], extents[3]};
  Tensor x(dimensions), dy(dimensions), want(dimensions), want_dx(dimensions), y(dimensions), dx(dimensions),
      once(dimensions);
  const Values xv = normal(count(extents), 1), dyv = normal(count(extents), 2);
  for (Index i = 0; i < x.size(); ++i) {
    x.data()[i] = from_double<S>(xv[std::size_t(i)]);
    dy.data()[i] = from_double<S>(dyv[std::size_t(i)]);
  }
  layer.forward(x, want);
  layer.backward(x, dy, want_dx);
  Pass<S> pass;
  typename Layer::Array dgamma, dbeta;
  for (int times = 0; times < 2; ++times) {
    forward(layer, x, y, pass);
    EXPECT_EQ(bytes(y), bytes(want)) << name;
    EXPECT_EQ(bytes(pass.rstd()), bytes(layer.rstd())) << name;
    backward(layer, x, dy, pass, dx, dgamma, dbeta);
    EXPECT_EQ(bytes(dx), bytes(want_dx)) << name;
    EXPECT_EQ(bytes(dgamma), bytes(layer.dgamma())) << name;
    if constexpr (has_beta<Layer>) {
      EXPECT_EQ(bytes(dbeta), bytes(layer.dbeta())) << name;
    }
  }
  infer(layer, x, once);
  EXPECT_EQ(bytes(once), bytes(want)) << name;

  // Behind a post-op.
  const Tensor z = dy * S(2);
  Tensor dz(dimensions), want_dz(dimensions);
  dz.setZero();
  want_dz.setZero();
  const auto expect_behind = [&](auto then_y, auto then_want, const auto& then_dy, const auto& then_want_dy) {
    layer.forward(x, then_want);
    layer.backward(x, then_want_dy, want_dx);
    forward(layer, x, then_y, pass);
    EXPECT_EQ(bytes(y), bytes(want)) << name;
    backward(layer, x, then_dy, pass, dx, dgamma, dbeta);
    EXPECT_EQ(bytes(dx), bytes(want_dx)) << name;
    EXPECT_EQ(bytes(dz), bytes(want_dz)) << name;
    EXPECT_EQ(bytes(dgamma), bytes(layer.dgamma())) << name;
    if constexpr (has_beta<Layer>) {
      EXPECT_EQ(bytes(dbeta), bytes(layer.dbeta())) << name;
    }
  };
  for (int times = 0; times < 2; ++times) {
    expect_behind(then_relu(y), then_relu(want), then_relu(dy), then_relu(dy));
    expect_behind(then_clip(y, -0.5, 0.75), then_clip(want, -0.5, 0.75), then_clip(dy, -0.5, 0.75),
                  then_clip(dy, -0.5, 0.75));
    expect_behind(then_times(y, z), then_times(want, z), then_times(dy, z, dz), then_times(dy, z, want_dz));
    expect_behind(then_times(y, z), then_times(want, z), then_times(dy, z, kNone), then_times(dy, z, kNone));
  }
}

template <class S, int Layout>
void every_function() {
  const auto back = [](const auto& l, const auto& x, const auto& dy, auto& pass, auto& dx, auto& dg, auto& db) {
    normalize_backward(x, dy, l.gamma(), pass, dx, dg, db);
  };
  for (const Extents& e : {Extents{3, 8, 5, 7}, Extents{2, 4, 20, 64}}) {
    expect_bits<Layout>(
        "layer_norm", LayerNorm<S>({e[2], e[3]}), e,
        [&](const auto& l, const auto& x, auto& y, auto& p) {
          const auto g = view(l.gamma().data(), {e[2], e[3]}), b = view(l.beta().data(), {e[2], e[3]});
          layer_norm(x, g, b, 1e-5, y, p);
        },
        [](const auto& l, const auto& x, auto& y) { layer_norm(x, l.gamma(), l.beta(), 1e-5, y); }, back);
    expect_bits<Layout>(
        "rms_norm", RMSNorm<S>({e[3]}), e,
        [](const auto& l, const auto& x, auto& y, auto& p) { rms_norm(x, l.gamma(), 1e-5, y, p); },
        [](const auto& l, const auto& x, auto& y) { rms_norm(x, l.gamma(), 1e-5, y); },
        [](const auto& l, const auto& x, const auto& dy, auto& pass, auto& dx, auto& dg, auto&) {
          rms_norm_backward(x, dy, l.gamma(), pass, dx, dg);
        });
    expect_bits<Layout>(
        "group_norm", GroupNorm<S>(2, e[1]), e,
        [](const auto& l, const auto& x, auto& y, auto& p) { group_norm(x, 2, l.gamma(), l.beta(), 1e-5, y, p); },
        [](const auto& l, const auto& x, auto& y) { group_norm(x, 2, l.gamma(), l.beta(), 1e-5, y); }, back);
    GroupNormOptions last;
    last.channel_axis = -1;
    last.eps = 1e-3;
    if (e[3] % 4 == 0) {
      expect_bits<Layout>(
          "group_norm channels last", GroupNorm<S>(4, e[3], last), e,
          [&](const auto& l, const auto& x, auto& y, auto& p) { group_norm(x, 4, l.gamma(), l.beta(), last, y, p); },
          [&](const auto& l, const auto& x, auto& y) { group_norm(x, 4, l.gamma(), l.beta(), last, y); }, back);
    }
    InstanceNormOptions affine;
    affine.affine = true;
    expect_bits<Layout>(
        "instance_norm", InstanceNorm<S>(e[1], affine), e,
        [](const auto& l, const auto& x, auto& y, auto& p) { instance_norm(x, l.gamma(), l.beta(), 1e-5, y, p); },
        [](const auto& l, const auto& x, auto& y) { instance_norm(x, l.gamma(), l.beta(), 1e-5, y); }, back);
    BatchNormOptions untracked;
    untracked.track_running_stats = false;
    const auto batch = [](const auto& l, const auto& x, auto& y, auto& p) {
      batch_norm(x, l.gamma(), l.beta(), kNone, kNone, 0.1, 1e-5, y, p);
    };
    expect_bits<Layout>(
        "batch_norm", BatchNorm<S>(e[1], untracked), e, batch,
        [&](const auto& l, const auto& x, auto& y) {
          Pass<S> pass;
          batch(l, x, y, pass);
        },
        back);
    expect_bits<Layout>(
        "unit_norm", UnitNorm<S>(), e, [](const auto&, const auto& x, auto& y, auto& p) { unit_norm(x, 1e-12, y, p); },
        [](const auto&, const auto& x, auto& y) { unit_norm(x, 1e-12, y); },
        [](const auto&, const auto& x, const auto& dy, auto& pass, auto& dx, auto&, auto&) {
          unit_norm_backward(x, dy, pass, dx);
        });
  }
}
TEST(Functions, HaveTheLayersBits) {
  every_function<float, kRow>();
  every_function<float, kCol>();
  every_function<double, kRow>();
  every_function<double, kCol>();
  every_function<Eigen::half, kRow>();
  every_function<Eigen::half, kCol>();
  every_function<Eigen::bfloat16, kRow>();
  every_function<Eigen::bfloat16, kCol>();
}

// ---- parameters of 16 bits: the bits of floats of the same values, and gradients that are rounded once

template <class S>
using Params16 = Eigen::Array<S, Eigen::Dynamic, 1>;
template <class S>
Params16<S> params16(const ArrayXf& values) {
  return values.cast<S>();
}
template <class S>
Params16<S> sum_of(const Params16<S>& a, const ArrayXf& b) {
  return (a.template cast<float>() + b).template cast<S>();
}

template <class S, int Layout>
void expect_short_parameters() {
  using Tensor = Eigen::Tensor<S, 4, Layout>;
  const Extents e{3, 8, 5, 6};
  SCOPED_TRACE(name_of<S>() + layout_name(Layout));
  Eigen::ThreadPool threads(3);
  const Eigen::ThreadPoolDevice pool(&threads, 3);
  const Tensor x = drawn<S, Layout>(e, 1), dy = drawn<S, Layout>(e, 2), z = drawn<S, Layout>(e, 3);
  // Drawn in 16 bits, beside the same values in float.
  const auto expect_same = [&](Index params, const auto& forward, const auto& infer, const auto& backward) {
    const Params16<S> g = params16<S>(ArrayXf::Random(params)), b = params16<S>(ArrayXf::Random(params));
    const ArrayXf gf = g.template cast<float>(), bf = b.template cast<float>();
    Tensor y, want, dx, want_dx, dz, want_dz;
    ArrayXf dgf, dbf;
    Pass<S> pass, other;
    forward(x, gf, bf, want, other);
    backward(x, dy, gf, other, want_dx, dgf, dbf);
    Params16<S> dg, db;
    forward(x, g, b, y, pass);
    backward(x, dy, g, pass, dx, dg, db);
    EXPECT_EQ(bytes(y), bytes(want));
    EXPECT_EQ(bytes(dx), bytes(want_dx));
    EXPECT_EQ(bytes(dg), bytes(params16<S>(dgf)));
    EXPECT_EQ(bytes(db), bytes(params16<S>(dbf)));
    // Some of each, and sums.
    Params16<S> dg_sum = g, db_sum = b;
    ArrayXf dg_float;
    forward(x, gf, b, y, pass);
    EXPECT_EQ(bytes(y), bytes(want));
    backward(x, dy, gf, pass, dx, dg_float, db);
    EXPECT_EQ(bytes(dg_float), bytes(dgf));
    EXPECT_EQ(bytes(db), bytes(params16<S>(dbf)));
    backward(x, dy, g, pass, dx, add_to(dg_sum), add_to(db_sum));
    EXPECT_EQ(bytes(dg_sum), bytes(sum_of(g, dgf)));
    EXPECT_EQ(bytes(db_sum), bytes(sum_of(b, dbf)));
    infer(x, g, b, y);
    EXPECT_EQ(bytes(y), bytes(want));
    // Behind a product, and with gaps.
    Eigen::Matrix<S, Eigen::Dynamic, Eigen::Dynamic> all(3, params), all_gradients(2, params);
    all.row(0) = g.matrix();
    all.row(1) = b.matrix();
    auto then_want = then_times(want, z), then_y = then_times(y, z);
    forward(x, gf, bf, then_want, other);
    backward(x, then_times(dy, z, want_dz), gf, other, want_dx, dgf, dbf);
    forward(x, all.row(0), all.row(1), then_y, pass);
    all.row(1).setZero();  // the pass has a copy
    backward(x, then_times(dy, z, dz), all.row(0), pass, dx, all_gradients.row(0), all_gradients.row(1));
    EXPECT_EQ(bytes(y), bytes(want));
    EXPECT_EQ(bytes(dx), bytes(want_dx));
    EXPECT_EQ(bytes(dz), bytes(want_dz));
    EXPECT_EQ(bytes(Params16<S>(all_gradients.row(0).transpose())), bytes(params16<S>(dgf)));
    EXPECT_EQ(bytes(Params16<S>(all_gradients.row(1).transpose())), bytes(params16<S>(dbf)));
    // Once warm.
    const auto step = [&] {
      forward(x, g, b, y, pass);
      backward(x, dy, g, pass, dx, dg, db);
      backward(x, dy, g, pass, dx, add_to(dg), add_to(db));
    };
    step();
    const long before = allocations;
    step();
    EXPECT_EQ(allocations, before);
  };
  const auto backward = [](const auto& in, const auto& d, const auto& g, auto& pass, auto& dx, auto&& dg, auto&& db) {
    normalize_backward(in, d, g, pass, dx, dg, db);
  };
  expect_same(
      6, [](const auto& in, const auto& g, const auto& b, auto& y, auto& p) { layer_norm(in, g, b, 1e-5, y, p); },
      [](const auto& in, const auto& g, const auto& b, auto& y) { layer_norm(in, g, b, 1e-5, y); }, backward);
  expect_same(
      8, [](const auto& in, const auto& g, const auto& b, auto& y, auto& p) { group_norm(in, 2, g, b, 1e-5, y, p); },
      [](const auto& in, const auto& g, const auto& b, auto& y) { group_norm(in, 2, g, b, 1e-5, y); }, backward);
  expect_same(
      8, [](const auto& in, const auto& g, const auto& b, auto& y, auto& p) { instance_norm(in, g, b, 1e-5, y, p); },
      [&](const auto& in, const auto& g, const auto& b, auto& y) { instance_norm(pool, in, g, b, 1e-5, y); }, backward);
  const auto batch = [](const auto& in, const auto& g, const auto& b, auto& y, auto& p) {
    batch_norm(in, g, b, kNone, kNone, 0.1, 1e-5, y, p);
  };
  expect_same(
      8, batch,
      [&](const auto& in, const auto& g, const auto& b, auto& y) {
        Pass<S> pass;
        batch(in, g, b, y, pass);
      },
      backward);
  const std::vector<int> over{1, 2};
  expect_same(
      40,
      [&](const auto& in, const auto& g, const auto& b, auto& y, auto& p) { normalize(in, over, g, b, 1e-5, y, p); },
      [&](const auto& in, const auto& g, const auto& b, auto& y) { normalize(in, over, g, b, 1e-5, y); }, backward);

  // gamma less 1, which broadcasts to tokens, in any layout.
  Eigen::Tensor<S, 4, Layout> scale(3, 1, 5, 6), dscale;
  Eigen::Tensor<float, 4, 1 - Layout> scale_float(3, 1, 5, 6), dscale_float;
  for (Index n = 0; n < 3; ++n) {
    for (Index h = 0; h < 5; ++h) {
      for (Index w = 0; w < 6; ++w) {
        scale(n, 0, h, w) = S(0.01F * float(n + 2 * h - w));
        scale_float(n, 0, h, w) = float(scale(n, 0, h, w));
      }
    }
  }
  Tensor y, want, dx, want_dx;
  Pass<S> pass;
  rms_norm(x, plus_one(scale_float), 1e-6, want, pass);
  rms_norm_backward(x, dy, plus_one(scale_float), pass, want_dx, dscale_float);
  rms_norm(pool, x, plus_one(scale), 1e-6, y, pass);
  rms_norm_backward(pool, x, dy, plus_one(scale), pass, dx, dscale);
  EXPECT_EQ(bytes(y), bytes(want));
  EXPECT_EQ(bytes(dx), bytes(want_dx));
  for (Index n = 0; n < 3; ++n) {
    EXPECT_EQ(float(dscale(n, 0, 3, n)), float(S(dscale_float(n, 0, 3, n))));
  }

  // Running statistics.
  Params16<S> mean = params16<S>(ArrayXf::Random(8)), var = params16<S>(ArrayXf::Random(8).abs());
  ArrayXf mean_float = mean.template cast<float>(), var_float = var.template cast<float>();
  batch_norm(x, kNone, kNone, mean, var, 0.25, 1e-5, y, pass);
  batch_norm(x, kNone, kNone, mean_float, var_float, 0.25, 1e-5, want, pass);
  EXPECT_EQ(bytes(y), bytes(want));
  EXPECT_EQ(bytes(mean), bytes(params16<S>(mean_float)));
  EXPECT_EQ(bytes(var), bytes(params16<S>(var_float)));
  mean_float = mean.template cast<float>();
  var_float = var.template cast<float>();
  const Params16<S> gamma = params16<S>(ArrayXf::Random(8)), beta = params16<S>(ArrayXf::Random(8));
  batch_norm_infer(x, gamma, beta, mean, view(static_cast<const S*>(var.data()), {8}), 1e-5, y);
  batch_norm_infer(x, gamma.template cast<float>().eval(), beta.template cast<float>().eval(), mean_float, var_float,
                   1e-5, want);
  EXPECT_EQ(bytes(y), bytes(want));
  batch_norm(x, gamma, beta, mean, var, 0.25, 1e-5, y, pass);
  const long before = allocations;
  batch_norm(x, gamma, beta, mean, var, 0.25, 1e-5, y, pass);
  EXPECT_EQ(allocations, before);
  // What is refused, and an empty x, leave them.
  Params16<S> nine = params16<S>(ArrayXf::Ones(9)), kept = mean, dgamma = params16<S>(ArrayXf::Ones(3));
  Eigen::Map<Params16<S>> three(dgamma.data(), 3);
  refused("gamma has 9 values", [&] { batch_norm(x, nine, kNone, mean, var, 0.25, 1e-5, y, pass); });
  refused("running_var", [&] { batch_norm(x, gamma, beta, mean, nine, 0.25, 1e-5, y, pass); });
  refused("dgamma has extents (3, 1)", [&] { batch_norm_backward(x, dy, gamma, pass, dx, three, kNone); });
  refused("has not the extents", [&] { batch_norm_backward(x, dy, gamma, pass, dx, add_to(nine), kNone); });
  const Tensor none(0, 8, 5, 6);
  batch_norm(none, gamma, beta, mean, var, 0.25, 1e-5, y, pass);
  EXPECT_EQ(bytes(mean), bytes(kept));
  batch_norm_backward(none, none, gamma, pass, dx, dgamma, kNone);
  EXPECT_EQ(dgamma.template cast<float>().abs().sum(), 0);
  EXPECT_EQ(dgamma.size(), 8);
}

TEST(Functions, TakeParametersOf16Bits) {
  expect_short_parameters<Eigen::half, kRow>();
  expect_short_parameters<Eigen::half, kCol>();
  expect_short_parameters<Eigen::bfloat16, kRow>();
  expect_short_parameters<Eigen::bfloat16, kCol>();
}

// Plain loops in double: y, dx and dgamma are those of the parameters that 16 bits hold.
TEST(Functions, OfParametersOf16BitsComputeTheFormula) {
  using S = Eigen::bfloat16;
  using Matrix = Eigen::Matrix<S, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  const Extents extents{9, 20};
  const Values x = rounded<S>(normal(180, 1)), dy = rounded<S>(normal(180, 2));
  const Values gamma = rounded<S>(normal(20, 3)), beta = rounded<S>(normal(20, 4));
  const Expected want = plain(
      extents, x, dy, [](const Extents& index) { return key(index, {0}); }, {1, 20}, gamma, beta, 1e-5, true);
  Matrix xs(9, 20), dys(9, 20), y, dx;
  Params16<S> g, b, dg, db;
  for (std::size_t i = 0; i < x.size(); ++i) {
    xs.data()[i] = from_double<S>(x[i]);
    dys.data()[i] = from_double<S>(dy[i]);
  }
  assign(g, gamma);
  assign(b, beta);
  Pass<S> pass;
  layer_norm(xs, g, b, 1e-5, y, pass);
  layer_norm_backward(xs, dys, g, pass, dx, dg, db);
  const auto expect_rounded = [](const auto& got, const Values& values) {
    for (std::size_t i = 0; i < values.size(); ++i) {
      EXPECT_NEAR(to_double(got.data()[i]), values[i], 4.1e-3 * std::abs(values[i]) + 1e-5);
    }
  };
  expect_rounded(y, want.y);
  expect_rounded(dx, want.dx);
  expect_rounded(dg, want.dgamma);
  expect_rounded(db, want.dbeta);
}

TEST(Functions, BatchNormMovesRunningStatisticsWhereTheyLie) {
  Eigen::Tensor<float, 4> x(6, 5, 3, 4), y, want;
  x.setRandom();
  BatchNorm<float> layer(5);
  stir(layer);
  ArrayXf mean = layer.running_mean(), gamma = layer.gamma(), beta = layer.beta();
  std::vector<float> var(layer.running_var().data(), layer.running_var().data() + 5);
  Pass<float> pass;
  for (int step = 0; step < 3; ++step) {
    layer.forward(x, want);
    batch_norm(x, gamma, beta, mean, view(var.data(), {5}), 0.1, 1e-5, y, pass);
    EXPECT_EQ(bytes(y), bytes(want));
    EXPECT_EQ(bytes(mean), bytes(layer.running_mean()));
    EXPECT_EQ(bytes(var.data(), 5), bytes(layer.running_var().data(), 5));
  }
  layer.eval();
  layer.infer(x, want);
  batch_norm_infer(x, gamma, beta, mean, view(static_cast<const float*>(var.data()), {5}), 1e-5, y);
  EXPECT_EQ(bytes(y), bytes(want));
  batch_norm_infer(x, kNone, kNone, mean, view(var.data(), {5}), 1e-5, y);
  gamma.setOnes();
  beta.setZero();
  batch_norm_infer(x, gamma, beta, mean, view(var.data(), {5}), 1e-5, want);
  EXPECT_EQ(bytes(y), bytes(want));
}

TEST(Functions, OnThreadsHaveTheSameBits) {
  Eigen::ThreadPool pool(3);
  Eigen::ThreadPoolDevice device(&pool, 3);
  Eigen::MatrixXf x = Eigen::MatrixXf::Random(900, 512), dy = Eigen::MatrixXf::Random(900, 512), y, want, dx, want_dx;
  Eigen::VectorXf g = Eigen::VectorXf::Random(512), b = Eigen::VectorXf::Random(512), dg, want_dg, db;
  Pass<float> pass, other;
  layer_norm(x, g, b, 1e-5, want, pass);
  layer_norm(device, x, g, b, 1e-5, y, other);
  EXPECT_EQ(bytes(y), bytes(want));
  y.setZero();
  layer_norm(device, x, g, b, 1e-5, y);
  EXPECT_EQ(bytes(y), bytes(want));
  layer_norm_backward(x, dy, g, pass, want_dx, want_dg, db);
  layer_norm_backward(device, x, dy, g, other, dx, dg, db);
  EXPECT_EQ(bytes(dx), bytes(want_dx));
  EXPECT_EQ(bytes(dg), bytes(want_dg));
}

TEST(Functions, PlusOneIsOnePlusTheScale) {
  const Eigen::MatrixXf x = Eigen::MatrixXf::Random(9, 40), dy = Eigen::MatrixXf::Random(9, 40);
  const Eigen::VectorXf scale = Eigen::VectorXf::Random(40) * 1e-3f, gamma = (scale.array() + 1).matrix();
  Eigen::MatrixXf y, want, dx, want_dx;
  Eigen::VectorXf ds, dg;
  Pass<float> pass;
  rms_norm(x, gamma, 1e-6, want, pass);
  rms_norm_backward(x, dy, gamma, pass, want_dx, dg);
  rms_norm(x, plus_one(scale), 1e-6, y, pass);
  EXPECT_EQ(bytes(y), bytes(want));
  rms_norm_backward(x, dy, plus_one(scale), pass, dx, ds);
  EXPECT_EQ(bytes(dx), bytes(want_dx));
  EXPECT_EQ(bytes(ds), bytes(dg));
}

// Central differences of a weighted sum of y, of a gamma that is stored less 1 and broadcasts.
TEST(Functions, GradientsBehindAPostOpAreThoseOfDifferences) {
  using Matrix = Eigen::MatrixXd;
  for (const bool is_product : {false, true}) {
    for (const bool by_row : {false, true}) {
      Matrix x = Matrix::Random(7, 6), z = Matrix::Random(7, 6), y, dx, dz;
      const Matrix w = Matrix::Random(7, 6);
      Matrix scale = Matrix::Random(by_row ? 7 : 1, by_row ? 1 : 6), beta = scale * 0.5, dscale, dbeta;
      const auto loss = [&](Pass<double>& pass) {
        is_product ? layer_norm(x, plus_one(scale), beta, 1e-5, then_times(y, z), pass)
                   : layer_norm(x, plus_one(scale), beta, 1e-5, then_clip(y, -0.4, 0.6), pass);
        return y.cwiseProduct(w).sum();
      };
      Pass<double> pass, other;
      loss(pass);
      is_product ? layer_norm_backward(x, then_times(w, z, dz), plus_one(scale), pass, dx, dscale, dbeta)
                 : layer_norm_backward(x, then_clip(w, -0.4, 0.6), plus_one(scale), pass, dx, dscale, dbeta);
      const auto expect_change = [&](double& value, double derivative) {
        constexpr double kStep = 1e-6;
        const double kept = value;
        value = kept + kStep;
        const double above = loss(other);
        value = kept - kStep;
        const double below = loss(other);
        value = kept;
        EXPECT_NEAR((above - below) / (2 * kStep), derivative, 1e-7);
      };
      for (Index i = 0; i < x.size(); ++i) expect_change(x.data()[i], dx.data()[i]);
      for (Index i = 0; is_product && i < z.size(); ++i) expect_change(z.data()[i], dz.data()[i]);
      for (Index i = 0; i < scale.size(); ++i) {
        expect_change(scale.data()[i], dscale.data()[i]);
        expect_change(beta.data()[i], dbeta.data()[i]);
      }
    }
  }
}

// Parameters and tensors that lie anyhow, on threads: the bits of those that lie side by side.
TEST(Functions, BehindAPostOpParametersLieAnyhow) {
  Eigen::ThreadPool pool(3);
  Eigen::ThreadPoolDevice device(&pool, 3);
  const Eigen::MatrixXf x = Eigen::MatrixXf::Random(300, 160), dy = Eigen::MatrixXf::Random(300, 160),
                        z = Eigen::MatrixXf::Random(300, 160);
  Eigen::MatrixXf params = Eigen::MatrixXf::Random(3, 160), y, y2, dx, dx2, dz, dz2;
  const Eigen::VectorXf g = params.row(0), b = params.row(1);
  Eigen::VectorXf dg, db, dg2, db2;
  Pass<float> pass, other;
  layer_norm(x, g, b, 1e-5, then_times(y, z), pass);
  layer_norm_backward(x, then_times(dy, z, dz), g, pass, dx, dg, db);
  layer_norm(device, x, params.row(0), params.row(1), 1e-5, then_times(y2, z), other);
  params.row(1).setZero();  // the pass has a copy
  Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor> turned = dy;
  layer_norm_backward(device, x, then_times(turned, z, dz2), params.row(0), other, dx2, dg2, db2);
  EXPECT_EQ(bytes(y2), bytes(y));
  EXPECT_EQ(bytes(dx2), bytes(dx));
  EXPECT_EQ(bytes(dz2), bytes(dz));
  EXPECT_EQ(bytes(dg2), bytes(dg));
  EXPECT_EQ(bytes(db2), bytes(db));
  dx2 = dy;
  layer_norm_backward(x, then_times(dx2, z, kNone), g, pass, dx2, add_to(dg), kNone);
  EXPECT_EQ(bytes(dx2), bytes(dx));
  EXPECT_EQ(bytes(dg), bytes((2 * dg2).eval()));
  // Nothing.
  const Eigen::MatrixXf none(0, 160);
  layer_norm(none, g, b, 1e-5, then_relu(y), pass);
  layer_norm_backward(none, then_relu(none), g, pass, dx, dg, db);
  EXPECT_EQ(dx.rows(), 0);
  EXPECT_EQ(dg.cwiseAbs().sum() + db.cwiseAbs().sum(), 0);
}

TEST(Functions, BackwardBehindAPostOpNeedsTheBetaOfItsForward) {
  const Eigen::MatrixXf x = Eigen::MatrixXf::Random(6, 10), dy = Eigen::MatrixXf::Random(6, 10);
  Eigen::VectorXf g = Eigen::VectorXf::Random(10), b = Eigen::VectorXf::Random(10), dg = g, before = g;
  Eigen::MatrixXf y, y2, dx(6, 10), want;
  dx.setConstant(7);
  const Eigen::MatrixXf seven = dx;
  Pass<float> pass;
  refused("there was none", [&] { layer_norm_backward(x, then_relu(dy), g, pass, dx, dg, kNone); });
  layer_norm(x, g, b, 1e-5, y, pass);
  refused("kept no copy", [&] { layer_norm_backward(x, then_relu(dy), g, pass, dx, dg, kNone); });
  layer_norm_backward(x, (dy.array() * (y.array() > 0).cast<float>()).matrix().eval(), g, pass, want, kNone, kNone);
  layer_norm(x, g, b, 1e-5, then_relu(y2), pass);
  refused("gamma has 0 values but beta of the forward pass has 10",
          [&] { layer_norm_backward(x, then_relu(dy), kNone, pass, dx, kNone, kNone); });
  const Eigen::MatrixXf one = Eigen::MatrixXf::Ones(6, 1);
  refused("gamma has 6 values but beta of the forward pass has 10",
          [&] { layer_norm_backward(x, then_relu(dy), one, pass, dx, kNone, kNone); });
  refused("z, a factor of the same",
          [&] { layer_norm_backward(x, then_times(dy, one, kNone), g, pass, dx, dg, kNone); });
  refused("is not what the last forward", [&] { layer_norm_backward(dy, then_relu(dy), g, pass, dx, dg, kNone); });
  Eigen::VectorXf three = Eigen::VectorXf::Ones(3);
  Eigen::Map<Eigen::VectorXf> map(three.data(), 3);
  refused("dgamma has extents (3, 1)", [&] { layer_norm_backward(x, then_relu(dy), g, pass, dx, map, kNone); });
  // A forward that is refused leaves the copy.
  Eigen::VectorXf nine = Eigen::VectorXf::Ones(9), other = Eigen::VectorXf::Random(10);
  Eigen::Map<Eigen::MatrixXf> small(y2.data(), 5, 10);
  refused("(5, 10)", [&] { layer_norm(x, g, other, 1e-5, then_relu(small), pass); });
  refused("a clip between", [&] { layer_norm(x, g, other, 1e-5, then_clip(y2, 1, 0), pass); });
  EXPECT_EQ(bytes(dx), bytes(seven));
  EXPECT_EQ(bytes(dg), bytes(before));
  layer_norm_backward(x, then_relu(dy), g, pass, dx, kNone, kNone);
  EXPECT_EQ(bytes(dx), bytes(want));
  // Without a beta, the forward needs no post-op.
  layer_norm(x, g, kNone, 1e-5, y, pass);
  layer_norm_backward(x, then_times(dy, x, kNone), g, pass, dx, kNone, kNone);
  layer_norm_backward(x, dy.cwiseProduct(x).eval(), g, pass, want, kNone, kNone);
  EXPECT_EQ(bytes(dx), bytes(want));
}

TEST(Functions, WhatIsNotWantedIsNotWritten) {
  const Eigen::MatrixXf x = Eigen::MatrixXf::Random(20, 30), dy = Eigen::MatrixXf::Random(20, 30);
  const Eigen::VectorXf g = Eigen::VectorXf::Random(30);
  Eigen::MatrixXf y, want_dx, dx;
  Eigen::VectorXf want_dg, want_db, dg, db;
  Pass<float> pass;
  layer_norm(x, g, kNone, 1e-5, y, pass);
  layer_norm_backward(x, dy, g, pass, want_dx, want_dg, want_db);
  layer_norm_backward(x, dy, g, pass, kNone, dg, kNone);
  EXPECT_EQ(bytes(dg), bytes(want_dg));
  layer_norm_backward(x, dy, g, pass, kNone, kNone, db);
  EXPECT_EQ(bytes(db), bytes(want_db));
  layer_norm_backward(x, dy, g, pass, dx, kNone, kNone);
  EXPECT_EQ(bytes(dx), bytes(want_dx));
  layer_norm_backward(x, dy, g, pass, add_to(dx), add_to(dg), add_to(db));
  EXPECT_TRUE(dx.isApprox(2 * want_dx));
  EXPECT_TRUE(dg.isApprox(2 * want_dg));
  EXPECT_TRUE(db.isApprox(2 * want_db));
  Eigen::MatrixXf wide = Eigen::MatrixXf::Constant(40, 40, 3);
  layer_norm_backward(x, dy, g, pass, add_to(wide.block(5, 6, 20, 30)), kNone, kNone);
  EXPECT_TRUE(wide.block(5, 6, 20, 30).isApprox((want_dx.array() + 3).matrix()));
  EXPECT_EQ((wide.array() == 3.f).count(), 1000);
}

// ---- passes

TEST(Passes, OneLayerServesMany) {
  LayerNorm<float> layer({24});
  stir(layer);
  constexpr std::size_t kSteps = 4;
  std::vector<Eigen::MatrixXf> x(kSteps), dy(kSteps), y(kSteps), dx(kSteps);
  std::vector<Pass<float>> passes(kSteps);
  for (std::size_t i = 0; i < kSteps; ++i) {
    x[i] = Eigen::MatrixXf::Random(Index(3 + i), 24);
    dy[i] = Eigen::MatrixXf::Random(Index(3 + i), 24);
    layer.forward(x[i], y[i], passes[i]);
  }
  for (std::size_t i = kSteps; i-- > 0;) {
    layer.backward(x[i], dy[i], dx[i], passes[i]);
    LayerNorm<float> alone(layer);
    Eigen::MatrixXf want, want_dx;
    alone.forward(x[i], want);
    alone.backward(x[i], dy[i], want_dx);
    EXPECT_EQ(bytes(y[i]), bytes(want));
    EXPECT_EQ(bytes(dx[i]), bytes(want_dx));
    EXPECT_EQ(bytes(alone.dgamma()), bytes(layer.dgamma()));
    EXPECT_EQ(bytes(alone.mean()), bytes(passes[i].mean()));
  }
  EXPECT_THROW(layer.backward(x[0], dy[0], dx[0], passes[1]), std::invalid_argument);
  EXPECT_THROW(layer.backward(dy[0], dy[0], dx[0], passes[0]), std::invalid_argument);  // another x
  Pass<float> fresh;
  EXPECT_THROW(layer.backward(x[0], dy[0], dx[0], fresh), std::invalid_argument);
  EXPECT_THROW(layer.backward(x[0], dy[0], dx[0]), std::invalid_argument);  // the layer's own had no forward
}

// One pass, two layers of other axes on one shape.
TEST(Passes, KnowTheAxesTheyAreOf) {
  Eigen::Tensor<float, 3> x(4, 8, 6), y, want;
  x.setRandom();
  GroupNorm<float> two(2, 8), four(4, 8);
  Pass<float> pass;
  for (auto* layer : {&two, &four, &two}) {
    layer->forward(x, y, pass);
    layer->infer(x, want);
    EXPECT_EQ(bytes(y), bytes(want));
  }
}

TEST(Passes, ADxIsNotWantedOrAddedTo) {
  LayerNorm<float> ln({24});
  BatchNorm<float> bn(24);
  Whitening<float> wh(24);
  const Eigen::MatrixXf x = Eigen::MatrixXf::Random(60, 24), dy = Eigen::MatrixXf::Random(60, 24);
  const auto check_layer = [&](auto& layer) {
    Eigen::MatrixXf y, want, dx = Eigen::MatrixXf::Constant(60, 24, 2);
    layer.forward(x, y);
    layer.backward(x, dy, want);
    const auto dgamma = layer.dgamma();
    layer.dgamma().setZero();
    layer.backward(x, dy, kNone);
    EXPECT_EQ(bytes(layer.dgamma()), bytes(dgamma));
    layer.backward(x, dy, add_to(dx));
    EXPECT_TRUE(dx.isApprox((want.array() + 2).matrix()));
  };
  check_layer(ln);
  check_layer(bn);
  check_layer(wh);
  bn.eval();
  check_layer(bn);
}

// ---- what goes wrong

TEST(Functions, RefuseWhatDoesNotFit) {
  Eigen::MatrixXf x = Eigen::MatrixXf::Random(6, 10), y = Eigen::MatrixXf::Constant(6, 10, 5), dx;
  const Eigen::MatrixXf before = y;
  Eigen::VectorXf g = Eigen::VectorXf::Ones(10), nine = Eigen::VectorXf::Ones(9), dg(3);
  Eigen::Map<Eigen::VectorXf> three(dg.data(), 3);
  Pass<float> pass;
  refused("9 values", [&] { layer_norm(x, nine, kNone, 1e-5, y); });
  refused("beta has 9 values", [&] { layer_norm(x, g, nine, 1e-5, y); });
  refused("eps is -1", [&] { layer_norm(x, g, kNone, -1, y); });
  refused("0 groups", [&] { group_norm(x, 0, g, kNone, 1e-5, y); });
  refused("3 groups do not divide 10", [&] { group_norm(x, 3, g, kNone, 1e-5, y); });
  refused("named twice", [&] { normalize(x, {1, -1}, g, kNone, 1e-5, y); });
  refused("axis 2", [&] { normalize(x, {2}, g, kNone, 1e-5, y); });
  refused("0 axes", [&] { normalize(x, std::vector<int>(), g, kNone, 1e-5, y); });
  refused("momentum is 2", [&] { batch_norm(x, g, kNone, g, g, 2, 1e-5, y, pass); });
  refused("running_var", [&] { batch_norm(x, g, kNone, g, nine, 0.1, 1e-5, y, pass); });
  refused("there was none", [&] { layer_norm_backward(x, x, g, pass, dx, kNone, kNone); });
  EXPECT_EQ(bytes(y), bytes(before));
  layer_norm(x, g, kNone, 1e-5, y, pass);
  refused("dgamma has extents (3, 1)", [&] { layer_norm_backward(x, x, g, pass, dx, three, kNone); });
  refused("is not what the last forward", [&] { layer_norm_backward(y, y, g, pass, dx, kNone, kNone); });
  Eigen::VectorXf kept = Eigen::VectorXf::Constant(3, 4);
  refused("is not what the last forward", [&] { layer_norm_backward(y, y, g, pass, dx, kept, kNone); });
  EXPECT_EQ(kept.size(), 3) << "a refused call resizes nothing";
  refused("(5, 10)", [&] { layer_norm_backward(x.topRows(5), x.topRows(5), g, pass, dx, kNone, kNone); });
  refused("has not the extents", [&] { layer_norm_backward(x, x, g, pass, add_to(dx), kNone, kNone); });
  EXPECT_EQ(dx.size(), 0);
}

TEST(Functions, RefuseOutputsOfAnotherRank) {
  const std::vector<float> x(24, 1.F);
  Eigen::MatrixXf y;
  Eigen::Tensor<float, 4> deep;
  Eigen::Tensor<float, 2> dgamma;
  Eigen::VectorXf line;
  LayerNorm<float> layer(4);
  Pass<float> pass;
  refused("(2, 3, 4)", [&] { layer.forward(view(x.data(), {2, 3, 4}), y); });
  refused("(2, 3, 4)", [&] { layer.forward(view(x.data(), {2, 3, 4}), deep); });
  refused("(24)", [&] { rms_norm(view(x.data(), {24}), kNone, 1e-5, y); });
  EXPECT_EQ(y.size() + deep.size(), 0);
  Eigen::Tensor<float, 1> gamma(4);
  gamma.setConstant(1);
  std::vector<float> out(24);
  const auto in = view(x.data(), {6, 4});
  layer_norm(in, gamma, kNone, 1e-5, view(out.data(), {6, 4}), pass);
  refused("dgamma", [&] { layer_norm_backward(in, in, gamma, pass, kNone, dgamma, kNone); });
  layer_norm_backward(in, in, gamma, pass, kNone, line, kNone);
  EXPECT_EQ(line.size(), 4);
  refused("may span", [&] { view(x.data(), {3}, {(std::numeric_limits<Index>::max)() / 2}); });
}

TEST(Functions, RunningStatisticsInRowsOfOneMatrix) {
  Eigen::Tensor<float, 3> x(6, 5, 4), y;
  x.setRandom();
  Eigen::MatrixXf stats = Eigen::MatrixXf::Random(2, 5).cwiseAbs();
  Eigen::VectorXf mean = stats.row(0).transpose(), var = stats.row(1).transpose();
  Pass<float> pass;
  batch_norm(x, kNone, kNone, mean, var, 0.1, 1e-5, y, pass);
  batch_norm(x, kNone, kNone, stats.row(0), stats.row(1), 0.1, 1e-5, y, pass);
  EXPECT_TRUE(stats.row(0).transpose() == mean && stats.row(1).transpose() == var);
  Eigen::Tensor<float, 3> one(1, 1, 1), samples(6, 5, 1);
  one.setConstant(1);
  samples.setConstant(1);
  refused("one value for each of 5", [&] { batch_norm_infer(x, kNone, kNone, one, one, 1e-5, y); });
  refused("one value for each of 5", [&] { batch_norm_infer(x, kNone, kNone, samples, samples, 1e-5, y); });
}

TEST(Passes, AreOfTheirOwnForward) {
  Eigen::MatrixXf x = Eigen::MatrixXf::Random(6, 8), y, dx;
  Eigen::VectorXf g = Eigen::VectorXf::Ones(8);
  LayerNorm<float> layer(8);
  GroupNorm<float> groups(2, 8);
  Pass<float> pass;
  layer.forward(x, y, pass);
  refused("a layer's", [&] { layer_norm_backward(x, x, g, pass, dx, kNone, kNone); });
  refused("6 statistics", [&] { groups.backward(x, x, dx, pass); });
  layer_norm(x, g, kNone, 1e-5, y, pass);
  layer_norm_backward(x, x, g, pass, dx, kNone, kNone);
  Pass<float> moved(std::move(pass));
  layer_norm_backward(x, x, g, moved, dx, kNone, kNone);
  EXPECT_EQ(dx.rows(), 6);
}

// ---- memory

TEST(Functions, AllocateNothingOnceWarm) {
  const Eigen::MatrixXf x = Eigen::MatrixXf::Random(50, 64), dy = Eigen::MatrixXf::Random(50, 64);
  const Eigen::VectorXf g = Eigen::VectorXf::Ones(64), b = Eigen::VectorXf::Zero(64);
  Eigen::MatrixXf y(50, 64), dx(50, 64);
  Eigen::VectorXf dg(64), db(64);
  Eigen::MatrixXf dz(50, 64);
  Pass<float> pass, behind;
  const auto call = [&] {
    layer_norm(x, g, b, 1e-5, y, pass);
    layer_norm_backward(x, dy, g, pass, dx, dg, db);
    layer_norm(x, g, b, 1e-5, then_relu(y), behind);
    layer_norm_backward(x, then_relu(dy), g, behind, dx, dg, db);
    layer_norm(x, g, b, 1e-5, then_times(y, dy), behind);
    layer_norm_backward(x, then_times(dy, dy, dz), g, behind, dx, dg, db);
    layer_norm(x, g, b, 1e-5, y);
    rms_norm(x, g, 1e-5, y);
  };
  call();
  const long before = allocations;
  call();
  EXPECT_EQ(allocations - before, 0);
}

}  // namespace
}  // namespace tensornorm_test
