// What a cell's result should be, by plain loops.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "contender.hpp"
#include "scalar.hpp"

namespace bench {

/// A sum that keeps what rounding loses (Knuth's two-sum): 1e8 long doubles one after another lose two digits of what
/// doubles are promised.
template <class Real>
class Sum {
 public:
  void operator+=(Real value) {
    const Real next = sum_ + value, added = next - sum_;
    lost_ += (sum_ - (next - added)) + (value - added);
    sum_ = next;
  }
  Real value() const { return sum_ + lost_; }

 private:
  Real sum_ = 0, lost_ = 0;
};

/// Plain loops over a cell's elements in the order of memory.
template <class Real>
class Oracle {
 public:
  Oracle(const Cell& cell, const Operands& o)
      : cell_(cell), o_(o), sums_(static_cast<std::size_t>(cell.stat_count())) {}

  /// measure(value of the result, value it should have) for every element.
  template <class T, class Measure>
  void compare(const T* result, const Measure& measure) {
    using P = ParamOf<T>;
    const T *x = static_cast<const T*>(o_.x), *dy = static_cast<const T*>(o_.dy);
    const P *gamma = static_cast<const P*>(o_.gamma), *beta = static_cast<const P*>(o_.beta);
    const bool has_beta = cell_.layer != Layer::kRms;
    find_statistics(x, static_cast<const P*>(o_.running_mean), static_cast<const P*>(o_.running_var));
    if (cell_.pass != Pass::kBackward) {
      return each([&](Index i, const Sums& s, Index c) {
        measure(real(result[i]), s.deviation(real(x[i])) * s.rstd * real(gamma[c]) + (has_beta ? real(beta[c]) : 0));
      });
    }
    each([&](Index i, Sums& s, Index c) {
      const Real g = real(dy[i]) * real(gamma[c]);
      s.g += g;
      s.gx += g * s.deviation(real(x[i])) * s.rstd;
    });
    each([&](Index i, const Sums& s, Index c) {
      const Real g = real(dy[i]) * real(gamma[c]), xhat = s.deviation(real(x[i])) * s.rstd;
      measure(real(result[i]), s.rstd * (g - (has_beta ? s.g.value() / n() : 0) - xhat * (s.gx.value() / n())));
    });
  }

  /// Gradients of a backward: measure(dgamma, dbeta) of every channel.
  template <class T, class Measure>
  void gradients(const Measure& measure) {
    const T *x = static_cast<const T*>(o_.x), *dy = static_cast<const T*>(o_.dy);
    find_statistics<T, ParamOf<T>>(x, nullptr, nullptr);
    std::vector<Sum<Real>> dgamma(static_cast<std::size_t>(cell_.c)), dbeta = dgamma;
    each([&](Index i, const Sums& s, Index c) {
      dgamma[static_cast<std::size_t>(c)] += real(dy[i]) * (s.deviation(real(x[i])) * s.rstd);
      dbeta[static_cast<std::size_t>(c)] += real(dy[i]);
    });
    for (std::size_t c = 0; c < dgamma.size(); ++c) measure(dgamma[c].value(), dbeta[c].value());
  }

  /// Running statistics after one forward of BatchNorm: measure(mean, var) of every channel.
  template <class T, class Measure>
  void running_statistics(const Measure& measure) {
    using P = ParamOf<T>;
    const P *mean = static_cast<const P*>(o_.running_mean), *var = static_cast<const P*>(o_.running_var);
    find_statistics(static_cast<const T*>(o_.x), mean, var);
    const auto next = [](Real old, Real batch) { return old + static_cast<Real>(kMomentum) * (batch - old); };
    for (std::size_t c = 0; c < sums_.size(); ++c) {
      measure(next(real(mean[c]), sums_[c].base + sums_[c].rest), next(real(var[c]), sums_[c].d2.value() / (n() - 1)));
    }
  }

 private:
  template <class T>
  static Real real(T value) {
    return to_real<Real>(value);
  }

