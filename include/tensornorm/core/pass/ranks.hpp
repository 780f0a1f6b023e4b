// Ranks: what the processes of a training tell each other in a pass whose statistics span them.
#pragma once

#include <vector>

#include "tensornorm/core/check.hpp"
#include "tensornorm/core/function_ref.hpp"
#include "tensornorm/core/kernel/moments.hpp"
#include "tensornorm/core/pass/parameters.hpp"

namespace tensornorm {
namespace core {

// all_gather(mine, n, all): `all` becomes the n doubles of every rank, in rank order.
using AllGather = FunctionRef<void(const double* mine, Index n, double* all)>;

// The memory and the arithmetic of one rank, made before any call: what a rank sends allocates nothing. Every channel
// sends a status word first, which says whether the rank refused its call; then no rank goes on. Numbers are merged
// from rank 0 up, in double, so that every rank computes the same bits.
template <class T>
class Ranks {
 public:
  // Doubles of a channel: status, n, mean in two parts, m2; status, sum of g, sum of g * xhat.
  static constexpr Index kOfForward = 5, kOfBackward = 3;

  Ranks(Index size, Index channels)
      : size_(size), channels_(channels), mine_(doubles(1)), all_(doubles(size)),
        moments_(static_cast<std::size_t>(channels)), hi_(moments_.size()), lo_(moments_.size()),
        rstd_(moments_.size()), m2_(moments_.size()) {}

  // This rank's, by channel; of all ranks after `merge`.
  Moments* moments() { return moments_.data(); }
  Index channels() const { return channels_; }
  // Of a channel.
  // @pre merged
  Index values() const { return moments_.front().n; }
  FoundStatistics<T> found() const { return {hi_.data(), lo_.data(), rstd_.data()}; }
  const double* m2() const { return m2_.data(); }

  // A call begins, which is to gather once.
  void begin() { has_gathered_ = false; }
  bool has_gathered() const { return has_gathered_; }
  // Tells the others that this rank refused its call, of so many doubles a channel.
  void refuse(Index of_channel, const AllGather& all_gather) {
    mine_[0] = kRefused;
    gather(of_channel, all_gather);
  }

  // Makes the moments and the statistics those of all ranks. @throws std::invalid_argument where a rank refused, or
  // there is one value to a channel and that is not allowed
  void merge(const AllGather& all_gather, double eps, bool allows_one);
  // Makes the sums of every channel those of all ranks; null: this rank has none. @throws as merge
  void add(const AllGather& all_gather, double* sum_g, double* sum_gx);

 private:
  static constexpr double kFine = 0, kRefused = 1;

  std::size_t doubles(Index ranks) const { return static_cast<std::size_t>(ranks * channels_ * kOfForward); }

  void gather(Index of_channel, const AllGather& all_gather) {
    has_gathered_ = true;
    all_gather(mine_.data(), channels_ * of_channel, all_.data());
  }
  const double* of(Index rank, Index channel, Index of_channel) const {
    return all_.data() + (rank * channels_ + channel) * of_channel;
  }
  Moments received(Index rank, Index channel) const {
    const double* const values = of(rank, channel, kOfForward);
    return {static_cast<Index>(values[1]), values[2], values[3], values[4]};
  }
  void check_refused(Index of_channel, const char* call) const;
  static Statistic<T> finished(const Moments& m, double eps);

  Index size_, channels_;
  bool has_gathered_ = true;
  std::vector<double> mine_, all_;
  std::vector<Moments> moments_;
  std::vector<T> hi_, lo_, rstd_;
  std::vector<double> m2_;
};

}  // namespace core
}  // namespace tensornorm

#ifndef TENSORNORM_COMPILED
#include "tensornorm/core/pass/ranks-inl.hpp"
#endif
