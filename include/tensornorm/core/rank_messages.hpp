// RankMessages: what the processes of a training send each other, in memory made before any call.
#pragma once

#include <limits>
#include <vector>

#include "tensornorm/core/check.hpp"
#include "tensornorm/core/function_ref.hpp"

namespace tensornorm {
namespace core {

// all_gather(mine, n, all): `all` becomes the n doubles of every rank, in rank order.
using AllGather = FunctionRef<void(const double* mine, Index n, double* all)>;

// Every rank sends a message in each call. Its first double is a status, which says whether the rank refused its call;
// then no rank goes on. To send one allocates nothing.
class RankMessages {
 public:
  // Messages of at most so many doubles. @throws std::invalid_argument where there is no rank, or no such memory
  RankMessages(Index size, Index most)
      : size_(checked(size, most)), mine_(static_cast<std::size_t>(most)),
        all_(static_cast<std::size_t>(size) * mine_.size()) {}

  Index size() const { return size_; }

  // Where this rank writes its message, but for the status.
  double* mine() { return mine_.data(); }
  // That of a rank, of n doubles.
  // @pre gathered
  const double* of(Index rank, Index n) const { return all_.data() + rank * n; }

  // @throws std::invalid_argument where a rank refused its call
  void gather(Index n, const AllGather& all_gather, const char* call) {
    send(kFine, n, all_gather);
    for (Index rank = 0; rank < size_; ++rank) {
      check_that(*of(rank, n) < kRefused, "rank ", rank, " of ", size_, " refused its arguments of ", call,
                 ", so no rank goes on: its own error says why");
    }
  }
  // Tells the others that this rank refused its call, whose messages have n doubles.
  void refuse(Index n, const AllGather& all_gather) { send(kRefused, n, all_gather); }

  // A call begins, which gathers once. False inside of another, which counts then.
  bool begin() {
    if (is_in_call_) return false;
    is_in_call_ = true;
    has_gathered_ = false;
    return true;
  }
  // Whether the call ends before it gathered.
  bool ends_early() {
    is_in_call_ = false;
    return !has_gathered_;
  }

 private:
  static constexpr double kFine = 0, kRefused = 1;

  static Index checked(Index size, Index most) {
    constexpr Index kMost = (std::numeric_limits<Index>::max)() / static_cast<Index>(sizeof(double));
    check_that(size > 0, "a communicator of ", size, " ranks: at least 1 is needed");
    check_that(most <= kMost / size, "messages of ", most, " numbers from each of ", size, " ranks: too many");
    return size;
  }

  void send(double status, Index n, const AllGather& all_gather) {
    has_gathered_ = true;
    mine_[0] = status;
    all_gather(mine_.data(), n, all_.data());
  }

  Index size_;
  bool is_in_call_ = false, has_gathered_ = true;
  std::vector<double> mine_, all_;
};

}  // namespace core
}  // namespace tensornorm
