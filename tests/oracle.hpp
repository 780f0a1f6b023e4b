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
Sets batch_sets(const Extents& x, int axis);

/// One mean per sample and group of channels: S_i = { k | k_N = i_N, floor(k_C / (C/G)) = floor(i_C / (C/G)) }; gamma
/// and beta per channel.
Sets group_sets(const Extents& x, int axis, Index groups);

/// One mean per sample and channel: mu_nc over s.
Sets instance_sets(const Extents& x, int axis);

/// One mean per row, a row being the last `trailing` axes; gamma and beta along the row.
Sets row_sets(const Extents& x, int trailing);

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
Statistics oracle_statistics(const Values& x, const Sets& sets, double eps, Centred centred = Centred::kYes);

/// Given statistics, as eval mode uses them.
Statistics frozen_statistics(const Values& mean, const Values& var, double eps);

struct Normalized {
  Reals xhat, y;
};

// x, xhat, y (elements); gamma, beta (params), empty without affine
Normalized oracle_forward(const Values& x, const Sets& sets, const Statistics& s, const Values& gamma,
                          const Values& beta);

struct Gradients {
  Reals dx, dgamma, dbeta;
};

// The gradient of sum(dy * y). dy (elements), result dx (elements), dgamma, dbeta (params). With the statistics frozen
// they are constants and only the first term of dx is left.
Gradients oracle_backward(const Values& x, const Values& dy, const Sets& sets, const Statistics& s, const Values& gamma,
                          Centred centred = Centred::kYes, bool frozen = false);

}  // namespace tensornorm_test
