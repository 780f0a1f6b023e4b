// WhiteningRanks: what the processes of a training tell each other of a pass of Whitening.
#pragma once

#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/rank_messages.hpp"
#include "tensornorm/core/whitening/whitening_statistics.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

// The messages of one rank, and their arithmetic, as Ranks: merged from rank 0 up, in double.
class WhiteningRanks {
 public:
  // Doubles of a message: status, n, and of each channel its mean in two parts and its covariances; status, and of each
  // channel the sum of dy and those of its products.
  static constexpr Index of_forward(Index channels, Index k) { return 2 + channels * (2 + k); }
  static constexpr Index of_backward(Index channels, Index k) { return 1 + channels * (1 + k); }

  WhiteningRanks(Index size, Index channels, Index k)
      : channels_(channels), k_(k), messages_(size, of_forward(channels, k)) {}

  RankMessages& messages() { return messages_; }

  // Makes mean, lo and covariance, of n values a channel, those of all ranks. Returns how many values a channel has in
  // all. @throws std::invalid_argument where a rank refused, or there is one value to a channel
  Index merge(const AllGather& all_gather, Index n, WhiteningStatistics& s);
  // Makes the sums those of all ranks; null: this rank has none. @throws std::invalid_argument where a rank refused
  void add(const AllGather& all_gather, Eigen::ArrayXd* sum_dy, Matrix* products);

 private:
  Index channels_, k_;
  RankMessages messages_;
};

// A pass of one rank among others.
struct WhiteningRankCall {
  WhiteningRanks& ranks;
  AllGather all_gather;
};

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END

#ifndef TENSORNORM_COMPILED
#include "tensornorm/core/whitening/whitening_ranks-inl.hpp"
#endif
