// Moments: count, mean and variance of a tensor's values over any axes, which merge with those of other tensors.
#pragma once

#include "tensornorm/requirements.hpp"

#include <vector>

#include "tensornorm/axis_list.hpp"
#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/kernel/moments.hpp"
#include "tensornorm/core/pass/pass_engine.hpp"
#include "tensornorm/core/thread/device.hpp"
#include "tensornorm/protocol.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {

/// The moments of several sets of values: of each, its mean and the sum of its squared deviations. A set is what a
/// statistic is taken of: a channel, a feature, a row. All sets have n values.
///
/// The members are all there is: to keep or to send moments, write them; to read some, fill a Moments. mean is rounded
/// to double, and lo is what the rounding lost.
struct Moments {
  std::vector<Index> extents;  ///< Of the axes that are not summed over. The sets are numbered row-major.
  Index n = 0;                 ///< Values in each set.
  Eigen::ArrayXd mean;         ///< The mean of each set; 0 without values.
  Eigen::ArrayXd lo;           ///< mean + lo is the mean to twice the digits, where deviations are small beside it.
  Eigen::ArrayXd m2;           ///< The sum of the squared deviations of each set.

  /// The variance: m2 / (n - ddof). ddof 0 is the biased one, 1 the unbiased one. NaN of no value.
  Eigen::ArrayXd var(Index ddof = 0) const { return m2 / static_cast<double>(n - ddof); }
};

namespace core {

inline void check_moments(const tensornorm::Moments& m, const char* name) {
  Index sets = 1;
  for (const Index extent : m.extents) sets *= extent;
  check_that(m.mean.size() == m.m2.size() && m.lo.size() == m.m2.size() && (sets == m.m2.size() || m.m2.size() == 0) &&
                 m.n >= 0,
             name, " has ", m.n, " values of ", m.mean.size(), " means, ", m.lo.size(), " lo and ", m.m2.size(),
             " m2, but extents ", MessagePart(m.extents.data(), static_cast<int>(m.extents.size())));
}

// Whether it was never given extents.
inline bool is_blank(const tensornorm::Moments& m) { return m.n == 0 && m.extents.empty() && m.m2.size() == 0; }

template <class Scalar>
tensornorm::Moments find_moments(Runner& runner, const Scalar* x, const Shape& shape, const std::vector<int>& over) {
  const AxisSet reduced = axis_set(shape, over), kept = axes_below(shape.rank) & ~reduced;
  check_that(reduced != 0, "moments over ", over.size(), " axes of x of extents ", shape, ": at least 1 is needed");
  tensornorm::Moments result;
  Index sets = 1;
  result.n = 1;
  for (int d = 0; d < shape.rank; ++d) {
    if (contains(kept, d)) result.extents.push_back(shape.extent(d));
    (contains(kept, d) ? sets : result.n) *= shape.extent(d);
  }
  for (Eigen::ArrayXd* const array : {&result.mean, &result.lo, &result.m2}) array->setZero(sets);
  if (shape.count() == 0) return result;
  std::vector<Moments> all(static_cast<std::size_t>(sets));
  const auto axes = [&](const Shape& of_x, bool) { return make_axes(of_x, kept, 0); };
  PassEngine<Scalar, false>::find_moments({axes, shape, true, false}, runner, x, all.data());
  for (Index i = 0; i < sets; ++i) {
    const Moments& m = all[static_cast<std::size_t>(i)];
    const DoubleDouble mean = two_sum(m.estimate, m.correction);
    result.mean[i] = mean.high;
    result.lo[i] = mean.low;
    result.m2[i] = m.m2;
  }
  return result;
}

}  // namespace core

/// The moments of x over the axes in `over`; negative axes count from the end.
///
///     Moments features = moments(x, {0});           // x is (samples, features): one mean for each feature
///     Moments channels = moments(images, {0, 2, 3});
///
/// x is what forward of a layer takes, of the scalar float, double, Eigen::half or Eigen::bfloat16, with any strides.
///
/// Errors: std::invalid_argument when `over` is empty, names an axis twice, or one that x does not have;
/// std::bad_alloc. Edges: without values along `over`, n is 0; without values along the other axes there are no sets.
/// NaN and infinity stay in their set.
///
/// Precision: that of the layers' statistics, in double. No offset of x costs digits of the variance. The order of
/// additions depends on the shape alone.
template <class X>
Moments moments(const X& x, const std::vector<int>& over);
/// The same on a device.
template <class Device, class X>
Moments moments(const Device& device, const X& x, const std::vector<int>& over) {
  using Scalar = typename core::Traits<X>::Scalar;
  constexpr auto fault = core::first_of({core::fault_of_inputs<Scalar, Device, X>(), core::fault_of_scalar<Scalar>()});
  if constexpr (core::accepted<fault, Device, X>()) {
    const core::Input<X> in(x);
    auto runner = core::runner_on(device, in.shape().count());
    return core::find_moments(runner, in.data(), in.shape(), over);
  }
}

template <class X>
Moments moments(const X& x, const std::vector<int>& over) {
  return moments(core::CallingThread(), x, over);
}

/// The moments of the union of two data sets: files, days or nodes that come one after the other. In any order they are
/// the same to a few roundings of double, and in one order the same bits. Moments without extents, such as a new
/// Moments, leave the others as they are.
///
/// Counts are exact to 2^53. Throws std::invalid_argument when the extents differ, or arrays do not have them.
///
/// Source: Chan, Golub and LeVeque 1979, formula 2.1.
inline Moments merge(const Moments& a, const Moments& b) {
  core::check_moments(a, "the first");
  core::check_moments(b, "the second");
  if (core::is_blank(a)) return b;
  if (core::is_blank(b)) return a;
  core::check_that(a.extents == b.extents && a.m2.size() == b.m2.size(), "moments of extents ",
                   core::MessagePart(a.extents.data(), static_cast<int>(a.extents.size())), " and ",
                   core::MessagePart(b.extents.data(), static_cast<int>(b.extents.size())), " have no union");
  Moments result = a;
  result.n = a.n + b.n;
  for (Index i = 0; i < result.m2.size(); ++i) {
    const core::Moments m = core::merge({a.n, a.mean[i], a.lo[i], a.m2[i]}, {b.n, b.mean[i], b.lo[i], b.m2[i]});
    result.mean[i] = m.estimate;
    result.lo[i] = m.correction;
    result.m2[i] = m.m2;
  }
  return result;
}

}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
