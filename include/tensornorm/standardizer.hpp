// Standardizer: data that arrive in pieces, scaled to mean 0 and variance 1.
#pragma once

#include "tensornorm/requirements.hpp"

#include <cstring>
#include <utility>
#include <vector>

#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/moments.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {

/// Standardization of a data set: y = (x - mean) / sqrt(var), by mean and biased variance over the axes in `over` of
/// all pieces that it was given, as scikit-learn's StandardScaler.
///
///     Standardizer<float> standardizer;             // over axis 0: x is (samples, features)
///     for (const auto& piece : pieces) standardizer.partial_fit(piece);
///     standardizer.transform(x, y);
///     standardizer.inverse(y, x);
///
/// Shapes: pieces, x and y are tensors as layers take them, in any layout. Pieces may differ along the axes in `over`.
/// The other axes have the extents of the first piece.
///
/// Errors: std::invalid_argument when an axis or an extent is wrong, or nothing was fitted before transform or inverse;
/// std::bad_alloc. The standardizer and the output are then as before the call.
///
/// Edges: where the variance is 0, x is divided by 1, as in scikit-learn. NaN and infinity stay in their set, whose y
/// is NaN from then on. An empty piece changes nothing.
///
/// Precision: as moments(), so no offset of x costs digits of y. inverse gives x within two units in the last place of
/// the larger of x and its mean. Threads: many may call transform and inverse at once.
template <class Scalar_>
class Standardizer {
  static_assert(core::kIsScalar<Scalar_>,
                "tensornorm: a standardizer's scalar is float, double, Eigen::half or Eigen::bfloat16");

 public:
  /// The type of the elements of x and y.
  using Scalar = Scalar_;
  /// float, or double for double.
  using Param = ParamOf<Scalar>;

  /// Of samples along axis 0.
  Standardizer() : Standardizer(std::vector<int>{0}) {}
  /// Over these axes; negative ones count from the end.
  explicit Standardizer(std::vector<int> over) : over_(std::move(over)) {}

  /// Takes a piece of the data in.
  template <class X>
  void partial_fit(const X& x) {
    partial_fit(core::CallingThread(), x);
  }
  /// The same on a device.
  template <class Device, class X>
  void partial_fit(const Device& device, const X& x) {
    if constexpr (core::accepted<core::fault_of_inputs<Scalar, Device, X>(), Device, X>()) {
      merge(tensornorm::moments(device, x, over_));
    }
  }
  /// Takes in what another one, or moments(), found of a part of the data.
  void merge(const Moments& part) { take(tensornorm::merge(moments_, part)); }

  /// The moments of all that was taken in.
  const Moments& moments() const { return moments_; }
  /// The axes of the moments.
  const std::vector<int>& over() const { return over_; }

  /// y = (x - mean) / sqrt(var). y may be x.
  template <class X, class Y>
  void transform(const X& x, Y&& y) const {
    transform(core::CallingThread(), x, y);
  }
  /// The same on a device.
  template <class Device, class X, class Y>
  void transform(const Device& device, const X& x, Y&& y) const {
    core::Parameters<Param> parameters;
    parameters.found = {hi_.data(), lo_.data(), rstd_.data()};
    run(device, x, y, "y", parameters);
  }
  /// x = y * sqrt(var) + mean. x may be y.
  template <class Y, class X>
  void inverse(const Y& y, X&& x) const {
    inverse(core::CallingThread(), y, x);
  }
  /// The same on a device.
  template <class Device, class Y, class X>
  void inverse(const Device& device, const Y& y, X&& x) const {
    core::Parameters<Param> parameters;
    parameters.found = {zero_.data(), zero_.data(), one_.data()};
    parameters.gamma = std_.data();
    parameters.beta = hi_.data();
    run(device, y, x, "x", parameters);
  }

 private:
  using Array = Eigen::Array<Param, Eigen::Dynamic, 1>;

  // All that can fail comes before anything that changes.
  void take(Moments moments) {
    const Index n = moments.m2.size();
    Array hi(n), lo(n), rstd(n), std(n), zero = Array::Zero(n), one = Array::Ones(n);
    for (Index i = 0; i < n && moments.n > 0; ++i) {
      const core::Moments m{moments.n, moments.mean[i], moments.lo[i], moments.m2[i]};
      const double var = m.var(), divided_by = !core::is_nan(var) && var <= 0 ? 1 : var;
      const core::Statistic<Param> s = core::finish<Param>(m, divided_by, 0);
      hi[i] = s.hi;
      lo[i] = s.lo;
      rstd[i] = s.rstd;
      std[i] = static_cast<Param>(std::sqrt(divided_by));
    }
    moments_ = std::move(moments);
    hi_.swap(hi);
    lo_.swap(lo);
    rstd_.swap(rstd);
    std_.swap(std);
    zero_.swap(zero);
    one_.swap(one);
  }

  void check_shape(const char* name, const core::Shape& x, core::AxisSet kept) const {
    core::check_that(moments_.n > 0, "a standardizer of ", moments_.n, " values: fit it first");
    std::size_t i = 0;
    bool fits = true;
    for (int d = 0; d < x.rank; ++d) {
      if (!core::contains(kept, d)) continue;
      fits = fits && i < moments_.extents.size() && moments_.extents[i] == x.extent(d);
      ++i;
    }
    core::check_that(fits && i == moments_.extents.size(), name, " of extents ", x, " does not have the extents ",
                     core::MessagePart(moments_.extents.data(), static_cast<int>(moments_.extents.size())),
                     " along the axes that are not summed over");
  }

  template <class Device, class X, class Y>
  void run(const Device& device, const X& x, Y& y, const char* name, const core::Parameters<Param>& parameters) const {
    if constexpr (core::accepted<core::fault_of_call<Scalar, Device, Y, X>(), Device, X, Y>()) {
      const core::Input<X> in(x);
      core::OutputOf<Y> out(y, name);
      const core::AxisSet kept = core::axes_below(in.shape().rank) & ~core::axis_set(in.shape(), over_);
      check_shape(std::strcmp(name, "x") == 0 ? "y" : "x", in.shape(), kept);
      const auto axes = [&](const core::Shape& of_x, bool) {
        return core::make_axes(of_x, kept, parameters.is_affine() ? kept : 0);
      };
      auto runner = core::runner_on(device, in.shape().count());
      core::PassEngine<Scalar, false>::infer({axes, in.shape(), true, false}, parameters, runner, in.data(), out,
                                             nullptr, nullptr);
    }
  }

  std::vector<int> over_;
  Moments moments_;
  Array hi_, lo_, rstd_, std_, zero_, one_;
};

}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
