// The runner of a device: Eigen's, with a thread pool or without.
#pragma once

#include <utility>

#include "tensornorm/core/thread/team.hpp"

/// @def TENSORNORM_PARALLEL_ELEMENTS
/// @ingroup macros
/// Defined for all files of a program as a number: calls of fewer elements stay on the calling thread. Without it the
/// bound is 65 536 in calls back to back, and up to three million where the threads of the pool sleep.

namespace Eigen {
struct DefaultDevice;
}

namespace tensornorm {
namespace core {

// Fewer elements than these stay on the calling thread. A pool's thread that has just been at work still looks for more
// and comes at once: handing over pays from some 15 microseconds of work. One that fell asleep takes ten microseconds
// to come, after a millisecond many more, and both lose what their caches held. (LayerNorm on two cores: 1.2 times as
// fast with 98 304 elements and 1.9 with 393 216 back to back, 1.7 with 1.5 million 50 microseconds after the last
// call, but 0.8 after a millisecond, and then 1.7 with 3 million.)
#ifdef TENSORNORM_PARALLEL_ELEMENTS
constexpr Index kParallelElements = TENSORNORM_PARALLEL_ELEMENTS;
constexpr Index kWakingElements = kParallelElements, kColdElements = kParallelElements;
#else
constexpr Index kParallelElements = 64 << 10, kWakingElements = 1 << 20, kColdElements = 3 << 20;
#endif

// What each thread of a round is to have: to wake one takes its caller about three microseconds (on 16 cores of a Xeon
// a copy of 256 bytes shared among all takes 40).
constexpr Index kThreadElements = kParallelElements / 2 + 1;

// The device of a call without one.
struct CallingThread {};

inline InlineRunner runner_on(const CallingThread&, Index) { return {}; }
inline InlineRunner runner_on(const Eigen::DefaultDevice&, Index) { return {}; }

#ifdef EIGEN_USE_THREADS

// The runner of one call of `elements` elements on a device with a thread pool: the caller and the pool's threads,
// numThreads() in all. Runs inline on a pool's own thread, on a device of one thread or without a pool, and for little
// work.
template <class Device>
class PoolRunner final : public Runner {
 public:
  PoolRunner(const Device& device, Index elements)
      : pool_(elements < kParallelElements ? nullptr : device.getPool()),
        threads_(pool_ == nullptr ? 1 : (std::min<Index>)(device.numThreads(), pool_->NumThreads() + 1)),
        is_large_(threads_ > 1 && pool_->CurrentThreadId() < 0) {
    if (!is_large_ || elements < least_to_share()) return;
    succeeds([this] { team_ = KeptTeams::take(threads_); });  // else there is no memory: the caller does it all
  }
  PoolRunner(const PoolRunner&) = delete;
  PoolRunner& operator=(const PoolRunner&) = delete;
  ~PoolRunner() {
    if (!is_large_) return;
    last_calls.end = Clock::now();
    if (team_ == nullptr) return;
    team_->close();
    last_calls.shared_end = last_calls.end;
    KeptTeams::keep(std::move(team_));
  }

  Index threads() const override { return team_ == nullptr ? 1 : threads_; }

  // Kept from call to call.
  double* memory(Index doubles) override {
    double* result = nullptr;
    if (team_ == nullptr || doubles == 0) return result;
    if (!succeeds([&] { result = team_->memory(doubles); })) team_ = nullptr;
    return result;
  }

 private:
  void run(Index units, Index elements, const Round& round, const Unit& work) const override {
    if (team_ == nullptr || units < 2 || elements < kParallelElements) return run_inline(units, round, work);
    const Index paying = (std::max)(elements / kThreadElements, Index{2});
    Team::run(team_, *pool_, (std::min)(threads_, paying), units, round, work);
  }

  using Clock = std::chrono::steady_clock;
  // What this thread knows of its calls with enough work to share.
  struct LastCalls {
    const void* pool = nullptr;
    Clock::time_point end{}, shared_end{};  // of the last one, and of the last one shared
    int in_succession = 0;                  // calls each right after the one before
  };

  // The pool's threads are awake when they have just been at work, and worth waking when several calls came in quick
  // succession; else as much must be saved as where there are two threads.
  Index least_to_share() const {
    using std::chrono::microseconds;
    constexpr int kSuccession = 4;
    constexpr auto kStaysAwake = microseconds(10), kStaysWarm = microseconds(500);
    if (last_calls.pool != pool_) last_calls = {pool_};
    const auto now = Clock::now();
    last_calls.in_succession = now - last_calls.end < kStaysAwake ? last_calls.in_succession + 1 : 0;
    const auto idle = now - last_calls.shared_end;
    if (idle < kStaysAwake || last_calls.in_succession >= kSuccession) return kParallelElements;
    const Index of_two = idle < kStaysWarm ? kWakingElements : kColdElements;
    return (std::max)(of_two / 2 * threads_ / (threads_ - 1), kParallelElements);
  }

  static inline thread_local LastCalls last_calls;

  decltype(std::declval<const Device&>().getPool()) pool_;
  Index threads_;
  bool is_large_;
  std::shared_ptr<Team> team_;  // null: the caller works alone
};

template <class Device>
PoolRunner<Device> runner_on(const Device& device, Index elements) {
  return PoolRunner<Device>(device, elements);
}

#else

template <class Device>
InlineRunner runner_on(const Device&, Index) {
  static_assert(std::is_same<Device, Eigen::DefaultDevice>::value,
                "tensornorm: a device with a thread pool needs #define EIGEN_USE_THREADS before the first include");
  return {};
}

#endif

}  // namespace core
}  // namespace tensornorm
