#pragma once

// Independent runs side by side.

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <future>
#include <thread>
#include <vector>

namespace digits {

/// work(0) to work(count - 1), each on one thread, at most as many at a time as there are processors. What they throw
/// comes out here, once all threads are done.
template <class Work>
void in_parallel(std::size_t count, const Work& work) {
  std::atomic<std::size_t> next{0};
  const auto claim = [&] {
    for (std::size_t i = next++; i < count; i = next++) work(i);
  };
  const std::size_t processors = std::max(1U, std::thread::hardware_concurrency());
  std::vector<std::future<void>> workers;
  for (std::size_t i = 0; i < std::min(count, processors); ++i)
    workers.push_back(std::async(std::launch::async, claim));
  for (std::future<void>& worker : workers) worker.get();
}

}  // namespace digits
