// Whiten: the maps of whitening, a panel of a group's channels times the group's matrix; gradients.
#pragma once

#include <utility>
#include <vector>

#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/memory.hpp"
#include "tensornorm/core/whitening/group_whitening.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

// How a map goes through a group of k channels: positions at a time, channels of x held at a time, channels of y. The
// sums are taken kDepth channels at a time in any case, so that no bit depends on the rest.
struct MapTiles {
  static constexpr Index kDepth = 64, kStackValues = 768, kPanelValues = 512, kMostPositions = 16;
  // Groups of so many channels have a position on the stack, of more only a part of one.
  static constexpr Index kMostOnStack = kPanelValues;

  Index k, terms, positions, depth, outputs;

  Index panel_size() const { return positions * depth; }
  Index size() const { return terms * panel_size() + positions * outputs; }

  // What is read of x at a time, all of it before y is written where `terms` tensors of k channels have room.
  static MapTiles on_stack(Index k, Index terms) {
    if (is_narrow(k)) return {k, terms, kStackValues / ((terms + 1) * k) / kPanelLanes * kPanelLanes, k, k};
    if (terms * k > kPanelValues) return {k, terms, 4, kDepth, (kStackValues - 4 * terms * kDepth) / 4};
    const Index room = (std::min)(kPanelValues / (terms * k), kMostPositions), n = room < 4 ? room : room / 4 * 4;
    return {k, terms, n, k, kStackValues / n - terms * k};
  }
  // In memory of a unit's own: more positions share what is read of the matrices.
  static MapTiles in_workspace(Index k, Index terms) { return {k, terms, kMostPositions, k, (std::min)(k, kDepth)}; }
};

// Doubles that a map of so many tensors works in where there is a workspace; 0 where the stack does as well.
inline std::size_t map_workspace_size(const ChannelMatrix& m, Index terms) {
  const Index k = m.group_channels();
  if (4 * terms * k <= MapTiles::kPanelValues) return 0;
  return static_cast<std::size_t>(m.groups() * m.map_parts() * MapTiles::in_workspace(k, terms).size());
}

// The workspace of a map that has none, for groups that the stack has no room for in place.
class InPlacePanels {
 public:
  InPlacePanels(const ChannelMatrix& m, bool is_in_place)
      : values_(is_in_place && m.group_channels() > MapTiles::kMostOnStack ? map_workspace_size(m, 1) : 0) {}

  double* workspace() { return values_.empty() ? nullptr : values_.data(); }

 private:
  std::vector<double> values_;
};

// What a map sums: a matrix for each group, in its rows of a (channels, group_channels) one, times value(x, c).
template <class Scalar, class Value>
struct MapTerm {
  const Scalar* x;
  ConstMatrix matrices;
  Value value;
};
template <class Scalar, class Value>
MapTerm<Scalar, Value> map_term(const Scalar* x, const ConstMatrix& matrices, const Value& value) {
  return {x, matrices, value};
}

// The map of one panel; `memory` holds tiles.size() values.
template <class Scalar, class After>
class PanelMap {
 public:
  PanelMap(const ChannelMatrix& m, const MapTiles& tiles, double* memory, Index group, Index first, Index rows)
      : m_(m), tiles_(tiles), memory_(memory), from_(group * tiles.k), first_(first), rows_(rows),
        places_(is_narrow(tiles.k) ? padded(rows) : rows) {}

  template <class... Terms>
  void run(Scalar* y, const After& after, const Terms&... terms) const {
    const Index k = tiles_.k, parts = (k + tiles_.outputs - 1) / tiles_.outputs;
    if (holds_all()) {
      double* to = memory_;
      (..., gather(terms, 0, k, std::exchange(to, to + tiles_.panel_size())));
    }
    double* const out = memory_ + tiles_.terms * tiles_.panel_size();
    for (Index part = 0; part < parts; ++part) {
      const Index i = part_begin(k, part, parts), n = part_begin(k, part + 1, parts) - i;
      std::fill_n(out, places_ * n, 0.0);
      double* at = memory_;
      (..., add(terms, i, n, std::exchange(at, at + tiles_.panel_size()), out));
      m_.scatter(panel(out, n), first_, rows_, from_ + i, n, y, after);
    }
  }

 private:
  bool holds_all() const { return tiles_.depth == tiles_.k; }
  Panel panel(double* at, Index channels) const {
    return is_narrow(tiles_.k) ? Panel{at, places_, 1} : Panel{at, 1, channels};
  }

  template <class Term>
  void gather(const Term& term, Index c, Index n, double* to) const {
    const Panel x = panel(to, tiles_.depth);
    m_.gather(term.x, first_, rows_, from_ + c, n, x, term.value);
    if (is_narrow(tiles_.k)) x.pad_positions(n, rows_);
  }

  // out(i, p) += the term's for channels from_ + i to from_ + i + n - 1.
  template <class Term>
  void add(const Term& term, Index i, Index n, double* at, double* out) const {
    for (Index r = 0; r < tiles_.k; r += MapTiles::kDepth) {
      const Index depth = (std::min)(MapTiles::kDepth, tiles_.k - r);
      if (!holds_all()) gather(term, r, depth, at);
      const ConstMatrix matrix = term.matrices.block(from_ + i, r);
      const ConstMatrix x = panel(at, tiles_.depth).from_channel(holds_all() ? r : 0).by_channel();
      if (is_narrow(tiles_.k)) {
        Product{x.transposed(), matrix.transposed(), out, places_, places_, n, depth}.add();
      } else {
        Product{matrix, x, out, n, n, rows_, depth}.add();
      }
    }
  }

