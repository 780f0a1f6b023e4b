// Sharing work with a pool: every unit runs once, on any pool, from anywhere.
#define EIGEN_USE_THREADS
#include "tensornorm/core/thread/device.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <new>
#include <thread>
#include <vector>

#include "counting_pool.hpp"

namespace {

using namespace tensornorm;
using namespace tensornorm::core;

constexpr Index kMuch = kColdElements;

void parallel_for(const Eigen::ThreadPoolDevice& device, Index units, Index elements, const Unit& work) {
  runner_on(device, elements)(units, elements, work);
}

void expect_each_unit_once(const Eigen::ThreadPoolDevice& device, Index units) {
  std::vector<std::atomic<int>> runs(static_cast<std::size_t>(units));
  parallel_for(device, units, kMuch, [&](Index unit, Index) { ++runs[static_cast<std::size_t>(unit)]; });
  for (const auto& n : runs) ASSERT_EQ(n, 1);
}

TEST(ParallelFor, RunsEveryUnitOnceOnAnyPool) {
  for (const int threads : {0, 1, 2, 3, 8}) {
    Eigen::ThreadPool pool(threads);
    Eigen::ThreadPoolDevice device(&pool, threads + 1);
    for (const Index units : {0, 1, 2, 7, 64}) {
      for (int repeat = 0; repeat < 100; ++repeat) expect_each_unit_once(device, units);
    }
  }
}

// No two threads of a call have one number, and no number is as large as their count.
TEST(ParallelFor, WorkersHaveNumbersOfTheirOwn) {
  Eigen::ThreadPool pool(3);
  const Eigen::ThreadPoolDevice device(&pool, 4);
  for (int round = 0; round < 200; ++round) {
    std::array<std::atomic<int>, 4> at_work{};
    std::atomic<bool> are_apart{true};
    const auto shared = runner_on(device, kMuch);
    for (int next = 0; next < 20; ++next) {
      shared(1 + next % 9, kMuch, [&](Index, Index worker) {
        if (worker < 0 || worker >= 4) return are_apart.store(false);
        if (at_work[static_cast<std::size_t>(worker)].fetch_add(1) != 0) are_apart = false;
        std::this_thread::yield();
        at_work[static_cast<std::size_t>(worker)].fetch_sub(1);
      });
    }
    ASSERT_TRUE(are_apart);
  }
}

void expect_help(int workers, int threads, Index units) {
  Eigen::ThreadPool pool(workers);
  Eigen::ThreadPoolDevice device(&pool, threads);
  std::atomic<bool> other{false};
  const auto caller = std::this_thread::get_id();
  // The caller's units wait until a helper has come, so this ends only when one does.
  parallel_for(device, units, kMuch, [&](Index, Index) {
    if (std::this_thread::get_id() != caller) other = true;
    for (int i = 0; i < 1000 && !other; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  });
  EXPECT_TRUE(other);
}
TEST(ParallelFor, UsesSeveralThreadsWhereItPays) { expect_help(2, 2, 64); }
TEST(ParallelFor, CountsTheCallerAsAThread) { expect_help(1, 2, 2); }

// A call of several rounds wakes a helper for the first of them.
TEST(ParallelFor, KeepsAHelperFromRoundToRound) {
  constexpr int kRounds = 1000;
  tensornorm_test::CountingPool pool(1);
  const Eigen::ThreadPoolDevice device(&pool, 2);
  const auto caller = std::this_thread::get_id();
  std::atomic<int> helped{0};
  {
    const auto runner = runner_on(device, kMuch);
    for (int round = 0; round < kRounds; ++round) {
      std::atomic<bool> other{false};
      runner(2, kMuch, [&](Index, Index) {
        if (std::this_thread::get_id() != caller) other = true;
        const auto start = std::chrono::steady_clock::now();
        while (!other && std::chrono::steady_clock::now() - start < std::chrono::milliseconds(1)) {
        }
      });
      helped += other ? 1 : 0;
    }
  }
  EXPECT_GT(helped, 0);
  EXPECT_LT(pool.scheduled, kRounds);
}

// The last round of a call is as whole as any; so is one after it.
TEST(ParallelFor, RunsTheLastRoundToo) {
  Eigen::ThreadPool pool(2);
  const Eigen::ThreadPoolDevice device(&pool, 3);
  for (int repeat = 0; repeat < 200; ++repeat) {
    std::atomic<int> runs{0};
    const auto count = [&](Index, Index) { ++runs; };
    const auto runner = runner_on(device, kMuch);
    if (repeat % 2 == 0) runner(64, kMuch, count);
    runner.last(64, kMuch, count);
    runner(64, kMuch, count);
    ASSERT_EQ(runs, repeat % 2 == 0 ? 192 : 128);
  }
}

// Backwards as forwards every unit runs once; the caller alone takes the last one first.
TEST(ParallelFor, RunsARoundBackwards) {
  for (const int threads : {1, 2, 3, 5}) {
    Eigen::ThreadPool pool(threads - 1);
    const Eigen::ThreadPoolDevice device(&pool, threads);
    for (const Index units : {1, 2, 7, 64}) {
      for (int repeat = 0; repeat < 100; ++repeat) {
        std::vector<std::atomic<int>> runs(static_cast<std::size_t>(units));
        const auto device_runner = runner_on(device, kMuch);
        device_runner.backwards(units, kMuch, [&](Index unit, Index) { ++runs[static_cast<std::size_t>(unit)]; });
        for (const auto& n : runs) ASSERT_EQ(n, 1);
      }
    }
  }
  const Eigen::DefaultDevice alone;
  const auto device_runner = runner_on(alone, kMuch);
  std::vector<Index> order;
  device_runner.backwards(4, kMuch, [&](Index unit, Index) { order.push_back(unit); });
  EXPECT_EQ(order, (std::vector<Index>{3, 2, 1, 0}));
}

// A helper that comes late to a round finds the next one, which has other units and threads.
TEST(ParallelFor, RunsRoundsOfFewAndManyThreadsInTurn) {
  Eigen::ThreadPool pool(7);
  const Eigen::ThreadPoolDevice device(&pool, 8);
  std::vector<std::atomic<int>> runs(64);
  const auto start = std::chrono::steady_clock::now();
  for (int call = 0; call < 10000 && std::chrono::steady_clock::now() - start < std::chrono::seconds(2); ++call) {
    const auto runner = runner_on(device, kMuch);
    for (int round = 0; round < 20; ++round) {
      runner(2 + round % 3, kMuch, [](Index, Index) {});
      for (auto& n : runs) n = 0;
      runner.backwards(64, kMuch, [&](Index unit, Index) { ++runs[static_cast<std::size_t>(unit)]; });
      for (const auto& n : runs) ASSERT_EQ(n, 1);
    }
  }
}

// A thread keeps the units of its share from a round to one that goes backwards: what it did last it does first.
TEST(ParallelFor, KeepsItsShareBackwards) {
  Eigen::ThreadPool pool(1);
  const Eigen::ThreadPoolDevice device(&pool, 2);
  const auto device_runner = runner_on(device, kMuch);
  const auto caller = std::this_thread::get_id();
  std::atomic<int> others{0};
  std::atomic<Index> first_of_other{7};
  std::vector<Index> order;
  device_runner.backwards(8, kMuch, [&](Index unit, Index) {
    if (std::this_thread::get_id() != caller) {
      if (others++ == 0) first_of_other = unit;
      return;
    }
    order.push_back(unit);
    for (int i = 0; i < 1000 && others == 0; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  });
  ASSERT_FALSE(order.empty());
  EXPECT_EQ(order.front(), 3);
  EXPECT_EQ(first_of_other, 7);
}

// However many calls follow each other, what else the pool was given has its turn.
TEST(ParallelFor, LetsAPoolDoOtherThings) {
  Eigen::ThreadPool pool(1);
  const Eigen::ThreadPoolDevice device(&pool, 2);
  for (int repeat = 0; repeat < 10; ++repeat) {
    std::atomic<bool> done{false};
    for (int call = 0; call < 10; ++call) expect_each_unit_once(device, 64);
    pool.Schedule([&] { done = true; });
    const auto start = std::chrono::steady_clock::now();
    while (!done && std::chrono::steady_clock::now() - start < std::chrono::seconds(20)) {
      expect_each_unit_once(device, 64);
    }
    EXPECT_TRUE(done);
    while (!done) std::this_thread::yield();  // it refers to `done`
  }
}

// Little work wakes nobody, but is shared with threads that are awake.
TEST(ParallelFor, SharesLittleWorkInQuickSuccessionOnly) {
  Eigen::ThreadPool pool(1);
  Eigen::ThreadPoolDevice device(&pool, 2);
  const auto caller = std::this_thread::get_id();
  std::atomic<int> strangers{0};
  const auto call = [&] {
    parallel_for(device, 64, kParallelElements, [&](Index, Index) {
      strangers += std::this_thread::get_id() != caller ? 1 : 0;
      for (const auto start = std::chrono::steady_clock::now();
           std::chrono::steady_clock::now() - start < std::chrono::microseconds(1);) {
      }
    });
  };
  for (int i = 0; i < 10; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    call();
  }
  EXPECT_EQ(strangers, 0);
  for (int i = 0; i < 100000 && strangers == 0; ++i) call();
  EXPECT_GT(strangers, 0);
}

TEST(ParallelFor, RunsInlineOnAPoolsOwnThreadAndForLittleWork) {
  Eigen::ThreadPool pool(2);
  Eigen::ThreadPoolDevice device(&pool, 2);
  Eigen::Barrier done(1);
  std::atomic<int> strangers{0};
  pool.Schedule([&] {
    const auto self = std::this_thread::get_id();
    parallel_for(device, 64, kMuch, [&](Index, Index) { strangers += std::this_thread::get_id() != self ? 1 : 0; });
    done.Notify();
  });
  done.Wait();
  const auto self = std::this_thread::get_id();
  parallel_for(device, 64, kParallelElements - 1,
               [&](Index, Index) { strangers += std::this_thread::get_id() != self ? 1 : 0; });
  EXPECT_EQ(strangers, 0);
}

// A pool whose tasks are lost, as those of one that is cancelled, and one that refuses them.
class UselessPool : public Eigen::ThreadPoolInterface {
 public:
  explicit UselessPool(bool throws) : throws_(throws) {}
  void Schedule(std::function<void()>) override {
    if (throws_) throw std::bad_alloc();
  }
  int NumThreads() const override { return 4; }
  int CurrentThreadId() const override { return -1; }

 private:
  bool throws_;
};
TEST(ParallelFor, DoesAllOfItWhereAPoolDoesNothing) {
  for (const bool throws : {false, true}) {
    UselessPool pool(throws);
    const Eigen::ThreadPoolDevice device(&pool, 4);
    for (int repeat = 0; repeat < 10; ++repeat) expect_each_unit_once(device, 64);
  }
}

// A pool without threads of its own: the caller runs the tasks as it schedules them.
class InlinePool : public UselessPool {
 public:
  InlinePool() : UselessPool(false) {}
  void Schedule(std::function<void()> work) override { work(); }
};
TEST(ParallelFor, MayRunTasksOnTheCaller) {
  InlinePool pool;
  const Eigen::ThreadPoolDevice device(&pool, 4);
  for (int repeat = 0; repeat < 10; ++repeat) expect_each_unit_once(device, 64);
}

// A pool that is busy for good must not keep the caller waiting: it does the work alone, and late helpers find none.
TEST(ParallelFor, DoesNotWaitForHelpersThatNeverStart) {
  std::atomic<bool> release{false};  // before the pool: its threads read it until they end
  Eigen::ThreadPool pool(2);
  Eigen::ThreadPoolDevice device(&pool, 2);
  for (int i = 0; i < 2; ++i) {
    pool.Schedule([&] {
      while (!release) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    });
  }
  expect_each_unit_once(device, 64);
  release = true;
}

TEST(ParallelFor, ServesSeveralCallersAtOnce) {
  Eigen::ThreadPool pool(2);
  Eigen::ThreadPoolDevice device(&pool, 2);
  std::vector<std::thread> callers;
  for (int i = 0; i < 4; ++i) {
    callers.emplace_back([&] {
      for (int repeat = 0; repeat < 200; ++repeat) expect_each_unit_once(device, 16);
    });
  }
  for (std::thread& caller : callers) caller.join();
}

}  // namespace
