#include "oracle.hpp"

#include <cmath>

namespace tensornorm_test {

Sets batch_sets(const Extents& x, int axis) {
  const Index c = x[std::size_t(axis)], inner = count(Extents(x.begin() + axis + 1, x.end()));
  Sets sets{c, c, {}, {}};
  for (Index i = 0; i < count(x); ++i) sets.stat.push_back(i / inner % c);
  sets.param = sets.stat;
  return sets;
}

Sets group_sets(const Extents& x, int axis, Index groups) {
  Sets sets = batch_sets(x, axis);
  const Index sample = count(Extents(x.begin() + 1, x.end())), per_group = sets.params / groups;
  for (Index i = 0; i < count(x); ++i) {
    sets.stat[std::size_t(i)] = i / sample * groups + sets.param[std::size_t(i)] / per_group;
  }
  sets.stats = x[0] * groups;
  return sets;
}

Sets instance_sets(const Extents& x, int axis) { return group_sets(x, axis, x[std::size_t(axis)]); }

Sets row_sets(const Extents& x, int trailing) {
  const Index row = count(Extents(x.end() - trailing, x.end())), rows = count(Extents(x.begin(), x.end() - trailing));
  Sets sets{rows, row, {}, {}};
  for (Index i = 0; i < count(x); ++i) {
    sets.stat.push_back(i / row);
    sets.param.push_back(i % row);
  }
  return sets;
}

Statistics oracle_statistics(const Values& x, const Sets& sets, double eps, Centred centred) {
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

Statistics frozen_statistics(const Values& mean, const Values& var, double eps) {
  const Reals zero(mean.size(), 0), one(mean.size(), 1);
  Statistics s{Reals(mean.begin(), mean.end()), zero, Reals(var.begin(), var.end()), {}, one};
  for (const Real v : s.var) s.rstd.push_back(rstd_of(v, eps));
  return s;
}

Normalized oracle_forward(const Values& x, const Sets& sets, const Statistics& s, const Values& gamma,
                          const Values& beta) {
  Normalized out;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const auto k = std::size_t(sets.stat[i]), p = std::size_t(sets.param[i]);
    out.xhat.push_back(s.centred(x[i], k) * s.rstd[k]);
    out.y.push_back(out.xhat[i] * (gamma.empty() ? 1 : Real(gamma[p])) + (beta.empty() ? 0 : Real(beta[p])));
  }
  return out;
}

Gradients oracle_backward(const Values& x, const Values& dy, const Sets& sets, const Statistics& s, const Values& gamma,
                          Centred centred, bool frozen) {
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
