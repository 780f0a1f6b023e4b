// Bodies of whitening_engine.hpp.
#pragma once

#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/pass/layer_state-inl.hpp"
#include "tensornorm/core/pass/staged_pass.hpp"
#include "tensornorm/core/whitening/whiten.hpp"
#include "tensornorm/core/whitening/whitening_engine.hpp"
#include "tensornorm/core/whitening/whitening_ranks.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

template <class Scalar, unsigned settings>
WhiteningEngine<Scalar, settings>::WhiteningEngine(Index channels, const WhiteningOptions& options)
    : State(options.eps, checked(channels, options), options.affine ? channels : 0), channels_(channels),
      options_(options), rule_{options.method, channels / options.groups, options.eps, options.iterations,
                               least_variance(channels / options.groups, Eigen::NumTraits<Scalar>::digits(),
                                              options.eps)},
      running_(channels, rule_.k) {}

template <class Scalar, unsigned settings>
Affine<typename WhiteningEngine<Scalar, settings>::Param> WhiteningEngine<Scalar, settings>::affine() const {
  return options_.affine ? Affine<Param>{gamma_.data(), beta_.data()} : Affine<Param>{};
}

// So many doubles at least; null for none.
template <class Scalar, unsigned settings>
double* WhiteningEngine<Scalar, settings>::room_for(std::size_t size) {
  workspace_.resize((std::max)(workspace_.size(), size));
  return size == 0 ? nullptr : workspace_.data();
}

template <class Scalar, unsigned settings>
Index WhiteningEngine<Scalar, settings>::checked(Index channels, const WhiteningOptions& options) {
  const Index groups = options.groups;
  check_that(groups > 0 && channels > 0, groups, " groups of ", channels, " channels: at least 1 of each is needed");
  check_that(channels % groups == 0, groups, " groups do not divide ", channels, " channels");
  check_that(channels / groups <= kMostGroupChannels, groups, " groups of ", channels,
             " channels: a group has at most ", kMostGroupChannels);
  check_that(options.iterations > 0, options.iterations, " iterations: at least 1 is needed");
  check_momentum(options.momentum);
  return options.affine ? channels : 0;
}

// x as positions by channels; throws when x has not the shape the layer takes or a parameter has not.
template <class Scalar, unsigned settings>
ChannelMatrix WhiteningEngine<Scalar, settings>::checked_matrix(const Shape& x) const {
  const int c = channel_axis(x, options_.channel_axis, channels_, 0);
  this->check_affine();
  this->check_size(running_.mean, channels_, "running_mean");
  check_that(running_.whitening.rows() == channels_ && running_.whitening.cols() == rule_.k,
             "running_whitening has extents (", running_.whitening.rows(), ", ", running_.whitening.cols(),
             ") but the layer needs (", channels_, ", ", rule_.k, ")");
  return {x, c, options_.groups};
}

template <class Scalar, unsigned settings>
WhiteningStatistics WhiteningEngine<Scalar, settings>::batch_statistics(const Runner& runner, const ChannelMatrix& m,
                                                                        const Scalar* x) {
  Statistics s(channels_, rule_.k);
  const Covariance<Scalar> covariance(m, x);
  covariance.run(runner, room_for(covariance.workspace_size()), s.mean, s.lo, s.covariance);
  GroupWhitening<double>(rule_).solve(s);
  return s;
}

// Those of all ranks, of so many values a channel.
template <class Scalar, unsigned settings>
WhiteningStatistics WhiteningEngine<Scalar, settings>::statistics_of(const Runner& runner, const ChannelMatrix& m,
                                                                     const Scalar* x, const WhiteningRankCall& ranks,
                                                                     Index& values) {
  Statistics s(channels_, rule_.k);
  if (m.rows() > 0) {
    const Covariance<Scalar> covariance(m, x);
    covariance.run(runner, room_for(covariance.workspace_size()), s.mean, s.lo, s.covariance);
  }
  values = ranks.ranks.merge(ranks.all_gather, m.rows(), s);
  if (values == 0) return {};
  GroupWhitening<double>(rule_).solve(s);
  return s;
}

inline void refuse_post_op(bool is_given) {
  check_that(!is_given, "Whitening takes no then_relu, then_clip or then_times: apply it to y and dy");
}

