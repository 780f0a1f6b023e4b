// Every cell as a Google Benchmark: LAYER/PASS/ORDER/EXTENTS/SCALAR/THREADS, so that --benchmark_filter picks any of
// them. A large tensor costs what it moves, so each line also says how many streaming copies of x, by as many threads,
// it took.
#include <benchmark/benchmark.h>

#include <chrono>
#include <thread>

#include "data.hpp"
#include "timing.hpp"

namespace {

using bench::Cell;
using bench::ContenderPtr;
using bench::Data;
using bench::every_cell;
using bench::make_ours;
using bench::make_streaming_copy;
using bench::Operands;
using bench::Pass;
using bench::prepare_to_measure;
using bench::time_in_turns;
using bench::Timed;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

double copy_seconds(const Cell& cell, const Operands& o) {
  std::vector<Timed> copy;
  copy.push_back({"stream", make_streaming_copy(cell.bytes(), cell.threads, o.x, o.y)});
  time_in_turns(copy, cell.threads, 0.02);
  return copy.front().median();
}

/// What a benchmark works on; kept for its next call, as Google Benchmark makes several.
struct Subject {
  explicit Subject(const Cell& cell)
      : name(cell.name()), data(cell), ours(make_ours(cell, data.operands())),
        copy(copy_seconds(cell, data.operands())) {}

  std::string name;
  Data data;
  ContenderPtr ours;
  double copy;  // seconds of a streaming copy
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
  state.counters["copies"] = seconds_since(start) / runs / subject->copy;
  const int tensors = cell.pass == Pass::kBackward ? 3 : 2;  // x, dy, dx; or x, y
  state.SetBytesProcessed(state.iterations() * tensors * static_cast<std::int64_t>(cell.bytes()));
}

}  // namespace

int main(int argc, char** argv) {
  prepare_to_measure();
  for (const Cell& cell : every_cell(static_cast<int>(std::thread::hardware_concurrency()))) {
    benchmark::RegisterBenchmark(cell.name().c_str(), measure, cell)->UseRealTime();
  }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
