// What a call has of parameters and given statistics, in the memory of a layer or of its caller.
#pragma once

#include "tensornorm/core/function_ref.hpp"
#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/plan/axis.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

// Statistics that another pass found, one value each, in the layer's order (Axis::stat); null: they are to be found.
template <class T>
struct FoundStatistics {
  const T *hi = nullptr, *lo = nullptr, *rstd = nullptr;
};

// What 1 / rstd is the root of, eps aside.
enum class StatisticKind : unsigned char { kVariance, kMeanSquare, kSumOfSquares };

template <class T>
struct Parameters {
  const T *gamma = nullptr, *beta = nullptr;  // null: 1 and 0; no beta without gamma
  double eps = 0;
  bool centred = true;   // false: the mean is taken to be 0
  bool is_unit = false;  // the sum of squares, eps at least, takes the place of their mean and eps
  const T *frozen_mean = nullptr, *frozen_var = nullptr;  // statistics given, not taken from x
  const T* frozen_scale = nullptr;                        // -rstd * gamma by channel, where it is known
  FoundStatistics<T> found = {};

  T gamma_at(Index param) const { return gamma == nullptr ? T(1) : gamma[param]; }
  bool is_affine() const { return gamma != nullptr; }
  StatisticKind kind() const {
    return is_unit ? StatisticKind::kSumOfSquares : centred ? StatisticKind::kVariance : StatisticKind::kMeanSquare;
  }
  bool is_frozen() const { return frozen_mean != nullptr; }
};

// Of a backward whose statistics are those of several ranks' values: how many in all, and what makes the sums of g and
// g * xhat by statistic those of all ranks. It may throw; the sums of an empty x are null.
struct RankSums {
  Index values;
  FunctionRef<void(double* sum_g, double* sum_gx)> add;
};

// Null: not wanted.
template <class T>
struct ParameterGradients {
  T *dgamma = nullptr, *dbeta = nullptr;

  bool wants_parameters() const { return dgamma != nullptr || dbeta != nullptr; }
};

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
