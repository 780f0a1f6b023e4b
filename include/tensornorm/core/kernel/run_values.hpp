// Values by bin become values by statistic and by parameter, and back, a run of neighbouring bins at a time.
#pragma once

#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/kernel/vector_ops.hpp"
#include "tensornorm/core/plan/bin_runs.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

// Two neighbouring numbers as doubles, which fit a register of any instruction set, and back.
using Pair = Vec<double, 2>;
template <class T>
void load_pair(const T* from, Pair& to) {
  Vec<T, 2> values;
  std::memcpy(&values, from, sizeof values);
  to = __builtin_convertvector(values, Pair);
}
template <class T>
void store_pair(const Pair& from, T* to) {
  using Values = Vec<T, 2>;
  const Values values = __builtin_convertvector(from, Values);
  std::memcpy(to, &values, sizeof values);
}

// A sum of numbers that come in pieces, all but the last one a multiple of four long: in four chains, since each add
// waits for the one before.
class ChainedSum {
 public:
  void add(const double* values, Index n) {
    ChainedSum sum = *this;  // in registers: the values might lie where this does
    Vec<double, 2> v[2];
    Index k = 0;
    for (; k + 4 <= n; k += 4) {
      std::memcpy(v, values + k, sizeof v);
      sum.chains_[0] += v[0];
      sum.chains_[1] += v[1];
    }
    for (; k < n; ++k) sum.rest_ += values[k];
    *this = sum;
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
    Index k = 0;
    for (; stride == 1 && k + 4 <= n; k += 4) {
      Vec<double, 4> sum, more;
      std::memcpy(&sum, to + k, sizeof sum);
      std::memcpy(&more, values + k, sizeof more);
      sum += more;
      std::memcpy(to + k, &sum, sizeof sum);
    }
    for (; k < n; ++k) to[k * stride] += values[k];
    return;
  }
  ChainedSum sum;
  sum.add(values, n);
  *to += sum.total();
}

// Values by bin become their sums by statistic: the same bits, whatever pieces the bins come in. @pre the pieces
// follow each other, and one that ends within a run of bins is a multiple of four long.
class Fold {
 public:
  // The totals begin with statistic number `first_stat`.
  Fold(const Axes& bins, Index first_stat, double* totals)
      : bins_(bins), run_(bins.empty() || bins.back().stat != 0 ? 0 : bins.back().extent), first_stat_(first_stat),
        totals_(totals) {}

  // The values of n bins from number `bin` on.
  void add(Index bin, Index n, const double* values) {
    Index in = run_ == 0 ? 0 : bin % run_;  // where in its run a piece begins
    for_each_bin_run(bins_, bin, n, [&](const BinRun& run) {
      double* const to = totals_ + (run.stat - first_stat_);
      if (run.stat_stride != 0) return add_run(values + run.first, run.n, to, run.stat_stride);
      if (in == 0) sum_ = {};
      sum_.add(values + run.first, run.n);
      if (in + run.n == (std::max)(run_, Index{1})) *to += sum_.total();
      in = 0;
    });
  }

 private:
  const Axes& bins_;
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

// A run's values, by bin, to its places among values by statistic.
template <class T>
void put_run(const T* values, const BinRun& run, T* to) {
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

// A run's values, from their places among values by statistic, to bins.
template <class T>
void get_run(const T* values, const BinRun& run, T* to) {
  values += run.stat;
  to += run.first;
  if (run.stat_stride == 0) return fill_run(to, run.n, *values);
  if (run.stat_stride == 1) return copy_run(values, run.n, to);
  for (Index k = 0; k < run.n; ++k) to[k] = values[k * run.stat_stride];
}

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
