// Who runs which unit of work. Units are fixed by the shape, so every device computes the same bits.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <vector>

#include "tensornorm/core/axis.hpp"
#include "tensornorm/core/function_ref.hpp"
#include "tensornorm/core/operand.hpp"

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

// One unit of work.
using Unit = FunctionRef<void(Index unit)>;

// Tells the processor that this thread only waits.
inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

// A number of the calling thread's own, the same in all its calls: neighbours for the threads of one pool.
inline Index thread_number() {
  static std::atomic<Index> threads{0};
  thread_local const Index number = ++threads;
  return number;
}

// Caller and helpers claim numbered units until none is left: each from a share of its own first, so that the next call
// finds its data in the same core's cache, then from the others'. The state lives until the last helper has looked, so
// nobody waits for helpers that the pool starts late; the caller waits only for units already claimed.
class ClaimLoop {
 public:
  ClaimLoop(const Unit& work, Index units, Index threads)
      : work_(work), units_(units), shares_(static_cast<std::size_t>(threads)) {
    for (Index i = 0; i < threads; ++i) {
      shares_[static_cast<std::size_t>(i)].next = part_begin(units, i, threads);
      shares_[static_cast<std::size_t>(i)].end = part_begin(units, i + 1, threads);
    }
  }

  // first_share, of any size, chooses the share to begin with.
  void help(Index first_share) {
    Index done = 0;
    const auto threads = shares_.size(), first = static_cast<std::size_t>(first_share);
    for (std::size_t i = 0; i < threads; ++i) {
      Share& share = shares_[(first + i) % threads];
      for (Index unit = share.next++; unit < share.end; unit = share.next++, ++done) work_(unit);
    }
    if (done == 0) return;
    const std::lock_guard<std::mutex> lock(mutex_);
    done_ += done;
    if (done_ == units_) all_done_.notify_one();
  }

  // A unit lasts microseconds, going to sleep and waking tens of them: looks for a while before it sleeps.
  void wait() {
    constexpr int kLooks = 2000;
    for (int look = 0; look < kLooks; ++look, pause()) {
      if (done_.load(std::memory_order_acquire) == units_) return;
    }
    std::unique_lock<std::mutex> lock(mutex_);
    all_done_.wait(lock, [this] { return done_ == units_; });
  }

 private:
  struct alignas(kLine) Share {
    std::atomic<Index> next{0};
    Index end = 0;
  };

  const Unit work_;  // the caller's: alive while a claimed unit is not done
  const Index units_;
  std::vector<Share> shares_;
  std::atomic<Index> done_{0};
  std::mutex mutex_;
  std::condition_variable all_done_;
};

// Runs work(0) ... work(units - 1), in order on the calling thread.
inline void run_inline(Index units, const Unit& work) {
  for (Index unit = 0; unit < units; ++unit) work(unit);
}

// Shares units among the caller and a pool's threads, `threads` in all. Never throws: a pool that cannot take a task
// leaves its units to the caller.
// @pre work does not throw
template <class Pool>
void run_shared(Pool& pool, Index threads, Index units, const Unit& work) {
  std::shared_ptr<ClaimLoop> loop;
  try {
    loop = std::make_shared<ClaimLoop>(work, units, threads);
    for (Index i = 1; i < (std::min)(threads, units); ++i) {
      pool.Schedule([loop] { loop->help(thread_number()); });  // perhaps when the pool is gone
    }
  } catch (...) {  // no memory for a helper: those that came, and the caller, do it all
  }
  if (loop == nullptr) return run_inline(units, work);
  loop->help(0);
  loop->wait();
}

// A device as the passes see it: who runs `units` units of work over `elements` elements in all.
using Runner = FunctionRef<void(Index units, Index elements, const Unit& work)>;

// The runner of one call of `elements` elements on a device with a thread pool: the caller and the pool's threads,
// numThreads() in all. Runs inline on a pool's own thread, on a device of one thread or without a pool, and for little
// work.
template <class Device>
class PoolRunner {
 public:
  PoolRunner(const Device& device, Index elements)
      : pool_(device.getPool()),
        threads_((std::min<Index>)(device.numThreads(), pool_ == nullptr ? 0 : pool_->NumThreads() + 1)),
        is_large_(threads_ > 1 && elements >= kParallelElements && pool_->CurrentThreadId() < 0),
        shares_(is_large_ && elements >= least_to_share()) {}
  PoolRunner(const PoolRunner&) = delete;
  PoolRunner& operator=(const PoolRunner&) = delete;
  ~PoolRunner() {
    if (!is_large_) return;
    last_calls.end = Clock::now();
    if (shares_) last_calls.shared_end = last_calls.end;
  }

  void operator()(Index units, Index elements, const Unit& work) const {
    if (!shares_ || units < 2 || elements < kParallelElements) return run_inline(units, work);
    run_shared(*pool_, threads_, units, work);
  }

 private:
  using Clock = std::chrono::steady_clock;
  // What this thread knows of its calls with enough work to share.
  struct LastCalls {
    const void* pool = nullptr;
    Clock::time_point end{}, shared_end{};  // of the last one, and of the last one shared
    int in_succession = 0;                  // calls each right after the one before
  };

  // The pool's threads are awake when they have just been at work, and worth waking when several calls came in quick
  // succession.
  Index least_to_share() const {
    using std::chrono::microseconds;
    constexpr int kSuccession = 4;
    constexpr auto kStaysAwake = microseconds(10), kStaysWarm = microseconds(500);
    if (last_calls.pool != pool_) last_calls = {pool_};
    const auto now = Clock::now();
    last_calls.in_succession = now - last_calls.end < kStaysAwake ? last_calls.in_succession + 1 : 0;
    const auto idle = now - last_calls.shared_end;
    if (idle < kStaysAwake || last_calls.in_succession >= kSuccession) return kParallelElements;
    return idle < kStaysWarm ? kWakingElements : kColdElements;
  }

  static inline thread_local LastCalls last_calls;

  decltype(std::declval<const Device&>().getPool()) pool_;
  Index threads_;
  bool is_large_, shares_;
};

inline auto runner_on(const Eigen::DefaultDevice&, Index) {
  return [](Index units, Index, const Unit& work) { run_inline(units, work); };
}
template <class Device>
PoolRunner<Device> runner_on(const Device& device, Index elements) {
  return PoolRunner<Device>(device, elements);
}

}  // namespace core
}  // namespace tensornorm
