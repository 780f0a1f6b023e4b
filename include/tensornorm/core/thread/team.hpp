// Team: a thread and the helpers that a thread pool lends it. Programs that use none of Eigen's threads need a platform
// that has none.
#pragma once

#ifdef EIGEN_USE_THREADS
#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>
#endif

#include "tensornorm/core/exceptions.hpp"
#include "tensornorm/core/memory.hpp"
#include "tensornorm/core/thread/runner.hpp"

namespace tensornorm {
namespace core {

#ifdef EIGEN_USE_THREADS

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

// The threads of one call: its leader, which is the caller, and helpers. They share the call's work in rounds, claiming
// units until none is left: each from a share of its own first, so that the next round finds its data in the same
// core's cache, then from the others'. The leader waits only for units already claimed, and for no helper that the pool
// starts late. A helper stays until the call ends, or when it has found nothing for a while: to wake a thread takes
// longer than many a round. Tasks in the pool's queue keep the team alive, whatever becomes of them.
class Team {
 public:
  // Led by the calling thread.
  // @pre threads > 0, the leader's among them
  explicit Team(Index threads) : leader_(thread_number()), shares_(static_cast<std::size_t>(threads)) {}
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  // One round, of some `threads` threads at most. Never throws: a pool that cannot take a task leaves its units to the
  // leader. Helpers do not stay for a round after the last one.
  // @pre called by the leader; work does not throw
  template <class Pool>
  static void run(const std::shared_ptr<Team>& team, Pool& pool, Index threads, Index units, const Round& round,
                  const Unit& work) {
    if (units > kMostUnits) return run_inline(units, round, work);
    if (round.is_last) team->close();
    threads = (std::min)({threads, units, static_cast<Index>(team->shares_.size())});
    team->open(threads, units, round.is_backwards, work);
    call(team, pool, threads - 1 - team->helpers_);
    team->claim(0, 0);
    team->wait();
  }

  // No other round will be opened: helpers need not stay for one.
  void close() { closed_ = true; }

  // Memory for all threads of a call, kept for the next one; throws std::bad_alloc.
  // @pre called by the leader between rounds
  double* memory(Index doubles) {
    if (static_cast<Index>(memory_.size()) < doubles) memory_.resize(static_cast<std::size_t>(doubles));
    return memory_.data();
  }

  // For another call of its leader's; false where helpers of the last one are still to come.
  bool reopen(Index threads) {
    if (helpers_ != 0 || threads != static_cast<Index>(shares_.size())) return false;
    closed_ = false;
    return true;
  }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr Index kMostUnits = 1 << 24;  // leaves room in 32 bits for claims beyond the last unit
  static constexpr auto kStays = std::chrono::microseconds(20);  // without a unit

  // Units [next, end), next in the lower half: whoever adds one has claimed a unit, of whichever round it is by then,
  // or none.
  struct alignas(kCacheLine) Share {
    std::atomic<std::uint64_t> units{0};
    std::atomic<bool> has_worker{false};  // whether some helper has this share's number
  };

  // ---- the leader

  void open(Index threads, Index units, bool is_backwards, const Unit& work) {
    work_ = &work;
    units_ = units;
    is_backwards_ = is_backwards;
    done_.store(0, std::memory_order_relaxed);
    threads_.store(threads, std::memory_order_relaxed);
    joined_.store(1, std::memory_order_relaxed);
    for (Index i = 0; i < threads; ++i) {
      const auto next = static_cast<std::uint64_t>(part_begin(units, i, threads)),
                 end = static_cast<std::uint64_t>(part_begin(units, i + 1, threads));
      shares_[static_cast<std::size_t>(i)].units.store(end << 32 | next, std::memory_order_release);
    }
    ++round_;
  }

  // A helper's task runs perhaps when the pool is gone, and on the leader where a pool is full: there it has no use.
  template <class Pool>
  static void call(const std::shared_ptr<Team>& team, Pool& pool, Index helpers) {
    for (Index i = 0; i < helpers; ++i) {
      ++team->helpers_;
      const auto call_one = [&team, &pool] {
        pool.Schedule([team] {
          if (thread_number() != team->leader_) team->help();
          --team->helpers_;
        });
      };
      if (!succeeds(call_one)) {  // no memory for a helper: those that came, and the leader, do it all
        --team->helpers_;
        return;
      }
    }
  }

  // A unit lasts microseconds, going to sleep and waking tens of them: looks for a while before it sleeps.
  void wait() {
    constexpr int kLooks = 2000;
    for (int look = 0; look < kLooks; ++look, pause()) {
      if (done_.load(std::memory_order_acquire) == units_) return;
    }
    std::unique_lock<std::mutex> lock(mutex_);
    all_done_.wait(lock, [this] { return done_.load(std::memory_order_acquire) == units_; });
  }

