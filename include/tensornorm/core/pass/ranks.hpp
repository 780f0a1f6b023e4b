// Ranks: what the processes of a training tell each other in a pass whose statistics span them.
#pragma once

#include <vector>

#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/kernel/moments.hpp"
#include "tensornorm/core/pass/parameters.hpp"
#include "tensornorm/core/rank_messages.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

// The messages of one rank, and their arithmetic. Numbers are merged from rank 0 up, in double, so that every rank
// computes the same bits.
template <class T>
class Ranks {
 public:
  // Doubles of a message. Forward: status, n, and of each channel mean and m2 in two doubles. Backward: status, and of
  // each channel the sum of g and that of g * xhat.
  static constexpr Index of_forward(Index channels) { return 2 + 4 * channels; }
  static constexpr Index of_backward(Index channels) { return 1 + 2 * channels; }

  // @pre channels is at least 1
  Ranks(Index size, Index channels)
      : channels_(checked(channels)), messages_(size, of_forward(channels)),
        moments_(static_cast<std::size_t>(channels)), hi_(moments_.size()), lo_(moments_.size()),
        rstd_(moments_.size()), m2_(moments_.size()) {}

  Index channels() const { return channels_; }
  RankMessages& messages() { return messages_; }

  // This rank's, by channel; after `merge` those of all ranks.
  Moments* moments() { return moments_.data(); }
  // Of a channel.
  // @pre merged
  Index values() const { return moments_.front().n; }
  FoundStatistics<T> found() const { return {hi_.data(), lo_.data(), rstd_.data()}; }
  const double* m2() const { return m2_.data(); }

  // Makes the moments and the statistics those of all ranks. @throws std::invalid_argument where a rank refused, or
  // there is one value to a channel and that is not allowed
  void merge(const AllGather& all_gather, double eps, bool allows_one);
  // Makes the sums of every channel those of all ranks; null: this rank has none. @throws as merge
  void add(const AllGather& all_gather, double* sum_g, double* sum_gx);

 private:
  static Index checked(Index channels) {
    constexpr Index kMost = (std::numeric_limits<Index>::max)() / static_cast<Index>(sizeof(Moments)) / of_forward(1);
    check_that(channels <= kMost, channels, " channels: too many");
    return channels;
  }
  Moments received(Index rank, Index channel) const {
    const double* const message = messages_.of(rank, of_forward(channels_));
    const double* const values = message + 2 + 4 * channel;
    return {static_cast<Index>(message[1]), values[0], values[1], values[2], values[3]};
  }

  Index channels_;
  RankMessages messages_;
  std::vector<Moments> moments_;
  std::vector<T> hi_, lo_, rstd_;
  std::vector<double> m2_;
};

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END

#ifndef TENSORNORM_COMPILED
#include "tensornorm/core/pass/ranks-inl.hpp"
#endif
