// BackwardSums: sums of dy and dy * xhat by map bin become those of dx, by statistic, and those of dbeta and dgamma.
#pragma once

#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/kernel/run_values.hpp"
#include "tensornorm/core/kernel/sums.hpp"
#include "tensornorm/core/pass/parameters.hpp"
#include "tensornorm/core/plan/plan.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

// A share is what one statistic gives one parameter.
template <class T>
class BackwardSums {
 public:
  // All outlive this.
  BackwardSums(const Parameters<T>& parameters, const Plan& plan, const BackwardPlan& backward_plan)
      : parameters_(parameters), backward_plan_(backward_plan), bins_(plan.map_bins.count()),
        shares_(backward_plan_.shares.count()), stats_(plan.statistics.count()),
        params_(parameters.gamma == nullptr ? 0 : plan.params) {}

  // Doubles: sums by share, by statistic and by parameter.
  Index size() const { return 2 * (shares_ + stats_ + params_); }
  // Lays the sums out in so many doubles and sets them to 0.
  void begin(double* memory) {
    share_g_ = memory;
    share_gx_ = share_g_ + shares_;
    g_ = share_gx_ + shares_;
    gx_ = g_ + stats_;
    param_g_ = gx_ + stats_;
    param_gx_ = param_g_ + params_;
    std::fill_n(memory, size(), 0.0);
  }

  // Sums by bin to sums by share.
  __attribute__((flatten)) void add(Index bin, Index n, const double* sum_g, const double* sum_gx) const {
    for_each_bin_run(backward_plan_.share_of, bin, n, [&](const BinRun& run) {
      add_run(sum_g + run.first, run.n, share_g_ + run.stat, run.stat_stride);
      add_run(sum_gx + run.first, run.n, share_gx_ + run.stat, run.stat_stride);
    });
  }

  // What n bins, which have their shares for themselves, give the sums by statistic.
  void finish(Index bin, Index n) const {
    const Index first = Odometer(backward_plan_.share_of, bin).stat();
    for_each_bin_run(backward_plan_.shares, first, n * shares_ / bins_, [&](const BinRun& run) {
      Index k = 0;
      for (; parameters_.gamma != nullptr && run.stat_stride == 1 && run.param_stride == 1 && k + 2 <= run.n; k += 2) {
        Pair gamma;
        load_pair(parameters_.gamma + run.param + k, gamma);
        add_pair(gamma, share_g_ + first + run.first + k, g_ + run.stat + k);
        add_pair(gamma, share_gx_ + first + run.first + k, gx_ + run.stat + k);
      }
      if (run.stat_stride == 0) return finish_one(run, first + run.first);
      for (; k < run.n; ++k) {
        const Index share = first + run.first + k, stat = run.stat + k * run.stat_stride;
        const double gamma = static_cast<double>(parameters_.gamma_at(run.param + k * run.param_stride));
        g_[stat] += product(gamma, share_g_[share]);
        gx_[stat] += product(gamma, share_gx_[share]);
      }
    });
  }

  // The same of a run of one statistic.
  void finish_one(const BinRun& run, Index share) const {
    double g = g_[run.stat], gx = gx_[run.stat];
    for (Index k = 0; k < run.n; ++k) {
      const double gamma = static_cast<double>(parameters_.gamma_at(run.param + k * run.param_stride));
      g += product(gamma, share_g_[share + k]);
      gx += product(gamma, share_gx_[share + k]);
    }
    g_[run.stat] = g;
    gx_[run.stat] = gx;
  }

  // The sums of g = dy * gamma and g * xhat by statistic, in the layer's order.
  double* g() const { return g_; }
  double* gx() const { return gx_; }

  // dbeta and dgamma: the shares, over every axis along which parameters do not vary.
  void store(const ParameterGradients<T>& gradients) const {
    if (params_ == 0 || !gradients.wants_parameters()) return;
    for_each_bin_run(backward_plan_.shares, 0, shares_, [&](const BinRun& run) {
      for (Index k = 0, param = run.param; k < run.n; ++k, param += run.param_stride) {
        param_g_[param] += share_g_[run.first + k];
        param_gx_[param] += share_gx_[run.first + k];
      }
    });
    if (gradients.dbeta != nullptr) dispatch(RoundSums<T>{param_g_, 1, 0, params_, gradients.dbeta});
    if (gradients.dgamma != nullptr) dispatch(RoundSums<T>{param_gx_, 1, 0, params_, gradients.dgamma});
  }

 private:
  static void add_pair(const Pair& gamma, const double* from, double* to) {
    Pair sum, values;
    load_pair(to, sum);
    load_pair(from, values);
    multiply(gamma, values, values);
    store_pair(sum + values, to);
  }

  const Parameters<T>& parameters_;
  const BackwardPlan& backward_plan_;
  Index bins_, shares_, stats_, params_;
  double *share_g_ = nullptr, *share_gx_ = nullptr, *g_ = nullptr, *gx_ = nullptr;
  double *param_g_ = nullptr, *param_gx_ = nullptr;
};

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
