// SyncWhitening: Whitening whose statistics are those of the values of several processes.
#pragma once

#include "tensornorm/requirements.hpp"

#include <utility>

#include "tensornorm/communicator.hpp"
#include "tensornorm/core/whitening/whitening_ranks.hpp"
#include "tensornorm/whitening.hpp"

namespace tensornorm {

/// Whitening in data-parallel training: in train mode mean, covariance and W are those of the values of all ranks, and
/// so are the sums in dx. Ranks, communicators, errors and gradients of parameters are as SyncBatchNorm has them.
///
/// Shapes, modes, edges and precision: as Whitening, on each rank. It trains: options.method is kZca or kNewton. fit
/// and inverse are Whitening's alone.
///
/// Cost: of channels in groups of k, a rank sends 16 + 8 k bytes for each channel in forward, and 8 + 8 k in backward,
/// besides two numbers. The layer holds the message of every rank.
///
/// Source: as Whitening; parts are merged by formula 2.1 of Chan, Golub and LeVeque 1979, for pairs of channels.
template <class Scalar, class Communicator>
class SyncWhitening : public Protocol<SyncWhitening<Scalar, Communicator>, core::WhiteningEngine<Scalar>> {
  using Engine = core::WhiteningEngine<Scalar>;
  using Base = Protocol<SyncWhitening<Scalar, Communicator>, Engine>;
  friend Base;
  static_assert(core::IsCommunicator<Communicator>::value,
                "tensornorm: a communicator has size() and all_gather(const double* mine, Index n, double* all)");

 public:
  /// In train mode, with gamma 1, beta 0, running mean 0 and running W the identity. Throws std::invalid_argument as
  /// Whitening, or when the communicator has no rank.
  SyncWhitening(Index channels, Communicator communicator, const WhiteningOptions& options = {})
      : Base(channels, options), communicator_(std::move(communicator)),
        ranks_(static_cast<Index>(communicator_.size()), channels, channels / options.groups) {}

  /// forward of Whitening: `forward(x, y)`, `forward(device, x, y)`.
  template <class... Arguments>
  void forward(Arguments&&... arguments) {
    const Call call = forward_call();
    Base::forward(std::forward<Arguments>(arguments)...);
  }
  /// forward with a new y, which it returns.
  template <class... Arguments>
  auto operator()(Arguments&&... arguments) {
    const Call call = forward_call();
    return Base::operator()(std::forward<Arguments>(arguments)...);
  }
  /// backward of Whitening: `backward(x, dy, dx)`, or `backward(x, dy)`, which returns dx.
  template <class... Arguments>
  auto backward(Arguments&&... arguments) {
    const Call call = backward_call();
    return Base::backward(std::forward<Arguments>(arguments)...);
  }

  /// The communicator.
  const Communicator& communicator() const { return communicator_; }

 private:
  using Shape = core::Shape;
  using Target = core::Target<Scalar>;
  using Ranks = core::WhiteningRanks;
  using Call = core::RankCall<Communicator>;

  Index k() const { return this->channels() / this->options().groups; }
  Call forward_call() {
    return Call(this->training(), ranks_.messages(), communicator_, Ranks::of_forward(this->channels(), k()));
  }
  Call backward_call() {
    return Call(this->training(), ranks_.messages(), communicator_, Ranks::of_backward(this->channels(), k()));
  }

  void run_forward(const core::Runner& runner, const Scalar* x, const Shape& shape, Target& y) {
    const Call call = forward_call();
    const core::Gather<Communicator> gather{communicator_};
    const core::WhiteningRankCall of_rank{ranks_, gather};
    Engine::run_forward(runner, x, shape, y, this->training() ? &of_rank : nullptr);
  }
  void run_backward(const core::Runner& runner, const Scalar* x, const Shape& shape,
                    const core::OutputGradient<Scalar>& dy, Target* dx) {
    const Call call = backward_call();
    const core::Gather<Communicator> gather{communicator_};
    const core::WhiteningRankCall of_rank{ranks_, gather};
    Engine::run_backward(runner, x, shape, dy, dx, this->training() ? &of_rank : nullptr);
  }

  void print(std::ostream& out) const {
    out << "SyncWhitening(" << this->channels() << ", groups=" << this->options().groups
        << ", eps=" << this->options().eps << ')';
  }

  Communicator communicator_;
  Ranks ranks_;
};

}  // namespace tensornorm
