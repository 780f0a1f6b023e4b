#include "timing.hpp"

#include <malloc.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <limits>
#include <numeric>
#include <random>
#include <thread>

#include "pool.hpp"

namespace bench {

namespace {

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

double run(Contender& contender, int times) {
  const double start = now();
  for (int i = 0; i < times; ++i) contender.run();
  return (now() - start) / times;
}

constexpr double kSlow = 0.2;  // seconds: such runs need no other before them, and two are enough

/// How many runs last about half a millisecond, after one that touches all memory. Slow runs count as samples, two of
/// them, as a host may halt one that is not slow.
int runs_of_a_sample(Timed& timed) {
  constexpr double kSample = 5e-4;
  timed.contender->run();
  int runs = 1;
  double took = run(*timed.contender, 1);
  if (took > kSlow) {
    const double again = run(*timed.contender, 1);
    if (again > kSlow) timed.seconds = {took, again};
    took = again;
  }
  for (; runs < (1 << 20) && took < kSample; took = run(*timed.contender, runs) * runs) runs *= 2;
  return runs;
}

/// Waits until no contender's threads spin any more, libgomp's do for seven milliseconds, and then keeps as many
/// cores busy: a virtual one that has slept can take milliseconds to come back.
void settle(int threads) {
  std::this_thread::sleep_for(std::chrono::milliseconds(8));
  const double start = now();
  on_threads(threads, [&](int) {
    while (now() - start < 4e-3) {
    }
  });
}

/// Runs that wake the threads a contender uses and fill the caches: calls back to back are what is measured, and after
/// a pause several of them stay on one thread before others are worth waking, which takes milliseconds in its turn.
void warm_up(Contender& contender, int threads) {
  constexpr double kLong = 15e-3;
  const double start = now();
  do contender.run();
  while (threads > 1 && now() - start < kLong);
}

}  // namespace

double Timed::median() const {
  if (seconds.empty()) return std::numeric_limits<double>::quiet_NaN();
  std::vector<double> sorted = seconds;
  std::sort(sorted.begin(), sorted.end());
  const std::size_t half = sorted.size() / 2;
  return sorted.size() % 2 == 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

void time_in_turns(std::vector<Timed>& contenders, int threads, double budget) {
  constexpr std::size_t kFewest = 5, kMost = 41, kFewestSlow = 2;
  std::vector<int> runs;
  std::vector<bool> is_slow;
  for (Timed& timed : contenders) {
    runs.push_back(runs_of_a_sample(timed));  // NOLINT(performance-inefficient-vector-operation): with the next line
    is_slow.push_back(!timed.seconds.empty());
  }
  std::vector<std::size_t> order(contenders.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::mt19937 random(1);
  const double start = now();
  for (std::size_t round = 0; round < kMost && (round < kFewest || now() - start < budget); ++round) {
    std::shuffle(order.begin(), order.end(), random);
    for (const std::size_t i : order) {
      Timed& timed = contenders[i];
      const bool slow = is_slow[i];
      if (slow && timed.seconds.size() >= kFewestSlow) continue;
      if (threads > 1) settle(threads);
      if (!slow) warm_up(*timed.contender, threads);
      timed.seconds.push_back(run(*timed.contender, runs[i]));
    }
  }
}

void prepare_to_measure() {
#if !defined(__OPTIMIZE__) || !defined(NDEBUG)
  std::cerr << "compiled without optimization or with assertions: these times would mean nothing\n";
  std::exit(1);
#endif
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TRIM_THRESHOLD, std::numeric_limits<int>::max());
  mallopt(M_TOP_PAD, 64 << 20);
}

}  // namespace bench
