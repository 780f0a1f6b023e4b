// WhiteningEngine: the state and the passes of Whitening. It knows pointers and shapes, and no tensor's type.
#pragma once

#include <limits>
#include <vector>

#include "tensornorm/core/copy_memory.hpp"
#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/pass/layer_state.hpp"
#include "tensornorm/core/pass/pass_record.hpp"
#include "tensornorm/core/target.hpp"
#include "tensornorm/core/thread/runner.hpp"
#include "tensornorm/core/whitening/whitening_statistics.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

class ChannelMatrix;
struct WhiteningGradients;
struct WhiteningRankCall;
template <class Param>
struct Affine;

template <class Scalar, unsigned settings = kSettings>
class WhiteningEngine : public LayerState<Scalar, settings> {
  using State = LayerState<Scalar, settings>;

 public:
  using State::beta, State::dbeta;
  using typename State::Array;
  using typename State::Param;

  // Statistics are double: the whitening matrix of correlated channels takes differences of large numbers.

  /// The running mean. It can be assigned, to load a model.
  Eigen::ArrayXd& running_mean() { return running_.mean; }
  const Eigen::ArrayXd& running_mean() const { return running_.mean; }
  /// The running W. It can be assigned, to load a model.
  Eigen::MatrixXd& running_whitening() { return running_.whitening; }
  const Eigen::MatrixXd& running_whitening() const { return running_.whitening; }
  /// The number of batches in the running statistics: calls of forward in train mode, but for those with an empty x; 1
  /// after fit. It can be assigned.
  std::int64_t& num_batches_tracked() { return running_.num_batches_tracked; }
  std::int64_t num_batches_tracked() const { return running_.num_batches_tracked; }

  /// The mean that the last forward subtracted. Empty before the first forward and after an empty x.
  const Eigen::ArrayXd& mean() const { return last_.mean; }
  /// The W by which the last forward multiplied. Empty before the first forward and after an empty x.
  const Eigen::MatrixXd& whitening() const { return last_.whitening; }

  /// The number of channels.
  Index channels() const { return channels_; }
  /// The options that the layer was made with.
  const WhiteningOptions& options() const { return options_; }

 protected:
  WhiteningEngine(Index channels, const WhiteningOptions& options);

  // What a pass over so many elements costs, in what another layer spends on one.
  Index work(const Shape& x) const {
    Index result = 0;
    return __builtin_mul_overflow(x.count(), rule_.k, &result) ? (std::numeric_limits<Index>::max)() : result;
  }

  static constexpr bool kRepeats = false;

  // In train mode, alone or as one of several ranks.
  void run_forward(const Runner& runner, const Scalar* x, const Shape& shape, Target<Scalar>& y,
                   const WhiteningRankCall* ranks = nullptr);
  void run_infer(const Runner& runner, const Scalar* x, const Shape& shape, Target<Scalar>& y) const;
  void run_check(const Shape& shape) const;
  void run_backward(const Runner& runner, const Scalar* x, const Shape& shape, const OutputGradient<Scalar>& of_y,
                    Target<Scalar>* dx, const WhiteningRankCall* ranks = nullptr);
  void run_fit(const Runner& runner, const Scalar* x, const Shape& shape);
  void run_inverse(const Runner& runner, const Scalar* y, const Shape& shape, Target<Scalar>& x) const;

 private:
  using State::accumulates_, State::beta_, State::gamma_, State::is_frozen_, State::training_;
  using Statistics = WhiteningStatistics;

  static Index checked(Index channels, const WhiteningOptions& options);
  ChannelMatrix checked_matrix(const Shape& x) const;
  Statistics batch_statistics(const Runner& runner, const ChannelMatrix& m, const Scalar* x);
  Statistics statistics_of(const Runner& runner, const ChannelMatrix& m, const Scalar* x,
                           const WhiteningRankCall& ranks, Index& values);
  Affine<Param> affine() const;
  WhiteningGradients gradients(const Runner& runner, const ChannelMatrix& m, const Scalar* x, const Scalar* dy,
                               const WhiteningRankCall* ranks);
  double* room_for(std::size_t size);

  Index channels_;
  WhiteningOptions options_;
  WhiteningRule rule_;
  RunningWhitening running_;
  Statistics last_;
  PassRecord pass_;
  std::vector<double> workspace_;
  std::vector<Scalar> added_;  // a dx that is added to
  CopyMemory<Scalar> copies_;  // of tensors that do not lie alike
};

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END

#ifndef TENSORNORM_COMPILED
#include "tensornorm/core/whitening/whitening_engine-inl.hpp"
#endif
