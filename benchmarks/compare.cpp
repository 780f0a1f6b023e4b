// Every cell side by side: tensornorm, the copies of the same bytes, the cell's floor, and the peers that are
// installed.
//   compare [--filter REGEX] [--out DIR] [--seconds S] [--shift BYTES] [--smoke]
// --seconds is what each cell gets. Tensors begin --shift bytes behind a cache line's start. --smoke only checks what
// every contender computes, for every cell there is, over fewer samples.

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <regex>
#include <thread>

#include "data.hpp"
#include "floor.hpp"
#include "oracle.hpp"
#include "timing.hpp"

namespace {

using bench::Cell;
using bench::compared_cells;
using bench::ContenderPtr;
using bench::Data;
using bench::disagreement;
using bench::every_cell;
using bench::floor_of;
using bench::Index;
using bench::Layer;
using bench::make_eigen;
using bench::make_functions;
using bench::make_memcpy;
using bench::make_ours;
using bench::make_peer;
using bench::make_read;
using bench::make_streaming_copy;
using bench::make_streaming_sum;
using bench::Operands;
using bench::Pass;
using bench::peer_version;
using bench::PeerKind;
using bench::prepare_to_measure;
using bench::Scalar;
using bench::shortened;
using bench::time_in_turns;
using bench::Timed;

struct Options {
  std::string filter = ".*", out = "benchmark-out";
  double seconds = 1;
  std::size_t shift = 0;
  bool smoke = false;
};

#if defined(__AVX512F__)
constexpr const char* kInstructions = "for AVX-512";
#elif defined(__AVX2__)
constexpr const char* kInstructions = "for AVX2";
#else
constexpr const char* kInstructions = "for the baseline instruction set";
#endif

constexpr const char* kOurs = "tensornorm";
constexpr const char* kNative = "-march=native";
constexpr const char* kFunctions = "functions";
constexpr const char* kHand = "hand";
constexpr const char* kColumns[] = {kOurs,    kFunctions,       "memcpy",  "stream", "sum", "read",
                                    "oneDNN", "oneDNN blocked", "PyTorch", "Eigen",  kHand, kNative};
constexpr const char* kPeers[] = {"oneDNN", "oneDNN blocked", "PyTorch"};

/// A cell's times in seconds, by column; a contender that is not there has none.
struct Row {
  Cell cell;
  std::map<std::string, double> seconds;
  double floor = NAN;

