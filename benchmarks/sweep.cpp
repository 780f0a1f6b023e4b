// Nanoseconds per element of float tensors from 1 KB to 1 GB, layer by layer, with the copies beside them.
//   sweep [--out DIR] [--seconds S] [--largest MB]
// --seconds is what each layer gets at each size. Sizes whose tensors would fill half the memory are left out.
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <thread>

#include "data.hpp"
#include "timing.hpp"

namespace {

using bench::Cell;
using bench::Data;
using bench::Index;
using bench::Layer;
using bench::make_memcpy;
using bench::make_ours;
using bench::make_streaming_copy;
using bench::name_of;
using bench::Operands;
using bench::Pass;
using bench::prepare_to_measure;
using bench::time_in_turns;
using bench::Timed;

/// A tensor of 256 * 4^step floats, in proportions as networks have them: rows of up to 1024 features; images that grow
/// in space and in channels and batch by turns, from 1x16x4x4 to 32x512x128x128.
Cell cell_of(Layer layer, const char* order, int step) {
  const Index count = Index{256} << (2 * step);
  Cell cell{layer, Pass::kTrain, order, 1, 1};
  if (cell.is_image()) {
    const int wider = step / 2, larger = step - wider;
    cell.n = Index{1} << wider;
    cell.c = Index{16} << wider;
    cell.h = cell.w = Index{4} << larger;
    if (layer == Layer::kGroup) cell.groups = cell.c / 8;
  } else {
    cell.c = std::min<Index>(count, layer == Layer::kBatch ? 64 : 1024);
    cell.n = count / cell.c;
  }
  return cell;
}

struct Series {
  Layer layer;
  const char* order;

  std::string name() const { return std::string(name_of(layer)) + "/" + order; }
};

constexpr Series kSeries[] = {{Layer::kBatch, "NCHW"},    {Layer::kBatch, "NHWC"}, {Layer::kBatch, "NC"},
                              {Layer::kInstance, "NCHW"}, {Layer::kGroup, "NCHW"}, {Layer::kGroup, "NHWC"},
                              {Layer::kLayer, "ND"},      {Layer::kRms, "ND"}};
constexpr int kSteps = 11;

/// Nanoseconds per element by column: the copies, then each series forward and backward.
using Columns = std::map<std::string, double>;

std::vector<std::string> column_names() {
  std::vector<std::string> names = {"memcpy", "stream"};
  for (const Pass pass : {Pass::kTrain, Pass::kBackward}) {
    for (const Series& series : kSeries) names.push_back(series.name() + "/" + name_of(pass));
  }
  return names;
}

Columns measure(int step, int threads, double budget) {
  Columns columns;
  for (const Series& series : kSeries) {
    Cell cell = cell_of(series.layer, series.order, step);
    cell.threads = threads;
    cell.pass = Pass::kBackward;
    const Data data(cell);
    const Operands o = data.operands();
    std::vector<Timed> contenders;
    contenders.push_back({series.name() + "/backward", make_ours(cell, o)});
    cell.pass = Pass::kTrain;
    contenders.push_back({series.name() + "/train", make_ours(cell, o)});
    if (&series == kSeries) {
      contenders.push_back({"memcpy", make_memcpy(cell.bytes(), threads, o.x, o.y)});
      contenders.push_back({"stream", make_streaming_copy(cell.bytes(), threads, o.x, o.y)});
    }
    time_in_turns(contenders, threads, budget);
    for (const Timed& timed : contenders) {
      columns[timed.name] = timed.median() * 1e9 / static_cast<double>(cell.count());
    }
  }
  return columns;
}

double memory() { return static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGESIZE)); }

void sweep(int threads, double budget, double largest, const std::string& path) {
  const std::vector<std::string> names = column_names();
  std::printf("\nns per element, %d thread%s; train|backward\n%10s %7s %7s", threads, threads == 1 ? "" : "s", "bytes",
              "memcpy", "stream");
  for (const Series& series : kSeries) std::printf(" %17s", series.name().c_str());
  std::printf("\n");
  std::ofstream out(path);
  out << "bytes";
  for (const std::string& name : names) out << ' ' << name;
  out << '\n';
  for (int step = 0; step < kSteps; ++step) {
    const double bytes = std::ldexp(1024, 2 * step);
    if (bytes > largest || 3 * bytes > memory() / 2) break;
    const Columns columns = measure(step, threads, budget);
    std::printf("%10.0f %7.3f %7.3f", bytes, columns.at("memcpy"), columns.at("stream"));
    for (const Series& series : kSeries) {
      std::printf("   %7.3f|%7.3f", columns.at(series.name() + "/train"), columns.at(series.name() + "/backward"));
    }
    std::printf("\n");
    std::fflush(stdout);
    out << static_cast<std::int64_t>(bytes);
    for (const std::string& name : names) out << ' ' << columns.at(name);
    out << '\n';
  }
}

}  // namespace

int main(int argc, char** argv) {
  prepare_to_measure();
  std::string folder = "benchmark-out";
  double budget = 0.3, largest = std::ldexp(1, 30);
  for (int i = 1; i < argc; i += 2) {
    const std::string argument = argv[i];
    if (i + 1 < argc && argument == "--out") {
      folder = argv[i + 1];
    } else if (i + 1 < argc && argument == "--seconds") {
      budget = std::atof(argv[i + 1]);
    } else if (i + 1 < argc && argument == "--largest") {
      largest = std::atof(argv[i + 1]) * std::ldexp(1, 20);
    } else {
      std::cerr << "sweep: unknown argument " << argument << "; it takes --out DIR, --seconds S and --largest MB\n";
      return 2;
    }
  }
  std::filesystem::create_directories(folder);
  const int all_threads = static_cast<int>(std::thread::hardware_concurrency());
  sweep(1, budget, largest, folder + "/sweep-1.dat");
  if (all_threads > 1) sweep(all_threads, budget, largest, folder + "/sweep-" + std::to_string(all_threads) + ".dat");
  return 0;
}
