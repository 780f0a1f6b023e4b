// Who runs which unit of work. Units are fixed by the shape, so every device computes the same bits.
#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>

#include "tensornorm/core/axis.hpp"
#include "tensornorm/core/function_ref.hpp"

namespace Eigen {
struct DefaultDevice;
}

namespace tensornorm {
namespace core {

// Fewer elements than this, some ten microseconds of work, stay on the calling thread: waking another takes longer.
constexpr Index kParallelElements = 32 << 10;

// One unit of work.
using Unit = FunctionRef<void(Index unit)>;

// Caller and helpers claim numbered units until none is left. The state lives until the last helper has looked, so
// nobody waits for helpers that the pool starts late; the caller waits only for units already claimed.
class ClaimLoop {
 public:
  ClaimLoop(const Unit& work, Index units) : work_(work), units_(units) {}

  void help() {
    Index done = 0;
    for (Index unit = next_++; unit < units_; unit = next_++, ++done) work_(unit);
    if (done == 0) return;
    const std::lock_guard<std::mutex> lock(mutex_);
    done_ += done;
    if (done_ == units_) all_done_.notify_one();
  }

  void wait() {
    std::unique_lock<std::mutex> lock(mutex_);
    all_done_.wait(lock, [this] { return done_ == units_; });
  }

 private:
  const Unit work_;  // the caller's: alive while a claimed unit is not done
  const Index units_;
  std::atomic<Index> next_{0};
  Index done_ = 0;
  std::mutex mutex_;
  std::condition_variable all_done_;
};

// Runs work(0) ... work(units - 1), in order on the calling thread.
inline void run_inline(Index units, const Unit& work) {
  for (Index unit = 0; unit < units; ++unit) work(unit);
}

inline void parallel_for(const Eigen::DefaultDevice&, Index units, Index, const Unit& work) { run_inline(units, work); }

// The same on a device with a thread pool. Runs inline on a pool's own thread, on pools of one or none and for little
// work. Never throws: a pool that cannot take a task leaves its units to the caller.
// @pre work does not throw
template <class Device>
void parallel_for(const Device& device, Index units, Index elements, const Unit& work) {
  auto* pool = device.getPool();
  const Index threads = (std::min<Index>)(device.numThreads(), pool == nullptr ? 0 : pool->NumThreads());
  if (threads < 2 || units < 2 || elements < kParallelElements || pool->CurrentThreadId() >= 0) {
    return run_inline(units, work);
  }
  std::shared_ptr<ClaimLoop> loop;
  try {
    loop = std::make_shared<ClaimLoop>(work, units);
    for (Index i = 1; i < (std::min)(threads, units); ++i) pool->Schedule([loop] { loop->help(); });
  } catch (...) {  // no memory for a helper: those that came, and the caller, do it all
  }
  if (loop == nullptr) return run_inline(units, work);
  loop->help();
  loop->wait();
}

// A device as the passes see it: who runs `units` units of work over `elements` elements in all.
using Runner = FunctionRef<void(Index units, Index elements, const Unit& work)>;

template <class Device>
auto runner_on(const Device& device) {
  return [&device](Index units, Index elements, const Unit& work) { parallel_for(device, units, elements, work); };
}

// Runs work(b, unit) for the blocks 0 ... blocks - 1, those of a unit in order on one thread.
inline void run_blocks(const Runner& run, Index blocks, Index units, Index elements,
                       FunctionRef<void(Index b, Index unit)> work) {
  run(units, elements, [&](Index unit) {
    for (Index b = part_begin(blocks, unit, units); b < part_begin(blocks, unit + 1, units); ++b) work(b, unit);
  });
}

}  // namespace core
}  // namespace tensornorm