template <class Scalar, unsigned settings>
void WhiteningEngine<Scalar, settings>::run_forward(const Runner& runner, const Scalar* x, const Shape& shape,
                                                    Target<Scalar>& y, const WhiteningRankCall* ranks) {
  const ChannelMatrix m = checked_matrix(shape);
  check_that(!training_ || rule_.trains(),
             "whitening by PCA or Cholesky is fitted, not trained, but the mode is train (", training_,
             "): call fit, then eval or infer");
  const bool empty = shape.count() == 0;
  if (training_ && !empty && ranks == nullptr) check_batch(shape, channels_);
  y.take_shape(shape);
  refuse_post_op(y.post_op() != nullptr);
  const std::uint64_t fingerprint = core::fingerprint(x, shape);
  if (!lies_alike(shape, y.shape())) {
    const auto run = [&](const Shape& layout, const Scalar* input, Target<Scalar>& output) {
      run_forward(runner, input, layout, output, ranks);
    };
    copies_.restart();
    run_staged(x, shape, y, lies_alike, copies_, run);
    const Index values = pass_.rank_values;
    pass_.set(shape, fingerprint, training_, training_);
    pass_.rank_values = values;
    return;
  }
  y.check_overlap(x, shape, "x");

  // Everything that can fail comes before anything that changes.
  Statistics next;
  Index values = 0;
  const std::size_t panels_size = empty ? 0 : map_workspace_size(m, 1);
  room_for(panels_size);
  if (ranks != nullptr) {
    next = statistics_of(runner, m, x, *ranks, values);
  } else if (!empty) {
    next = training_ ? batch_statistics(runner, m, x) : running_.frozen();
  }
  double* const panels = room_for(panels_size);
  Scalar* const y_data = y.prepare();
  std::swap(last_, next);
  pass_.set(shape, fingerprint, training_, training_);
  pass_.rank_values = values;
  if (training_ && (!empty || values > 0)) running_.update(last_, options_.momentum);
  if (empty) return;
  whiten(runner, m, panels, x, y_data, last_.split_mean(), ConstMatrix(last_.whitening), affine());
}

template <class Scalar, unsigned settings>
void WhiteningEngine<Scalar, settings>::run_infer(const Runner& runner, const Scalar* x, const Shape& shape,
                                                  Target<Scalar>& y) const {
  const ChannelMatrix m = checked_matrix(shape);
  y.take_shape(shape);
  refuse_post_op(y.post_op() != nullptr);
  if (!lies_alike(shape, y.shape())) {
    CopyMemory<Scalar> copies;
    const auto run = [&](const Shape& layout, const Scalar* input, Target<Scalar>& output) {
      run_infer(runner, input, layout, output);
    };
    return run_staged(x, shape, y, lies_alike, copies, run);
  }
  y.check_overlap(x, shape, "x");
  Scalar* const y_data = y.prepare();
  if (shape.count() == 0) return;
  InPlacePanels panels(m, x == y_data);
  whiten(runner, m, panels.workspace(), x, y_data, running_.split_mean(), ConstMatrix(running_.whitening), affine());
}

template <class Scalar, unsigned settings>
void WhiteningEngine<Scalar, settings>::run_check(const Shape& shape) const {
  checked_matrix(shape);
}

template <class Scalar, unsigned settings>
void WhiteningEngine<Scalar, settings>::run_fit(const Runner& runner, const Scalar* x, const Shape& shape) {
  const ChannelMatrix m = checked_matrix(shape);
  check_batch(shape, channels_);
  if (!lies_alike(shape, shape)) {
    const Shape layout = staged_layout(shape);
    CopyMemory<Scalar> copies;
    return run_fit(runner, staged_input(x, shape, layout, copies), layout);
  }
  const Statistics s = batch_statistics(runner, m, x);
  RunningWhitening fitted(s, GroupWhitening<double>(rule_).coloring(s));
  std::swap(running_, fitted);
}

template <class Scalar, unsigned settings>
void WhiteningEngine<Scalar, settings>::run_inverse(const Runner& runner, const Scalar* y, const Shape& shape,
                                                    Target<Scalar>& x) const {
  const ChannelMatrix m = checked_matrix(shape);
  check_that(running_.is_fitted(), "inverse follows fit, but the running statistics of ", channels_,
             " channels come from no fit or were changed since");
  x.take_shape(shape);
  if (!lies_alike(shape, x.shape())) {
    CopyMemory<Scalar> copies;
    const auto run = [&](const Shape& layout, const Scalar* input, Target<Scalar>& output) {
      run_inverse(runner, input, layout, output);
    };
    return run_staged(y, shape, x, lies_alike, copies, run);
  }
  x.check_overlap(y, shape, "y");
  Scalar* const x_data = x.prepare();
  if (shape.count() == 0) return;
  InPlacePanels panels(m, y == x_data);
  color(runner, m, panels.workspace(), y, x_data, running_.mean, ConstMatrix(running_.fitted.coloring), affine());
}

