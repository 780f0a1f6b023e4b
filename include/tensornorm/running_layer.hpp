// RunningLayer: a layer over channels that may track running statistics, BatchNorm or InstanceNorm.
#pragma once

#include "tensornorm/centred_layer.hpp"

namespace tensornorm {
template <class Derived, class Scalar>
class RunningLayer : public CentredLayer<Derived, Scalar> {
 public:
  using Base = CentredLayer<Derived, Scalar>;
  using typename Base::Array;

  /// Running statistics, assignable to load a trained layer; of size 0 when they are not tracked.
  Array& running_mean() { return this->running_.mean; }
  const Array& running_mean() const { return this->running_.mean; }
  Array& running_var() { return this->running_.var; }
  const Array& running_var() const { return this->running_.var; }
  /// Forward passes in train mode so far, empty ones left out.
  std::int64_t& num_batches_tracked() { return this->running_.num_batches_tracked; }
  std::int64_t num_batches_tracked() const { return this->running_.num_batches_tracked; }

  Index channels() const { return channels_; }

 protected:
  template <class Options>
  RunningLayer(Index channels, const Options& options)
      : Base(options.eps, checked(channels, options), options.affine), channels_(channels) {
    if (options.track_running_stats) this->track(channels, options.momentum, options.unbiased_running_var);
  }

  core::Axes channel_axes(const core::Shape& x, Index wanted) const {
    const int c = core::channel_axis(x, wanted, channels_, 0);
    return core::make_axes(x, core::axis(c), core::axis(c));
  }

 private:
  // Before anything of that size is allocated. Returns the number of parameters.
  template <class Options>
  static Index checked(Index channels, const Options& options) {
    core::check_that(channels > 0, "a layer of ", channels, " channels: at least 1 is needed");
    core::check_momentum(options.momentum);
    return options.affine ? channels : 0;
  }

  Index channels_;
};

}  // namespace tensornorm
