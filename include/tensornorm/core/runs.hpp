// Runs of neighbouring cells, and the parameters along a tile's line: how values by cell become values by statistic and
// by parameter, and back.
#pragma once

#include "tensornorm/core/cut.hpp"

namespace tensornorm {
namespace core {

// The parameters along the line of a tile, the same for all of its cells.
class LineParams {
 public:
  LineParams(const Axes& line, Index base, Index position, Index count)
      : line_(line), base_(base), position_(position), count_(count) {}

  // How many lie side by side in the order of the line before the next must be looked up; 0 where none do.
  static Index contiguous_run(const Axes& line) {
    if (line.empty()) return 1;
    return line.back().param == 1 ? line.back().extent : 0;
  }
  // @pre the tile lies within one such run
  bool are_contiguous() const { return contiguous_run(line_) > 0; }

  // Calls visit(i, p): the tile's parameter i is number p.
  template <class Visit>
  void each(const Visit& visit) const {
    Odometer at(line_, position_);
    for (Index i = 0; i < count_; ++i, at.next()) visit(i, base_ + at.param());
  }

  // Where they are in `params`, or a copy of them in the order of the line.
  template <class T>
  const T* of(const T* params, T* buffer) const {
    if (are_contiguous()) return first_of(params);
    each([&](Index i, Index p) { buffer[i] = params[p]; });
    return buffer;
  }

  // @pre are_contiguous()
  template <class T>
  T* first_of(T* params) const {
    return params + base_ + (position_ == 0 ? 0 : Odometer(line_, position_).param());
  }

 private:
  const Axes& line_;
  Index base_, position_, count_;
};

// Neighbouring cells along the innermost axis of a tensor of cells: `n` of them from `first` on; stat and param of the
// first, and how they go on.
struct Run {
  Index first, n, stat, stat_stride, param, param_stride;
};

// Calls visit(Run) for the runs that `count` cells from number `begin` on consist of; Run::first counts from there.
inline void for_each_run(const Axes& cells, Index begin, Index count, FunctionRef<void(const Run&)> visit) {
  const Axis inner = cells.empty() ? Axis{1, 0, 0, 0} : cells.back();
  if (begin == 0 && count <= inner.extent) return visit({0, count, 0, inner.stat, 0, inner.param});
  Odometer at(cells.begin(), (std::max)(cells.size() - 1, 0), begin / inner.extent);
  Index in = begin % inner.extent;
  for (Index i = 0; i < count; at.next(), in = 0) {
    const Index n = (std::min)(inner.extent - in, count - i);
    visit({i, n, at.stat() + in * inner.stat, inner.stat, at.param() + in * inner.param, inner.param});
    i += n;
  }
}

// A sum of numbers that come in pieces, all but the last one a multiple of four long: in four chains, since each add
// waits for the one before.
class ChainedSum {
 public:
  void add(const double* values, Index n) {
    Vec<double, 2> v[2];
    Index k = 0;
    for (; k + 4 <= n; k += 4) {
      std::memcpy(v, values + k, sizeof v);
      chains_[0] += v[0];
      chains_[1] += v[1];
    }
    for (; k < n; ++k) rest_ += values[k];
  }
  double total() const {
    const Vec<double, 2> both = chains_[0] + chains_[1];
    return (both[0] + both[1]) + rest_;
  }

 private:
  Vec<double, 2> chains_[2] = {};
  double rest_ = 0;
};

// Adds n neighbours to the places `stride` apart from `to` on, or, without a stride, all to one.
inline void add_run(const double* values, Index n, double* to, Index stride) {
  if (stride != 0) {
    for (Index k = 0; k < n; ++k) to[k * stride] += values[k];
    return;
  }
  ChainedSum sum;
  sum.add(values, n);
  *to += sum.total();
}

// Values by cell become their sums by statistic: the same bits, whatever pieces the cells come in. @pre the pieces
// follow each other, and one that ends within a run of cells is a multiple of four long.
class Fold {
 public:
  // The totals begin with statistic number `first_stat`.
  Fold(const Axes& cells, Index first_stat, double* totals)
      : cells_(cells), run_(cells.empty() || cells.back().stat != 0 ? 0 : cells.back().extent), first_stat_(first_stat),
        totals_(totals) {}

  // The values of n cells from number `cell` on.
  void add(Index cell, Index n, const double* values) {
    Index in = run_ == 0 ? 0 : cell % run_;  // where in its run a piece begins
    for_each_run(cells_, cell, n, [&](const Run& run) {
      double* const to = totals_ + (run.stat - first_stat_);
      if (run.stat_stride != 0) return add_run(values + run.first, run.n, to, run.stat_stride);
      if (in == 0) sum_ = {};
      sum_.add(values + run.first, run.n);
      if (in + run.n == (std::max)(run_, Index{1})) *to += sum_.total();
      in = 0;
    });
  }

 private:
  const Axes& cells_;
  Index run_, first_stat_;
  double* totals_;
  ChainedSum sum_;
};

// n neighbours to another place: four at a time, since a call of memmove takes longer than a few of them.
template <class T>
void copy_run(const T* from, Index n, T* to) {
  Index k = 0;
  for (; k + 4 <= n; k += 4) std::memcpy(to + k, from + k, 4 * sizeof(T));
  for (; k < n; ++k) to[k] = from[k];
}

// A run's values, by cell, to its places among values by statistic.
template <class T>
void put_run(const T* values, const Run& run, T* to) {
  if (run.stat_stride == 1) return copy_run(values + run.first, run.n, to + run.stat);
  for (Index k = 0; k < run.n; ++k) to[run.stat + k * run.stat_stride] = values[run.first + k];
}

// n neighbours all become `value`: four at a time, which compilers do not do by themselves.
template <class T>
void fill_run(T* to, Index n, T value) {
  const Vec<T, 4> four = value - Vec<T, 4>{};
  Index k = 0;
  for (; k + 4 <= n; k += 4) std::memcpy(to + k, &four, sizeof four);
  for (; k < n; ++k) to[k] = value;
}

// The sums of the parts of a block's lines, to be added in order.
class PartSums {
 public:
  // In memory for doubles(parts, cells).
  PartSums(double* memory, Index parts, Index cells) : cells_(cells), p_(memory), pq_(memory + parts * cells) {}

  static constexpr Index doubles(Index parts, Index cells) { return 2 * parts * cells; }

  // Those of the cells from `first` on, with zeros for n of them.
  double* clear_p(Index part, Index first, Index n) { return cleared(p_ + part * cells_ + first, n); }
  double* clear_pq(Index part, Index first, Index n) { return cleared(pq_ + part * cells_ + first, n); }

  void add_to(Index parts, double* p, double* pq) const {
    for (Index part = 0; part < parts; ++part) {
      for (Index i = 0; i < cells_; ++i) p[i] += p_[part * cells_ + i];
      for (Index i = 0; i < cells_; ++i) pq[i] += pq_[part * cells_ + i];
    }
  }

 private:
  static double* cleared(double* sums, Index n) {
    std::fill_n(sums, n, 0.0);
    return sums;
  }

  Index cells_;
  double *p_, *pq_;
};

}  // namespace core
}  // namespace tensornorm
