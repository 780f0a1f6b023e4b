// TrackingLayer: a layer with a gamma and a beta for each channel, which may have running statistics.
#pragma once

#include <optional>

#include "tensornorm/layer.hpp"

namespace tensornorm {

// Derived provides what Layer says, but for options_.
template <class Derived, class Scalar, class Options>
class TrackingLayer : public Layer<Derived, Scalar, true> {
  using Base = Layer<Derived, Scalar, true>;

 public:
  using Base::beta, Base::dbeta, Base::mean;
  using Base::prepare;
  using Base::running_mean, Base::running_var, Base::num_batches_tracked;

  /// The number of channels.
  Index channels() const { return channels_; }
  /// Another momentum. Throws std::invalid_argument when it is outside [0, 1].
  void set_momentum(const std::optional<double>& momentum) {
    this->change_momentum(momentum);
    options_.momentum = momentum;
  }
  /// The options of the layer.
  const Options& options() const { return options_; }

 protected:
  TrackingLayer() : Base(1e-5, true, 0, false), channels_(0) {}  // of nothing
  TrackingLayer(Index channels, const Options& options)
      : Base(options.eps, true, core::channel_parameters(channels, options.affine, options.momentum), true),
        channels_(channels), options_(options) {
    if (options.track_running_stats) this->track(channels, options.momentum, options.unbiased_running_var);
  }

  // As PyTorch prints it.
  void describe_as(const char* name, std::ostream& out) const {
    out << name << '(' << channels_ << ", eps=" << options_.eps << ", momentum=";
    options_.momentum ? out << *options_.momentum : out << "None";
    out << ", affine=" << (options_.affine ? "True" : "False")
        << ", track_running_stats=" << (options_.track_running_stats ? "True" : "False") << ')';
  }

  Index channels_;
  Options options_;
};

}  // namespace tensornorm
