// FinishStatistics: the statistics of a block from its sums, and which of them must be summed again.
#pragma once

#include <algorithm>

#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/pass/statistics_block.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

template <class T>
class FinishStatistics {
 public:
  using Block = StatisticsBlock<T>;

  // Writes the statistics in double too, in the layer's order, where `moments` are not null. The plan outlives this.
  FinishStatistics(const FinishRule& rule, const Plan& plan, Moments* moments)
      : plan_(plan), rule_(rule), moments_(moments) {}

  // A new block, whose sums are first taken so. spread_estimates of FindStatistics asks which are due.
  void begin(Block& block, Scale scale) {
    scale_ = scale;
    is_first_ = true;
    if (scale != Scale::kOne) std::fill_n(block.pending, block.stats, Pending(scale, 0));
  }

  // The scale of the next sums, and whether they are the first of the block.
  Scale scale() const { return scale_; }
  bool is_first() const { return is_first_; }

  // Those of a statistic in double.
  // @pre they are wanted
  Moments& moments(const Block& block, Index s) const {
    return moments_[Odometer(plan_.statistics, block.stat + s).stat()];
  }

  // False when some must be summed again, about a better estimate or by another factor.
  bool finish(Block& block) {
    if constexpr (!is_double) {
      if (scale_ == Scale::kOne) {
        bool trusted = false;
        core::dispatch(FinishSums{rule_, block.stats, block.estimate, block.total_d, block.total_d2, block.m2,
                                  block.arrays(), &trusted});
        if (trusted && is_first_) {
          if (moments_ != nullptr) keep_all(block);
          return true;
        }
      }
    }
    const Index trusted = is_double && is_first_ ? finish_trusted(block) : 0;
    return trusted == block.stats || finish_each(block, trusted);
  }

 private:
  static constexpr bool is_double = std::is_same<T, double>::value;

  // Takes the sums of the first statistics, up to one whose sums cannot be trusted. Returns how many.
  Index finish_trusted(Block& block) const {
    const double share = 1 / rule_.n;
    const Trust<T> trust(Scale::kOne, rule_.eps, rule_.least_var);
    for (Index s = 0; s < block.stats; ++s) {
      const Moments m = moments_of(block, s, 1, share);
      const double var = m.m2 * share;
      if (!trust.of(m, var, rule_.n)) return s;
      block.m2[s] = m.m2;
      block.set(s, finished(m, var));
      if (moments_ != nullptr) keep(block, s, m);
    }
    return block.stats;
  }

  Statistic<T> finished(const Moments& m, double var) const {
    return core::finish<T>(m, !is_nan(var) && var < rule_.floor ? rule_.floor : var, rule_.eps);
  }

  // Of the deviations multiplied by f.
  Moments moments_of(const Block& block, Index s, double f, double share) const {
    const double sum = rule_.centred ? -block.total_d[s] : 0;
    return moments_about(static_cast<double>(block.estimate[s]) * f, plan_.stat_size, share, sum, block.total_d2[s]);
  }

  // Each statistic from number `first` on goes its own way, whatever the others of its block do: so its bits are the
  // same in any block.
  bool finish_each(Block& block, Index first) {
    if (is_first_) std::fill_n(block.pending, block.stats, Pending());
    const double f = factor(scale_), share = 1 / rule_.n;
    const bool in_lanes = !is_double && scale_ == Scale::kOne;
    const Trust<T> trust(scale_, rule_.eps, rule_.least_var);
    bool is_any_pending = false;
    for (Index s = first; s < block.stats; ++s) {
      if (!is_first_ && !block.pending[s].is_due(scale_)) {
        is_any_pending = is_any_pending || block.pending[s].is_pending;
        continue;
      }
      Moments m = moments_of(block, s, f, share);
      if (in_lanes) m.m2 = not_negative(block.m2[s]);
      const double var = m.m2 * share;
      const bool trusted = trust.of(m, var, rule_.n);
      if (!trusted && must_sum_again(block, s, m, trust)) {
        is_any_pending = true;
        continue;
      }
      if (!is_first_) block.pending[s] = Pending();
      if (scale_ != Scale::kOne) {
        m = {plan_.stat_size, static_cast<double>(block.estimate[s]), m.correction / f, m.m2 / f / f};
        finish_scaled(block, s, m);
      } else if (!(trusted && in_lanes)) {  // else all is known
        block.m2[s] = m.m2;
        block.set(s, finished(m, var));
      }
      if (moments_ != nullptr) keep(block, s, m);
    }
    is_first_ = false;
    return !(is_any_pending && choose_scale(block));
  }

  // Writes out a statistic in double, where that is wanted.
  __attribute__((cold, noinline)) void keep(const Block& block, Index s, const Moments& m) const {
    moments(block, s) = m;
  }
  __attribute__((cold, noinline)) void keep_all(const Block& block) const {
    for (Index s = 0; s < block.stats; ++s) {
      Moments m = moments_of(block, s, 1, 1 / rule_.n);
      m.m2 = not_negative(block.m2[s]);
      keep(block, s, m);
    }
  }

  // Takes the next scale by which some statistic is to be summed again; false where none is. A scale comes before those
  // that it may be left for.
  bool choose_scale(const Block& block) {
    for (const Scale scale : {Scale::kOne, Scale::kWide, Scale::kDown, Scale::kUp}) {
      const auto is_due = [scale](const Pending& pending) { return pending.is_due(scale); };
      if (!std::any_of(block.pending, block.pending + block.stats, is_due)) continue;
      scale_ = scale;
      return true;
    }
    return false;
  }

  __attribute__((cold, noinline)) void finish_scaled(Block& block, Index s, const Moments& m) const {
    block.m2[s] = m.m2;
    block.set(s, finished(m, m.m2 / rule_.n));
  }

  // Whether to sum again moments that are not trusted: notes how, and about which estimate. A scale is left for another
  // once: kOne for kWide, kDown or kUp, and kDown for kUp. Where the first sums are kWide, those about what is no
  // number are taken again about 0.
  __attribute__((cold, noinline)) bool must_sum_again(Block& block, Index s, const Moments& m,
                                                      const Trust<T>& trust) const {
    constexpr int kTries = 3;
    const int tries = is_first_ ? 1 : block.pending[s].tries + 1;
    const double mean = (m.estimate + m.correction) / factor(scale_), least = trust.least;
    const bool overflowed = !is_finite(m.m2),
               underflowed = !overflowed && m.m2 / rule_.n < least && m.correction * m.correction < least;
    if (is_far(m, trust.variances) && !underflowed && is_finite(mean)) {
      if (tries == kTries) return false;
      block.estimate[s] = static_cast<T>(mean);
      block.pending[s] = Pending(scale_, tries);
      return true;
    }
    const double estimate = static_cast<double>(block.estimate[s]);
    const bool is_blind = !is_finite(estimate);  // the samples of floats overflowed, or are not finite
    if ((scale_ == Scale::kWide && !is_blind) || scale_ == Scale::kUp || (overflowed && scale_ == Scale::kDown))
      return false;
    if (!overflowed) block.estimate[s] = static_cast<T>(mean);
    if (!is_finite(static_cast<double>(block.estimate[s]))) block.estimate[s] = 0;
    block.pending[s] = Pending(!is_double ? Scale::kWide : overflowed ? Scale::kDown : Scale::kUp, 0);
    return true;
  }

  const Plan& plan_;
  FinishRule rule_;
  Moments* moments_;
  Scale scale_ = Scale::kOne;
  bool is_first_ = true;
};

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
