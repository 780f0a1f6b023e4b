#include "timing.hpp"

#include <malloc.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <thread>

namespace bench {

namespace {

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

double run(Contender& contender, int times) {
  const double start = now();
  for (int i = 0; i < times; ++i) contender.run();
  return (now() - start) / times;
}

/// How many runs last about half a millisecond.
int runs_of_a_sample(Contender& contender) {
  constexpr double kSample = 5e-4;
  int runs = 1;
  while (runs < (1 << 20) && run(contender, runs) * runs < kSample) runs *= 2;
  return runs;
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
  constexpr std::size_t kFewest = 3, kMost = 41;
  constexpr double kSlow = 0.2;  // seconds: such runs need no other before them, and no more than the fewest
  std::vector<int> runs;
  runs.reserve(contenders.size());
  for (const Timed& timed : contenders) runs.push_back(runs_of_a_sample(*timed.contender));
  const double start = now();
  for (std::size_t round = 0; round < kMost && (round < kFewest || now() - start < budget); ++round) {
    for (std::size_t i = 0; i < contenders.size(); ++i) {
      Timed& timed = contenders[i];
      const bool slow = !timed.seconds.empty() && timed.seconds.back() > kSlow;
      if (round >= kFewest && slow) continue;
      // Another's threads may still spin: let them go to sleep.
      if (threads > 1) std::this_thread::sleep_for(std::chrono::milliseconds(2));
      if (!slow) timed.contender->run();
      timed.seconds.push_back(run(*timed.contender, runs[i]));
    }
  }
}

void keep_freed_memory() {
  mallopt(M_MMAP_THRESHOLD, std::numeric_limits<int>::max());
  mallopt(M_TRIM_THRESHOLD, std::numeric_limits<int>::max());
  mallopt(M_TOP_PAD, 64 << 20);
}

}  // namespace bench
