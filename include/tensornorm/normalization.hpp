// Normalization: statistics over any axes, parameters along any axes. LayerNorm, RMSNorm, and BatchNorm and
// InstanceNorm without running statistics are this one with names.
#pragma once

#include "tensornorm/requirements.hpp"

#include <ostream>
#include <utility>
#include <vector>

#include "tensornorm/axis_list.hpp"
#include "tensornorm/layer.hpp"

namespace tensornorm {

/// Options of Normalization.
struct NormalizationOptions {
  double eps = 1e-5;    ///< Added to the variance; 0 is allowed.
  bool centred = true;  ///< false: no mean is subtracted, and the mean square takes the place of the variance.
  bool bias = true;     ///< false: there is no beta.
  /// The extents of the axes in `along`, one for each. Empty: those of the x of the first forward, which makes the
  /// parameters.
  std::vector<Index> extents;
};

/// Normalization over any axes: y = (x - mean) / sqrt(var + eps) * gamma + beta. Mean and biased variance are taken
/// over the axes in `over`; parameters vary along the axes in `along`, or there are none. Negative axes count from the
/// end.
///
///     Normalization<float> keras({1, 2, 3}, {1, 2, 3});   // LayerNormalization(axis=[1, 2, 3]); its eps is 1e-3
///     Normalization<float> mvn({0, 2, 3});                // MeanVarianceNormalization, with eps = 0
///     Normalization<float> flax({1, 2}, {2});             // LayerNorm(reduction_axes=(1, 2), feature_axes=2)
///     Normalization<float> rms({2}, {1, 2}, options);     // RMSNorm over groups of channels, with centred = false:
///                                                         // of view(x, {rows, groups, channels / groups})
///
/// Shapes: x has any rank that has these axes, in any layout. gamma and beta have a value for each element of the axes
/// in `along`, row-major in the order that the axes have in x. mean and rstd have a value for each element of the axes
/// that are not in `over`, row-major.
///
/// Parameters: gamma is 1 and beta 0, of the extents in the options. Without these the first forward of an x that is
/// not empty makes them, or takes those that were assigned before; until then parameters() has none, and infer copies
/// the layer, which allocates.
///
/// Modes: train and eval mode compute the same; there are no running statistics.
///
/// Edges and precision: as LayerNorm, of each statistic.
///
/// Source: as LayerNorm; the axes as those of Keras' LayerNormalization, ONNX's MeanVarianceNormalization-13 and Flax's
/// LayerNorm with reduction_axes and feature_axes.
template <class Scalar>
class Normalization : public Layer<Normalization<Scalar>, Scalar, false> {
  using Base = Layer<Normalization<Scalar>, Scalar, false>;
  friend Base;
  friend Protocol<Normalization<Scalar>, core::Engine<Scalar, false>>;

 public:
  /// Throws std::invalid_argument when `over` is empty, options.extents has another number of extents than `along`,
  /// one below 1 or too large a product, or eps is negative or not finite. Axes that x does not have are found in a
  /// call.
  explicit Normalization(std::vector<int> over, std::vector<int> along = {}, const NormalizationOptions& options = {})
      : Base(options.eps, options.centred, core::count_of_extents(along, options.extents), options.bias),
        over_(std::move(over)), along_(std::move(along)), options_(options) {
    core::check_that(!over_.empty(), "a layer over ", over_.size(), " axes: at least 1 is needed");
  }
  /// A layer of nothing, to be assigned to: its calls throw std::invalid_argument.
  Normalization() : Base(1e-5, true, 0, false) {}

  using Base::beta, Base::dbeta, Base::mean;

  /// The axes of the statistics.
  const std::vector<int>& over() const { return over_; }
  /// The axes of the parameters.
  const std::vector<int>& along() const { return along_; }
  /// The options of the layer, with the extents that the parameters have.
  const NormalizationOptions& options() const { return options_; }

 private:
  using Runner = core::Runner;
  using Shape = core::Shape;
  using Target = core::Target<Scalar>;

  void describe(std::ostream& out) const {
    out << "Normalization(over=" << core::as_tuple(over_) << ", along=" << core::as_tuple(along_)
        << ", eps=" << options_.eps << ", centred=" << (options_.centred ? "True" : "False")
        << ", bias=" << (options_.bias ? "True" : "False") << ')';
  }

  core::Axes axes(const Shape& x, bool) const {
    core::check_made(static_cast<Index>(over_.size()));
    core::check_along(x, along_, options_.extents);
    return core::make_axes(x, core::axes_below(x.rank) & ~core::axis_set(x, over_), core::axis_set(x, along_));
  }

  bool is_made() const { return options_.extents.size() == along_.size(); }
  // The same layer with parameters for x; of an empty x, without any.
  Normalization made_for(const Shape& x) const {
    axes(x, true);  // what it refuses is not made
    Normalization made(*this);
    if (x.count() == 0) {
      made.gamma().resize(0);
      made.beta().resize(0);
      return made;
    }
    for (const int a : along_) made.options_.extents.push_back(x.extent(core::axis_of(x, a)));
    const Index count = core::count_of_extents(along_, made.options_.extents);
    made.set_parameter_count(count, options_.bias ? count : 0);
    return made;
  }

  // With a pass of the caller's, or null.
  void run_forward(Runner& runner, const Scalar* x, const Shape& shape, Target& y,
                   core::PassState<Scalar>* pass = nullptr, core::ResidualArguments<Scalar>* sum = nullptr) {
    if (is_made()) return Base::run_forward(runner, x, shape, y, pass, sum);
    Normalization made = made_for(shape);
    made.Base::run_forward(runner, x, shape, y, pass, sum);
    // What was assigned stays where it is: an optimizer may refer to it.
    if (made.gamma().size() == this->gamma().size() || shape.count() == 0) made.gamma().swap(this->gamma());
    if (made.beta().size() == beta().size() || shape.count() == 0) made.beta().swap(beta());
    *this = std::move(made);
  }
  void run_infer(Runner& runner, const Scalar* x, const Shape& shape, Target& y,
                 core::ResidualArguments<Scalar>* sum = nullptr) const {
    if (is_made()) return Base::run_infer(runner, x, shape, y, sum);
    made_for(shape).Base::run_infer(runner, x, shape, y, sum);
  }

  void run_check(const Shape& shape) const {
    core::check_that(is_made(),
                     "check of a Normalization whose parameters the first forward makes: call it after that");
    Base::run_check(shape);
  }

  std::vector<int> over_, along_;
  NormalizationOptions options_;
};

}  // namespace tensornorm