template <class Scalar, unsigned settings>
void WhiteningEngine<Scalar, settings>::run_backward(const Runner& runner, const Scalar* x, const Shape& shape,
                                                     const OutputGradient<Scalar>& of_y, Target<Scalar>* dx,
                                                     const WhiteningRankCall* ranks) {
  if (dx != nullptr && dx->add_gradient() != nullptr) {
    dx->take_shape(shape);
    dx->check_overlap(x, shape, "x");
    dx->check_overlap(of_y.data, of_y.shape, "dy");
    AddedTarget<Scalar> added(*dx, added_);
    run_backward(runner, x, shape, of_y, &added, ranks);
    return added.finish();
  }
  const Scalar* const dy = of_y.data;
  const Shape& dy_shape = of_y.shape;
  refuse_post_op(of_y.post_op != nullptr);
  pass_.check_backward(shape, dy_shape, training_);
  const ChannelMatrix m = checked_matrix(shape);
  if (dx != nullptr) {
    dx->take_shape(shape);
    dx->check_overlap(x, shape, "x");
    dx->check_overlap(dy, dy_shape, "dy");
  }
  pass_.check_same(shape, core::fingerprint(x, shape));
  if (!lies_alike(shape, dy_shape) || (dx != nullptr && !lies_alike(shape, dx->shape()))) {
    const auto run = [&](const Shape& layout, const Scalar* input, const Scalar* gradient, Target<Scalar>* output) {
      run_backward(runner, input, layout, {gradient, layout}, output, ranks);
    };
    copies_.restart();
    return run_staged_backward(x, shape, dy, dy_shape, dx, pass_, lies_alike, copies_, run);
  }
  if (shape.count() == 0) {
    if (ranks != nullptr) ranks->ranks.add(ranks->all_gather, nullptr, nullptr);
    if (dx != nullptr) dx->prepare();
    if (!is_frozen_ && !accumulates_) this->zero_grad();
    return;
  }
  const std::size_t panels_size = dx == nullptr ? 0 : map_workspace_size(m, 2);
  room_for(panels_size);
  const ParameterGradients<Param> wanted = this->gradients_wanted();
  const WhiteningGradients found = gradients(runner, m, x, dy, ranks);
  double* const panels = room_for(panels_size);
  Scalar* const dx_data = dx == nullptr ? nullptr : dx->prepare();
  if (wanted.dgamma != nullptr) {
    Eigen::Map<Array>(wanted.dgamma, channels_) = found.dgamma.template cast<Param>();
    Eigen::Map<Array>(wanted.dbeta, channels_) = found.dbeta.template cast<Param>();
    this->finish_gradients();
  }
  if (dx != nullptr) input_gradient(runner, m, panels, x, dy, dx_data, last_.split_mean(), found);
}

template <class Scalar, unsigned settings>
WhiteningGradients WhiteningEngine<Scalar, settings>::gradients(const Runner& runner, const ChannelMatrix& m,
                                                                const Scalar* x, const Scalar* dy,
                                                                const WhiteningRankCall* ranks) {
  Eigen::ArrayXd sum_dy(channels_);
  Matrix products(channels_, rule_.k);
  const GradientSums<Scalar> sums(m, x, dy, last_.split_mean());
  sums.run(runner, room_for(sums.workspace_size()), sum_dy, products);
  Vector gamma = Vector::Ones(channels_);
  if (options_.affine) gamma = gamma_.matrix().template cast<double>();
  const GroupWhitening<double> whitening(rule_);
  if (ranks == nullptr) return whitening_gradients(whitening, last_, m.rows(), sum_dy, products, gamma, !pass_.batch);
  const Eigen::ArrayXd of_gamma = products.cwiseProduct(last_.whitening).rowwise().sum(), of_beta = sum_dy;
  ranks->ranks.add(ranks->all_gather, &sum_dy, &products);
  WhiteningGradients all = whitening_gradients(whitening, last_, pass_.rank_values, sum_dy, products, gamma, false);
  all.dgamma = of_gamma;  // of this rank's part
  all.dbeta = of_beta;
  return all;
}

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
