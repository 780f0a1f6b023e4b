// SyncBatchNorm: BatchNorm whose statistics are those of the values of several processes.
#pragma once

#include "tensornorm/requirements.hpp"

#include <utility>

#include "tensornorm/batch_norm.hpp"
#include "tensornorm/communicator.hpp"

namespace tensornorm {

/// Batch normalization in data-parallel training: each rank, a process or a thread, has a part of the batch. In train
/// mode mean and variance are those of the values of all ranks, and so are the means in dx.
///
/// A Communicator is a handle that can be copied, with two calls. `int size()` is the number of ranks. `void
/// all_gather(const double* mine, Index n, double* all)` makes `all` the n doubles of every rank, in rank order; `all`
/// has room for n * size(). tensornorm/mpi.hpp has one of MPI.
///
/// Shapes: as BatchNorm, on each rank. Parts may have different sizes, and a rank may have none. A rank's part may have
/// one value per channel; all parts together need more than one, unless options.allow_single_value.
///
/// Ranks: all construct the layer with the same channels and options, and make the same calls of forward and backward
/// in train mode, in the same order. Each such call gathers once. infer and eval mode gather nothing; without running
/// statistics they use those of the rank's x. Running statistics become the same bits on every rank.
///
/// dgamma() and dbeta() are those of the rank's part, as in PyTorch: they are to be added up with the other gradients.
///
/// Errors: as BatchNorm. Where a rank's call throws, it first tells the others, and every rank throws:
/// std::invalid_argument. No rank waits for ever, and on every rank the layer and the outputs are as before the call.
/// Memory for a y or dx of another size is allocated after the ranks have gathered: std::bad_alloc is then that rank's
/// alone, and so is what AnyNorm refuses before it calls the layer. If all_gather itself throws, the other ranks
/// may wait, and a rank that refuses ends its program. With -fno-exceptions a refused rank ends its program and tells
/// the others nothing. In train mode forward takes no add(), and backward no then_times().
///
/// Cost: a rank sends 32 bytes for each channel in forward (mean and squared deviations, in two doubles each) and 16 in
/// backward (two sums), besides a status and the count; the layer holds 32 for each channel and rank.
/// A forward takes longer than that of BatchNorm, because it sums floats in double and doubles in double-double.
///
/// Precision: as BatchNorm. Statistics are merged from rank 0 up, in double-double. So the bits are the same on every
/// rank and in every run. On any number of ranks y has the bits of one rank, but for a rare last place. Last places of
/// doubles are less rare where the mean is beyond 1e12 deviations, and where deviations are below 1e-110 or beyond
/// 1e110. Counts are exact to 2^53.
///
/// Source: Chan, Golub and LeVeque 1979, formula 2.1, for the union of two parts; else as BatchNorm.
template <class Scalar, class Communicator>
class SyncBatchNorm : public TrackingLayer<SyncBatchNorm<Scalar, Communicator>, Scalar, BatchNormOptions> {
  using Base = TrackingLayer<SyncBatchNorm<Scalar, Communicator>, Scalar, BatchNormOptions>;
  friend Layer<SyncBatchNorm<Scalar, Communicator>, Scalar, true>;
  friend Protocol<SyncBatchNorm<Scalar, Communicator>, core::Engine<Scalar, true>>;
  static_assert(core::IsCommunicator<Communicator>::value,
                "tensornorm: a communicator has size() and all_gather(const double* mine, Index n, double* all)");

 public:
  /// In train mode, with gamma 1, beta 0, running mean 0 and running variance 1. Throws std::invalid_argument as
  /// BatchNorm, when the communicator has no rank, or when options.virtual_batch is not 0.
  SyncBatchNorm(Index channels, Communicator communicator, const BatchNormOptions& options = {})
      : Base(channels, checked(options)), communicator_(std::move(communicator)),
        ranks_(static_cast<Index>(communicator_.size()), channels) {}