  double of(const std::string& name) const {
    const auto at = seconds.find(name);
    return at == seconds.end() ? NAN : at->second;
  }
  /// None for RMSNorm, which PyTorch composes of five operators.
  double best_peer() const {
    double best = NAN;
    if (cell.layer == Layer::kRms) return best;
    for (const char* peer : kPeers) best = std::fmin(best, of(peer));
    return best;
  }
  double to_floor() const { return of(kOurs) / floor; }
  double ahead_of_peers() const { return best_peer() / of(kOurs); }
  double ahead_of_eigen() const { return of("Eigen") / of(kOurs); }
  double ahead_of_hand() const { return of(kHand) / of(kOurs); }
  double of_functions() const { return of(kFunctions) / of(kOurs); }
  double ahead_of_native() const { return of(kNative) / of(kOurs); }
};

std::vector<Timed> contenders_of(const Cell& cell, const Operands& operands) {
  std::vector<Timed> result;
  const auto add = [&](const char* name, ContenderPtr contender) {
    if (contender != nullptr) result.push_back({name, std::move(contender)});
  };
  add(kOurs, make_ours(cell, operands));
  add(kFunctions, make_functions(cell, operands));
  add("memcpy", make_memcpy(cell.bytes(), cell.threads, operands.x, operands.y));
  add("stream", make_streaming_copy(cell.bytes(), cell.threads, operands.x, operands.y));
  if (cell.pass == Pass::kBackward) {
    add("sum", make_streaming_sum(cell.bytes(), cell.threads, operands.x, operands.dy, operands.y));
  }
  add("read", make_read(cell.bytes(), cell.threads, operands.x));
  add("oneDNN", make_peer(PeerKind::kOneDnn, cell, operands));
  add("oneDNN blocked", make_peer(PeerKind::kOneDnnBlocked, cell, operands));
  add("PyTorch", make_peer(PeerKind::kTorch, cell, operands));
  add("Eigen", make_eigen(cell, operands));
  add(kHand, make_peer(PeerKind::kHand, cell, operands));
  add(kNative, make_peer(PeerKind::kNative, cell, operands));
  return result;
}

/// Whether all contenders computed what plain loops in double do: ours strictly, peers within what they round.
bool all_agree(const Cell& cell, const Operands& operands, std::vector<Timed>& contenders) {
  constexpr double kPeersMayBeOff = 100;
  bool agree = true;
  for (Timed& timed : contenders) {
    timed.contender->run();
    const void* const result = timed.contender->result();
    if (result == nullptr) continue;
    const double off = disagreement(cell, operands, result);
    const bool ours = timed.name == kOurs || timed.name == kFunctions;
    if (off <= (ours ? 1 : kPeersMayBeOff)) continue;
    std::cerr << cell.name() << ": " << timed.name << " is off by " << off << " times what rounding explains\n";
    agree = agree && !ours;
  }
  return agree;
}

/// Every cell once. Those of float are large enough to go past the caches.
bool smoke(int all_threads, const std::regex& filter) {
  int checked = 0, wrong = 0;
  for (const Cell& whole : every_cell(all_threads)) {
    if (!std::regex_search(whole.name(), filter)) continue;
    const Cell cell = shortened(whole, Index{1} << (whole.scalar == Scalar::kFloat ? 21 : 18));
    const Data data(cell);
    auto contenders = contenders_of(cell, data.operands());
    wrong += all_agree(cell, data.operands(), contenders) ? 0 : 1;
    ++checked;
  }
  std::printf("%d cells run, %d disagree with plain loops\n", checked, wrong);
  return checked > 0 && wrong == 0;
}

std::string number(double value, const char* format) {
  if (std::isnan(value)) return "-";
  char text[32];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

void print_header() {
  std::printf("%-52s %10s %9s %9s %9s %9s %9s %9s %9s %9s %9s  %6s %6s %6s %6s\n", "cell, microseconds", kOurs,
              "functions", "memcpy", "stream", "floor", "oneDNN", "blocked", "PyTorch", "Eigen", "hand", "/floor",
              "peer/", "Eigen/", "hand/");
}

const char* microseconds_format(double seconds) { return seconds < 1e-5 ? "%.3f" : seconds < 1e-3 ? "%.1f" : "%.0f"; }

void print_row(const Row& row) {
  const auto time = [](double seconds) { return number(seconds * 1e6, microseconds_format(seconds)); };
  std::printf("%-52s %10s", row.cell.name().c_str(), time(row.of(kOurs)).c_str());
  for (const char* name : {kFunctions, "memcpy", "stream"}) std::printf(" %9s", time(row.of(name)).c_str());
  std::printf(" %9s", time(row.floor).c_str());
  for (const char* name : {"oneDNN", "oneDNN blocked", "PyTorch", "Eigen", kHand})
    std::printf(" %9s", time(row.of(name)).c_str());
  std::printf("  %6s %6s %6s %6s\n", number(row.to_floor(), "%.2f").c_str(),
              number(row.ahead_of_peers(), "%.2f").c_str(), number(row.ahead_of_eigen(), "%.1f").c_str(),
              number(row.ahead_of_hand(), "%.2f").c_str());
  std::fflush(stdout);
}

/// The geometric mean of a ratio over the rows that have it, and the worst of them.
template <class Ratio>
void print_summary(const char* what, const std::vector<Row>& rows, bool more_is_better, const Ratio& ratio) {
  double logs = 0, worst = NAN;
  int count = 0;
  const Row* worst_row = nullptr;
  for (const Row& row : rows) {
    const double value = ratio(row);
    if (std::isnan(value)) continue;
    logs += std::log(value);
    ++count;
    if (worst_row == nullptr || (value < worst) == more_is_better) {
      worst = value;
      worst_row = &row;
    }
  }
  if (count == 0) return;
  std::printf("%-44s %4d cells, geometric mean %5.2f, worst %5.2f in %s\n", what, count, std::exp(logs / count), worst,
              worst_row->cell.name().c_str());
}

void print_summaries(const std::vector<Row>& rows, const std::vector<int>& thread_counts) {
  std::printf("\n");
  for (const int threads : thread_counts) {
    const std::string of = threads == 1 ? ", 1 thread" : ", " + std::to_string(threads) + " threads";
    const auto only = [&](bool backward, auto ratio) {
      return [=](const Row& row) {
        const bool wanted = row.cell.threads == threads && (row.cell.pass == Pass::kBackward) == backward;
        return wanted ? ratio(row) : NAN;
      };
    };
    for (const bool backward : {false, true}) {
      const std::string pass = (backward ? " backward" : " forward") + of;
      print_summary(("ratio to the floor," + pass).c_str(), rows, false,
                    only(backward, [](const Row& r) { return r.to_floor(); }));
      print_summary(("best peer to ours," + pass).c_str(), rows, true,
                    only(backward, [](const Row& r) { return r.ahead_of_peers(); }));
      print_summary(("Eigen to ours," + pass).c_str(), rows, true,
                    only(backward, [](const Row& r) { return r.ahead_of_eigen(); }));
      print_summary(("hand-written Eigen to ours," + pass).c_str(), rows, true,
                    only(backward, [](const Row& r) { return r.ahead_of_hand(); }));
      print_summary(("functions to ours," + pass).c_str(), rows, false,
                    only(backward, [](const Row& r) { return r.of_functions(); }));
      print_summary(("-march=native to ours," + pass).c_str(), rows, true,
                    only(backward, [](const Row& r) { return r.ahead_of_native(); }));
    }
  }
}

void write_json(const std::string& path, const std::vector<Row>& rows) {
  std::ofstream out(path);
  out << "[\n";
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const Row& row = rows[i];
    out << "  {\"cell\": \"" << row.cell.name() << "\", \"bytes\": " << row.cell.bytes();
    if (!std::isnan(row.floor)) out << ", \"floor\": " << row.floor;
    for (const char* name : kColumns) {
      if (!std::isnan(row.of(name))) out << ", \"" << name << "\": " << row.of(name);
    }
    out << (i + 1 < rows.size() ? "},\n" : "}\n");
  }
  out << "]\n";
}

/// One line a cell for the picture: name, ratio of ours to the floor, of the best peer to the floor.
void write_ratios(const std::string& path, const std::vector<Row>& rows) {
  std::ofstream out(path);
  for (const Row& row : rows) {
    if (std::isnan(row.floor)) continue;
    out << row.cell.name() << ' ' << row.to_floor() << ' ' << number(row.best_peer() / row.floor, "%g") << '\n';
  }
}

Options parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    const bool has_value = i + 1 < argc;
    if (argument == "--smoke") {
      options.smoke = true;
    } else if (argument == "--filter" && has_value) {
      options.filter = argv[++i];
    } else if (argument == "--out" && has_value) {
      options.out = argv[++i];
    } else if (argument == "--seconds" && has_value) {
      options.seconds = std::atof(argv[++i]);
    } else if (argument == "--shift" && has_value) {
      options.shift = std::strtoul(argv[++i], nullptr, 10);
      if (options.shift % sizeof(double) != 0 || options.shift >= 64) {
        std::cerr << "compare: --shift is a multiple of 8 below 64, not " << argv[i] << "\n";
        std::exit(2);
      }
    } else {
      std::cerr << "compare: unknown argument " << argument
                << "; it takes --filter REGEX, --out DIR, --seconds S, --shift BYTES and --smoke\n";
      std::exit(2);
    }
  }
  return options;
}

}  // namespace

