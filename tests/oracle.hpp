// The oracle: normalization as the papers write it, naively, in long double, over logical elements. It knows nothing of
// storage. Batch Normalization (Ioffe & Szegedy 2015, algorithm 1), Layer Normalization (Ba et al. 2016, section 3),
// Instance Normalization (Ulyanov et al. 2016), Group Normalization (Wu & He 2018, equations 1 to 7), RMSNorm (Zhang &
// Sennrich 2019, equation 4).
#pragma once

#include <cmath>
#include <cstddef>
#include <vector>

#include "tensors.hpp"

namespace tensornorm_test {

using Real = long double;
using Reals = std::vector<Real>;

/// Which statistic and which parameter each element uses, elements in row-major order of the logical axes.
struct Sets {
  Index stats, params;
  std::vector<Index> stat, param;
};

/// One mean per channel: mu_c over all n and s.
inline Sets batch_sets(const Extents& x, int axis) {
  const Index c = x[std::size_t(axis)], inner = count(Extents(x.begin() + axis + 1, x.end()));
  Sets sets{c, c, {}, {}};
  for (Index i = 0; i < count(x); ++i) sets.stat.push_back(i / inner % c);
  sets.param = sets.stat;
  return sets;
}

/// One mean per sample and group of channels: S_i = { k | k_N = i_N, floor(k_C / (C/G)) = floor(i_C / (C/G)) }; gamma
/// and beta per channel.
inline Sets group_sets(const Extents& x, int axis, Index groups) {
  Sets sets = batch_sets(x, axis);
  const Index sample = count(Extents(x.begin() + 1, x.end())), per_group = sets.params / groups;
  for (Index i = 0; i < count(x); ++i) {
    sets.stat[std::size_t(i)] = i / sample * groups + sets.param[std::size_t(i)] / per_group;
  }
  sets.stats = x[0] * groups;
  return sets;
}

/// One mean per sample and channel: mu_nc over s.
inline Sets instance_sets(const Extents& x, int axis) { return group_sets(x, axis, x[std::size_t(axis)]); }

/// One mean per row, a row being the last `trailing` axes; gamma and beta along the row.
inline Sets row_sets(const Extents& x, int trailing) {
  const Index row = count(Extents(x.end() - trailing, x.end())), rows = count(Extents(x.begin(), x.end() - trailing));
  Sets sets{rows, row, {}, {}};
  for (Index i = 0; i < count(x); ++i) {
    sets.stat.push_back(i / row);
    sets.param.push_back(i % row);
  }
  return sets;
}

enum class Centred { kYes, kNo };  // RMSNorm does not subtract the mean

/// Of each statistic; var is the population variance (RMSNorm: the mean square). A long double of a mean near 1e6 is
/// good to 3e-14 only, so the mean comes in two parts, one of them a value of x: x - origin is exact, offset small.
struct Statistics {
  Reals origin, offset, var, rstd, n;

  Real mean(std::size_t k) const { return origin[k] + offset[k]; }
  Real centred(double x, std::size_t k) const { return Real(x) - origin[k] - offset[k]; }
};

// 0 where nothing varies, NaN where var is.
inline Real rstd_of(Real var, double eps) { return var + Real(eps) <= 0 ? Real(0) : 1 / std::sqrt(var + Real(eps)); }

// x (elements), result (stats)
inline Statistics oracle_statistics(const Values& x, const Sets& sets, double eps, Centred centred = Centred::kYes) {
  const Reals zero(std::size_t(sets.stats), 0);
  Statistics s{zero, zero, zero, zero, zero};
  for (std::size_t i = 0; i < x.size(); ++i) {
    const auto k = std::size_t(sets.stat[i]);
    if (s.n[k] == 0 && centred == Centred::kYes) s.origin[k] = x[i];
    s.n[k] += 1;
    s.offset[k] += Real(x[i]) - s.origin[k];
  }
  for (std::size_t k = 0; k < zero.size(); ++k) s.offset[k] = centred == Centred::kYes ? s.offset[k] / s.n[k] : 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const auto k = std::size_t(sets.stat[i]);
    s.var[k] += s.centred(x[i], k) * s.centred(x[i], k) / s.n[k];
  }
  for (std::size_t k = 0; k < zero.size(); ++k) s.rstd[k] = rstd_of(s.var[k], eps);
  return s;
}

/// Given statistics, as eval mode uses them.
inline Statistics frozen_statistics(const Values& mean, const Values& var, double eps) {
  const Reals zero(mean.size(), 0), one(mean.size(), 1);
  Statistics s{Reals(mean.begin(), mean.end()), zero, Reals(var.begin(), var.end()), {}, one};
  for (const Real v : s.var) s.rstd.push_back(rstd_of(v, eps));
  return s;
}

struct Normalized {
  Reals xhat, y;
};

// x, xhat, y (elements); gamma, beta (params), empty without affine
inline Normalized oracle_forward(const Values& x, const Sets& sets, const Statistics& s, const Values& gamma,
                                 const Values& beta) {
  Normalized out;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const auto k = std::size_t(sets.stat[i]), p = std::size_t(sets.param[i]);
    out.xhat.push_back(s.centred(x[i], k) * s.rstd[k]);
    out.y.push_back(out.xhat[i] * (gamma.empty() ? 1 : Real(gamma[p])) + (beta.empty() ? 0 : Real(beta[p])));
  }
  return out;
}

struct Gradients {
  Reals dx, dgamma, dbeta;
};

// The gradient of sum(dy * y). dy (elements), result dx (elements), dgamma, dbeta (params). With the statistics frozen
// they are constants and only the first term of dx is left.
inline Gradients oracle_backward(const Values& x, const Values& dy, const Sets& sets, const Statistics& s,
                                 const Values& gamma, Centred centred = Centred::kYes, bool frozen = false) {
  const Reals xhat = oracle_forward(x, sets, s, {}, {}).xhat;
  Reals mean_dxhat(s.rstd.size(), 0), mean_dxhat_xhat(s.rstd.size(), 0), dxhat;
  Gradients g{{}, Reals(std::size_t(sets.params), 0), Reals(std::size_t(sets.params), 0)};
  for (std::size_t i = 0; i < x.size(); ++i) {
    const auto k = std::size_t(sets.stat[i]), p = std::size_t(sets.param[i]);
    g.dbeta[p] += Real(dy[i]);
    g.dgamma[p] += Real(dy[i]) * xhat[i];
    dxhat.push_back(Real(dy[i]) * (gamma.empty() ? 1 : Real(gamma[p])));
    mean_dxhat[k] += dxhat[i] / s.n[k];
    mean_dxhat_xhat[k] += dxhat[i] * xhat[i] / s.n[k];
  }
  for (std::size_t i = 0; i < x.size(); ++i) {
    const auto k = std::size_t(sets.stat[i]);
    Real d = dxhat[i];                                            // through x in the numerator
    if (!frozen && centred == Centred::kYes) d -= mean_dxhat[k];  // through the mean
    if (!frozen) d -= xhat[i] * mean_dxhat_xhat[k];               // through the variance
    g.dx.push_back(d * s.rstd[k]);
  }
  return g;
}

}  // namespace tensornorm_test