  /// forward of BatchNorm, with all of its arguments: `forward(x, y)`, `forward(device, x, y, pass)`.
  template <class... Arguments>
  void forward(Arguments&&... arguments) {
    const Call call = rank_call(Ranks::of_forward);
    Base::forward(std::forward<Arguments>(arguments)...);
  }
  /// forward with a new y, which it returns.
  template <class... Arguments>
  auto operator()(Arguments&&... arguments) {
    const Call call = rank_call(Ranks::of_forward);
    return Base::operator()(std::forward<Arguments>(arguments)...);
  }
  /// backward of BatchNorm, with all of its arguments: `backward(x, dy, dx)`, or `backward(x, dy)`, which returns dx.
  template <class... Arguments>
  auto backward(Arguments&&... arguments) {
    const Call call = rank_call(Ranks::of_backward);
    return Base::backward(std::forward<Arguments>(arguments)...);
  }

  /// The communicator.
  const Communicator& communicator() const { return communicator_; }

 private:
  using Runner = core::Runner;
  using Shape = core::Shape;
  using Target = core::Target<Scalar>;
  using State = core::PassState<Scalar>;
  using Ranks = core::Ranks<typename Base::Param>;

  using Call = core::RankCall<Communicator>;

  static const BatchNormOptions& checked(const BatchNormOptions& options) {
    core::check_that(options.virtual_batch == 0, "virtual_batch is ", options.virtual_batch,
                     " but must be 0 where statistics span ranks");
    return options;
  }

  Call rank_call(Index (*doubles)(Index channels)) {
    return Call(this->training(), ranks_.messages(), communicator_, doubles(this->channels_));
  }
  core::Gather<Communicator> gather() { return {communicator_}; }

  void describe(std::ostream& out) const { this->describe_as("SyncBatchNorm", out); }

  void run_forward(Runner& runner, const Scalar* x, const Shape& shape, Target& y, State* pass = nullptr,
                   core::ResidualArguments<Scalar>* sum = nullptr) {
    if (!this->training()) return Base::run_forward(runner, x, shape, y, pass, sum);
    const Call call = rank_call(Ranks::of_forward);
    core::check_that(sum == nullptr, "statistics that span ranks take no add(): give the sum");
    const auto statement = [this](const Shape& of_x, bool batch) { return axes(of_x, batch); };
    this->run_forward_of_ranks(statement, runner, x, shape, y, pass, ranks_, gather(),
                               this->options_.allow_single_value);
  }
  void run_backward(Runner& runner, const Scalar* x, const Shape& shape, const core::OutputGradient<Scalar>& dy,
                    Target* dx, State* pass = nullptr) {
    if (!this->training()) return Base::run_backward(runner, x, shape, dy, dx, pass);
    const Call call = rank_call(Ranks::of_backward);
    const State& state = pass == nullptr ? this->own_pass() : *pass;
    state.record.check_backward(shape, dy.shape, true);
    core::check_that(dy.post_op == nullptr || dy.post_op->multiply == nullptr,
                     "backward of statistics that span ranks takes no then_times(): give the gradient of the factor");
    const Index values = state.record.rank_values;
    core::check_that(values > 0 || shape.count() == 0, "backward follows a forward of SyncBatchNorm, but this pass of ",
                     shape.count(), " values had another layer's");
    const auto statement = [this](const Shape& of_x, bool batch) { return axes(of_x, batch); };
    const auto add = [&](double* sum_g, double* sum_gx) { ranks_.add(gather(), sum_g, sum_gx); };
    const core::RankSums sums{values, add};
    core::Engine<Scalar, true>::run_backward(statement, runner, x, shape, dy, dx, pass, &sums);
  }

  core::Axes axes(const Shape& x, bool) const {
    const core::AxisSet channel = core::axis(core::channel_axis(x, this->options_.channel_axis, this->channels_, 0));
    return core::make_axes(x, channel, channel);
  }

  Communicator communicator_;
  Ranks ranks_;
};

}  // namespace tensornorm