int main(int argc, char** argv) {
  prepare_to_measure();
  const Options options = parse(argc, argv);
  const int all_threads = static_cast<int>(std::thread::hardware_concurrency());
  const std::regex filter(options.filter);

  for (const auto& [peer, name] : {std::pair(PeerKind::kOneDnn, "oneDNN"), {PeerKind::kTorch, "PyTorch"}}) {
    const std::string version = peer_version(peer);
    std::printf("%s: %s\n", name, version.empty() ? "not installed" : version.c_str());
  }
  std::printf(
      "compiled %s: Eigen has no other instructions; `hand` is compiled for this machine; the others choose at run "
      "time\n"
      "column-major cells are given to the peers row-major, as they know no other order\n",
      kInstructions);

  if (options.smoke) return smoke(all_threads, filter) ? 0 : 1;
  print_header();
  std::vector<Row> rows;
  for (const Cell& cell : compared_cells(all_threads)) {
    if (!std::regex_search(cell.name(), filter)) continue;
    const Data data(cell, {}, options.shift);
    auto contenders = contenders_of(cell, data.operands());
    time_in_turns(contenders, cell.threads, options.seconds);
    Row row{cell, {}};
    for (const Timed& timed : contenders) row.seconds[timed.name] = timed.median();
    row.floor = floor_of(cell, row.of("stream"), row.of("read"));
    print_row(row);
    rows.push_back(row);
  }
  print_summaries(rows, all_threads == 1 ? std::vector<int>{1} : std::vector<int>{1, all_threads});
  std::filesystem::create_directories(options.out);
  write_json(options.out + "/compare.json", rows);
  write_ratios(options.out + "/compare.dat", rows);
  return 0;
}