  /// The mean is base + rest, base being a number of the set: at a large offset their sum would be rounded.
  struct Sums {
    Real base = 0, rest = 0, rstd = 0;
    Sum<Real> d, d2, g, gx;
    bool has_base = false;

    Real deviation(Real x) const { return (x - base) - rest; }
  };

  bool frozen() const { return cell_.pass == Pass::kInfer && cell_.layer == Layer::kBatch; }
  Real n() const { return static_cast<Real>(cell_.count() / cell_.stat_count()); }

  /// visit(i, sums of its statistic, its channel) for every element.
  template <class Visit>
  void each(const Visit& visit) {
    struct Axis {
      Index extent, stride;
      char name;
    };
    Axis axes[] = {
        {cell_.n, cell_.n_stride(), 'n'}, {cell_.c, cell_.c_stride(), 'c'}, {cell_.space(), cell_.s_stride(), 's'}};
    std::sort(std::begin(axes), std::end(axes), [](const Axis& a, const Axis& b) { return a.stride > b.stride; });
    const Index per_stat = cell_.stat_channels(), stats = cell_.c / per_stat;
    Index at[3];
    Index* const n = &at[find(axes, 'n')];
    Index* const c = &at[find(axes, 'c')];
    for (at[0] = 0; at[0] < axes[0].extent; ++at[0]) {
      for (at[1] = 0; at[1] < axes[1].extent; ++at[1]) {
        for (at[2] = 0; at[2] < axes[2].extent; ++at[2]) {
          const Index i = at[0] * axes[0].stride + at[1] * axes[1].stride + at[2] * axes[2].stride;
          const Index stat = (cell_.stat_spans_samples() ? 0 : *n * stats) + *c / per_stat;
          visit(i, sums_[static_cast<std::size_t>(stat)], *c);
        }
      }
    }
  }
  template <class Axes>
  static std::size_t find(const Axes& axes, char name) {
    std::size_t i = 0;
    while (axes[i].name != name) ++i;
    return i;
  }

  template <class T, class P>
  void find_statistics(const T* x, const P* running_mean, const P* running_var) {
    const auto rstd = [](Real var) { return 1 / std::sqrt(var + static_cast<Real>(kEps)); };
    if (frozen()) {
      for (std::size_t c = 0; c < sums_.size(); ++c) {
        sums_[c].base = real(running_mean[c]);
        sums_[c].rstd = rstd(real(running_var[c]));
      }
      return;
    }
    if (cell_.layer != Layer::kRms) find_means(x);
    each([&](Index i, Sums& s, Index) {
      const Real d = s.deviation(real(x[i]));
      s.d2 += d * d;
    });
    for (Sums& s : sums_) s.rstd = rstd(s.d2.value() / n());
  }

  template <class T>
  void find_means(const T* x) {
    each([&](Index i, Sums& s, Index) {
      if (!s.has_base) s.base = real(x[i]);
      s.has_base = true;
      s.d += real(x[i]) - s.base;
    });
    for (Sums& s : sums_) s.rest = s.d.value() / n();
  }

  const Cell& cell_;
  const Operands& o_;
  std::vector<Sums> sums_;
};

/// The largest difference between a result and plain loops in double, in units of what rounding to the scalar explains:
/// at most 1 where both agree.
double disagreement(const Cell& cell, const Operands& operands, const void* result);

/// The largest error of a result against plain loops in long double, of 16-bit results in units of the last place; and
/// as a part of what is promised: in float the larger of 8e-7 and 1.5 units in the last place, in double of 1.5e-15 and
/// 1.5 units, in 16 bits of 1.5 units, one from the correctly rounded number, and 1e-7, which is what the sums in float
/// leave where y is nearly 0.
struct Error {
  double largest = 0, of_promise = 0;
};
Error error_of(const Cell& cell, const Operands& operands, const void* result);

/// The largest errors of what a run left in a layer, each relative to the largest right value; NaN where there is none.
struct ParameterErrors {
  double dgamma = NAN, dbeta = NAN, running_mean = NAN, running_var = NAN;
};
ParameterErrors parameter_errors_of(const Cell& cell, const Operands& operands, const Parameters& parameters);

}  // namespace bench