  const ChannelMatrix& m_;
  const MapTiles& tiles_;
  double* memory_;
  Index from_, first_, rows_, places_;  // places for positions, those that zeros fill included
};

// Writes y, panel by panel: after(the sum of the terms). value(x, c) and after(z, c) see one value of channel c. y may
// be the x of any term, with a workspace or up to kMostOnStack channels to a group; there is one term without.
template <class Scalar, class After, class... Terms>
void map_groups(const Runner& runner, const ChannelMatrix& m, double* workspace, Scalar* y, const After& after,
                const Terms&... terms) {
  const Index k = m.group_channels(), count = sizeof...(Terms);
  const MapTiles tiles = workspace == nullptr ? MapTiles::on_stack(k, count) : MapTiles::in_workspace(k, count);
  m.each_panel(runner, m.map_parts(), tiles.positions, [&](Index unit, Index group, Index first, Index rows) {
    alignas(kCacheLine) double values[MapTiles::kStackValues];
    double* const memory = workspace == nullptr ? values : workspace + unit * tiles.size();
    PanelMap<Scalar, After>(m, tiles, memory, group, first, rows).run(y, after, terms...);
  });
}

// y = z * gamma + beta and back; null where a layer has neither.
template <class Param>
struct Affine {
  const Param *gamma = nullptr, *beta = nullptr;

  double operator()(double z, Index c) const {
    return gamma == nullptr ? z : product(z, static_cast<double>(gamma[c])) + static_cast<double>(beta[c]);
  }
  // A gamma of 0 took z away: 0 stands for it.
  double inverse(double y, Index c) const {
    if (gamma == nullptr) return y;
    const double factor = static_cast<double>(gamma[c]);
    return is_zero(factor) ? 0 : (y - static_cast<double>(beta[c])) / factor;
  }
};

// y = affine(W (x - mean)).
template <class Scalar, class Param>
void whiten(const Runner& runner, const ChannelMatrix& m, double* workspace, const Scalar* x, Scalar* y,
            const SplitMean& mean, const ConstMatrix& whitening, const Affine<Param>& affine) {
  map_groups(runner, m, workspace, y, affine,
             map_term(x, whitening, [&](double v, Index c) { return mean.centred(v, c); }));
}

// x = mean + C affine^-1(y), C being what the groups' matrices colour with.
template <class Scalar, class Param>
void color(const Runner& runner, const ChannelMatrix& m, double* workspace, const Scalar* y, Scalar* x,
           const Eigen::ArrayXd& mean, const ConstMatrix& coloring, const Affine<Param>& affine) {
  map_groups(
      runner, m, workspace, x, [&](double z, Index c) { return z + mean[c]; },
      map_term(y, coloring, [&](double v, Index c) { return affine.inverse(v, c); }));
}

// What backward finds before it writes dx. Of each group, dx = dy_factors * dy + x_factors * (x - mean) - shift.
struct WhiteningGradients {
  Eigen::ArrayXd dgamma, dbeta;  // (channels)
  Matrix dy_factors, x_factors;  // (channels, group_channels); no x_factors: (0, 0)
  Eigen::ArrayXd shift;          // (channels)
};

// From the sums of dy and of dy (x - mean)^T. With z = W (x - mean): dgamma = sum of dy * z = the diagonal of (sum of
// dy (x - mean)^T) W^T, dW = sum of (gamma * dy) (x - mean)^T, and dx = W^T (gamma * dy - its mean) + 2 / n * dSigma (x
// - mean), dSigma being symmetric. With frozen statistics W^T (gamma * dy) is left.
template <class Real>
WhiteningGradients whitening_gradients(const GroupWhitening<Real>& rule, const WhiteningStatistics& s, Index n,
                                       const Eigen::ArrayXd& sum_dy, const Matrix& products, const Vector& gamma,
                                       bool frozen) {
  const Index k = rule.k, channels = sum_dy.size();
  const double share = 1 / static_cast<double>(n);
  WhiteningGradients g;
  g.dgamma = products.cwiseProduct(s.whitening).rowwise().sum();
  g.dbeta = sum_dy;
  g.dy_factors.resize(channels, k);
  g.shift = Eigen::ArrayXd::Zero(channels);
  if (!frozen) g.x_factors.resize(channels, k);
  for (Index from = 0; from < channels; from += k) {
    g.dy_factors.middleRows(from, k) =
        s.whitening.middleRows(from, k).transpose() * gamma.segment(from, k).asDiagonal();
    if (frozen) continue;
    const Matrix dw = gamma.segment(from, k).asDiagonal() * products.middleRows(from, k);
    g.x_factors.middleRows(from, k) = 2 * share * rule.gradient(s, from, dw);
    Product{ConstMatrix(g.dy_factors).block(from, 0), {sum_dy.data() + from, 1, k}, g.shift.data() + from, k, k, 1, k}
        .add();
  }
  g.shift *= share;
  return g;
}

// dx may be x or dy. With a workspace of map_workspace_size(m, 2).
template <class Scalar>
void input_gradient(const Runner& runner, const ChannelMatrix& m, double* workspace, const Scalar* x, const Scalar* dy,
                    Scalar* dx, const SplitMean& mean, const WhiteningGradients& g) {
  const auto after = [&](double v, Index c) { return v - g.shift[c]; };
  const auto from_dy = map_term(dy, ConstMatrix(g.dy_factors), [](double v, Index) { return v; });
  if (g.x_factors.size() == 0) return map_groups(runner, m, workspace, dx, after, from_dy);
  map_groups(runner, m, workspace, dx, after, from_dy,
             map_term(x, ConstMatrix(g.x_factors), [&](double v, Index c) { return mean.centred(v, c); }));
}

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