  // ---- helpers

  // A number that no other helper has while this one is here: it may claim a unit of the next round still as a thread
  // of the last one. There are fewer helpers than shares.
  Index take_number() {
    for (;;) {
      for (std::size_t i = 1; i < shares_.size(); ++i) {
        if (!shares_[i].has_worker.exchange(true, std::memory_order_acquire)) return static_cast<Index>(i);
      }
    }
  }

  void help() {
    const Index worker = take_number();
    help_as(worker);
    shares_[static_cast<std::size_t>(worker)].has_worker.store(false, std::memory_order_release);
  }

  void help_as(Index worker) {
    Index seen = 0;
    auto leaves = Clock::now() + kStays;
    for (int look = 1;; ++look) {
      const bool closed = closed_;  // before the round is looked at, as the last one may be open
      const Index round = round_;
      if (round != seen) {
        seen = round;
        const Index threads = threads_;
        if (joined_++ < threads && claim(first_share(threads), worker)) leaves = Clock::now() + kStays;
      } else if (!closed && Clock::now() < leaves) {
        look % 64 == 0 ? std::this_thread::yield() : pause();  // perhaps there are more threads than cores
      } else {
        return;
      }
    }
  }

  // The same in every call, and never the leader's: two that begin with one share take other halves of the data from
  // call to call, and wait for them to come from the other's cache (measured with 512 KB on two cores: so it takes 0.87
  // to 0.95 of the time, in a process with more pools 0.36 to 0.6). Helpers whose numbers follow each other begin
  // apart.
  static Index first_share(Index threads) { return threads < 2 ? 0 : 1 + thread_number() % (threads - 1); }

  // Runs units until none is left, beginning with the share `first`, and says whether there was one. A claimed unit
  // keeps its round open, so all units of one call are of one round. What a unit means is read only after it is
  // claimed: until then the round may be over and another one open, of other units and threads.
  bool claim(Index first, Index worker) {
    const Index threads = threads_;
    Index done = 0, all = 0;
    for (Index i = 0; i < threads; ++i) {
      const Index number = (first + i) % threads;
      Share& share = shares_[static_cast<std::size_t>(number)];
      for (;; ++done) {
        const std::uint64_t claimed = share.units.fetch_add(1, std::memory_order_acq_rel);
        const auto unit = static_cast<std::uint32_t>(claimed), end = static_cast<std::uint32_t>(claimed >> 32);
        if (unit >= end) break;
        all = units_;
        (*work_)(is_backwards_ ? part_begin(all, number, threads_) + static_cast<Index>(end - 1 - unit)
                               : static_cast<Index>(unit),
                 worker);
      }
    }
    if (done == 0) return false;
    if (done_.fetch_add(done, std::memory_order_acq_rel) + done == all) {
      const std::lock_guard<std::mutex> lock(mutex_);
      all_done_.notify_one();
    }
    return true;
  }

  const Index leader_;
  std::vector<Share> shares_;
  std::vector<double> memory_;

  // Of the round: written by the leader while no unit is claimed.
  const Unit* work_ = nullptr;
  Index units_ = 0;
  bool is_backwards_ = false;
  std::atomic<Index> threads_{0};

  alignas(kCacheLine) std::atomic<Index> round_{0};
  std::atomic<bool> closed_{false};
  alignas(kCacheLine) std::atomic<Index> done_{0};  // units of the round
  std::atomic<Index> joined_{0};                    // threads of the round
  std::atomic<Index> helpers_{0};                   // called and not gone
  std::mutex mutex_;
  std::condition_variable all_done_;
};

// This thread's teams between its calls. What the last helper freed the next call would ask for, and where cores have
// no cache in common both wait for the allocator's lock (measured: ten microseconds a call). Two are kept, as the
// helpers of one have often not quite left when the next call comes.
class KeptTeams {
 public:
  // For one call; throws std::bad_alloc.
  static std::shared_ptr<Team> take(Index threads) {
    if (!are_gone) {
      for (std::shared_ptr<Team>* const team : {&teams.older, &teams.newer}) {
        if (*team != nullptr && (*team)->reopen(threads)) return std::move(*team);
      }
    }
    return std::make_shared<Team>(threads);
  }
  static void keep(std::shared_ptr<Team> team) {
    if (are_gone) return;
    if (teams.newer != nullptr) teams.older = std::move(teams.newer);
    teams.newer = std::move(team);
  }

 private:
  // Calls may come after a thread's variables are gone: from its other variables, and from static objects.
  struct Teams {
    std::shared_ptr<Team> newer, older;
    ~Teams() { are_gone = true; }
  };
  static inline thread_local bool are_gone = false;
  static inline thread_local Teams teams;
};

#endif

}  // namespace core
}  // namespace tensornorm
