// Every cell as a Google Benchmark: LAYER/PASS/ORDER/EXTENTS/SCALAR/THREADS, so that --benchmark_filter picks any of
// them. A large tensor costs what it moves, so each line also says how many streaming copies of x, by as many threads,
// it took.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <iostream>
#include <thread>

#include "data.hpp"
#include "timing.hpp"

namespace {

using bench::Cell;
using bench::Contender;
using bench::ContenderPtr;
using bench::Data;
using bench::every_cell;
using bench::keep_freed_memory;
using bench::make_ours;
using bench::make_streaming_copy;
using bench::Pass;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

/// The least of what fits into 20 ms.
double least_seconds(Contender& contender) {
  double least = 1;
  for (const auto begin = Clock::now(); seconds_since(begin) < 0.02;) {
    const auto start = Clock::now();
    contender.run();
    least = std::min(least, seconds_since(start));
  }
  return least;
}

/// What a benchmark works on; kept for its next call, as Google Benchmark makes several.
struct Subject {
  explicit Subject(const Cell& cell)
      : name(cell.name()), data(cell), ours(make_ours(cell, data.operands())),
        copy_seconds(
            least_seconds(*make_streaming_copy(cell.bytes(), cell.threads, data.operands().x, data.operands().y))) {}

  std::string name;
  Data data;
  ContenderPtr ours;
  double copy_seconds;
};

void measure(benchmark::State& state, const Cell& cell) {
  static std::unique_ptr<Subject> subject;
  if (subject == nullptr || subject->name != cell.name()) {
    subject.reset();  // its memory first
    subject = std::make_unique<Subject>(cell);
  }
  subject->ours->run();
  const auto start = Clock::now();
  for (auto _ : state) {
    subject->ours->run();
    benchmark::ClobberMemory();
  }
  const double runs = static_cast<double>(state.iterations());
  state.counters["copies"] = seconds_since(start) / runs / subject->copy_seconds;
  const int tensors = cell.pass == Pass::kBackward ? 3 : 2;  // x, dy, dx; or x, y
  state.SetBytesProcessed(state.iterations() * tensors * static_cast<std::int64_t>(cell.bytes()));
}

}  // namespace

int main(int argc, char** argv) {
#if !defined(__OPTIMIZE__) || !defined(NDEBUG)
  std::cerr << "compiled without optimization or with assertions: these times would mean nothing\n";
  return 1;
#endif
  keep_freed_memory();
  for (const Cell& cell : every_cell(static_cast<int>(std::thread::hardware_concurrency()))) {
    benchmark::RegisterBenchmark(cell.name().c_str(), measure, cell)->UseRealTime();
  }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
