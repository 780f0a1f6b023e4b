// What an audio thread would meet: every call of infer on one frame of 64 channels is timed by itself; the median, the
// slowest in a thousand and in a hundred thousand, and the slowest of all. The clock alone stands beside: what it met,
// the machine did.
//   realtime [--calls N]   10 million by default
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <vector>

#include <tensornorm/tensornorm.hpp>

namespace {

constexpr Eigen::Index kChannels = 64;

/// Nanoseconds of each of times.size() calls of action.
template <class Action>
void time_calls(std::vector<unsigned>& times, const Action& action) {
  using Clock = std::chrono::steady_clock;
  for (unsigned& time : times) {
    const auto begin = Clock::now();
    action();
    time = static_cast<unsigned>(std::chrono::nanoseconds(Clock::now() - begin).count());
  }
}

/// Sorts times as far as it must.
void report(const char* name, std::vector<unsigned>& times) {
  const auto slowest_but = [&](std::size_t slower) {
    const auto at = times.end() - 1 - static_cast<std::ptrdiff_t>(slower);
    std::nth_element(times.begin(), at, times.end());
    return *at;
  };
  const std::size_t n = times.size();
  std::printf("%-14s %8u %11u %14u %10u\n", name, slowest_but(n / 2), slowest_but(n / 1000), slowest_but(n / 100'000),
              slowest_but(0));
  std::fflush(stdout);
}

template <class Layer, int Rank>
void measure(const char* name, const Layer& layer, const Eigen::Tensor<float, Rank, Eigen::RowMajor>& x,
             std::vector<unsigned>& times) {
  Eigen::Tensor<float, Rank, Eigen::RowMajor> y = x;
  time_calls(times, [&] { layer.infer(x, y); });
  report(name, times);
}

}  // namespace

int main(int argc, char** argv) {
  long calls = 10'000'000;
  if (argc == 3 && std::strcmp(argv[1], "--calls") == 0) {
    calls = std::atol(argv[2]);
  } else if (argc > 1) {
    calls = 0;
  }
  if (calls < 1) {
    std::cerr << "realtime: it takes --calls N and nothing else\n";
    return 2;
  }
  std::vector<unsigned> times(static_cast<std::size_t>(calls));
  Eigen::Tensor<float, 2, Eigen::RowMajor> frame(1, kChannels), samples(1000, kChannels);
  Eigen::Tensor<float, 3, Eigen::RowMajor> frame_of_groups(1, kChannels, 1);
  frame.setRandom();
  samples.setRandom();
  frame_of_groups.setRandom();

  std::printf("%-14s %8s %11s %14s %10s\n", "ns of a call", "median", "1 in 1000", "1 in 100 000", "worst");
  time_calls(times, [] {});
  report("the clock", times);
  measure("BatchNorm", tensornorm::BatchNorm<float>(kChannels), frame, times);
  measure("LayerNorm", tensornorm::LayerNorm<float>({kChannels}), frame, times);
  measure("RMSNorm", tensornorm::RMSNorm<float>({kChannels}), frame, times);
  measure("GroupNorm", tensornorm::GroupNorm<float>(8, kChannels), frame_of_groups, times);
  tensornorm::Whitening<float> whitening(kChannels);
  whitening.fit(samples);
  measure("Whitening", whitening, frame, times);
}
