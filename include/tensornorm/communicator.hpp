// What a layer whose statistics span ranks needs of a communicator, and the rule that every call takes part.
#pragma once

#include <type_traits>
#include <utility>

#include "tensornorm/core/exceptions.hpp"
#include "tensornorm/core/rank_messages.hpp"

namespace tensornorm {
namespace core {

template <class Communicator, class = void>
struct IsCommunicator : std::false_type {};
template <class Communicator>
struct IsCommunicator<Communicator,
                      std::void_t<decltype(static_cast<Index>(std::declval<Communicator&>().size())),
                                  decltype(std::declval<Communicator&>().all_gather(
                                      std::declval<const double*>(), std::declval<Index>(), std::declval<double*>()))>>
    : std::true_type {};

template <class Communicator>
struct Gather {
  Communicator& communicator;
  void operator()(const double* mine, Index n, double* all) const { communicator.all_gather(mine, n, all); }
};

// A call of a rank, which takes part in the gather of all ranks, at its end where an error came before. Not active: a
// call that gathers nothing.
template <class Communicator>
class RankCall {
 public:
  RankCall(bool is_active, RankMessages& messages, Communicator& communicator, Index doubles)
      : messages_(messages), communicator_(communicator), doubles_(doubles),
        is_active_(kThrows && is_active && messages.begin()) {}
  RankCall(const RankCall&) = delete;
  RankCall& operator=(const RankCall&) = delete;
  ~RankCall() {
    if (is_active_ && messages_.ends_early()) messages_.refuse(doubles_, Gather<Communicator>{communicator_});
  }

 private:
  RankMessages& messages_;
  Communicator& communicator_;
  const Index doubles_;
  const bool is_active_;
};

}  // namespace core
}  // namespace tensornorm
