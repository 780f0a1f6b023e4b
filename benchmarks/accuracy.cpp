// How exact results are: the largest error of y and dx against plain loops in long double, at offsets that cost others
// their digits, for every scalar and for lengths to 1e8, beside the peers that are installed.
//   accuracy [--longest N] [--quick]
// Ends with status 1 where an error of y is above what the README promises. --quick takes small tensors.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <string>
#include <vector>

#include "data.hpp"
#include "oracle.hpp"

namespace {

using bench::Cell;
using bench::ContenderPtr;
using bench::Data;
using bench::Error;
using bench::error_of;
using bench::Index;
using bench::Layer;
using bench::make_ours;
using bench::make_peer;
using bench::name_of;
using bench::Operands;
using bench::parameter_errors_of;
using bench::ParameterErrors;
using bench::Pass;
using bench::peer_version;
using bench::PeerKind;
using bench::Scalar;
using bench::shortened;

struct Options {
  Index longest = 100'000'000;
  bool quick = false;
};

int promised = 0, missed = 0;  // errors of ours that the README bounds, and those beyond the bound

/// "ours oneDNN PyTorch" for a cell whose x has that mean and standard deviation 1; "-" where there is no peer.
std::string errors_of(const Cell& cell, double mean) {
  const Data data(cell, {mean, /*affine=*/false});
  const Operands operands = data.operands();
  std::string result;
  const auto add = [&](ContenderPtr contender, bool is_ours) {
    char text[32] = "-";
    if (contender != nullptr) {
      contender->run();
      if (contender->result() != nullptr) {
        const Error error = error_of(cell, operands, contender->result());
        std::snprintf(text, sizeof text, "%.1e", error.largest);
        if (is_ours && cell.pass == Pass::kTrain) {
          ++promised;
          missed += error.of_promise > 1;
        }
      }
    }
    char padded[32];
    std::snprintf(padded, sizeof padded, "%8s", text);
    result += padded;
  };
  add(make_ours(cell, operands), true);
  add(make_peer(PeerKind::kOneDnn, cell, operands), false);
  add(make_peer(PeerKind::kTorch, cell, operands), false);
  return result;
}

std::vector<Cell> cells_of(Scalar scalar, Pass pass, bool quick) {
  std::vector<Cell> cells = {
      {Layer::kBatch, pass, "NCHW", 16, 32, 64, 64},   {Layer::kBatch, pass, "NHWC", 16, 32, 64, 64},
      {Layer::kBatch, pass, "NC", 40000, 50},          {Layer::kGroup, pass, "NCHW", 8, 64, 64, 64, 8},
      {Layer::kGroup, pass, "NHWC", 8, 64, 64, 64, 8}, {Layer::kInstance, pass, "NCHW", 8, 64, 64, 64},
      {Layer::kLayer, pass, "ND", 512, 4096}};
  for (Cell& cell : cells) {
    cell.scalar = scalar;
    if (quick) cell = shortened(cell, 1 << 16);
  }
  return cells;
}

/// One table: a line for each mean of x, three numbers for each layer.
void by_offset(Scalar scalar, Pass pass, const Options& options) {
  const bool is_short = scalar == Scalar::kHalf || scalar == Scalar::kBfloat16;
  const std::vector<Cell> cells = cells_of(scalar, pass, options.quick);
  std::printf("\n%s, error of %s%s: ours, oneDNN, PyTorch\n%-8s", name_of(scalar), pass == Pass::kTrain ? "y" : "dx",
              is_short ? " in units of the last place" : "", "mean");
  for (const Cell& cell : cells) std::printf("  %22s", (std::string(name_of(cell.layer)) + "/" + cell.order).c_str());
  std::printf("\n");
  for (const double mean : {0.0, 1e2, 1e3, 1e4, 3e4, 1e5, 1e6}) {
    if (is_short && mean > 1e3) break;
    std::printf("%-8.0e", mean);
    for (const Cell& cell : cells) std::printf("%s", errors_of(cell, mean).c_str());
    std::printf("\n");
    std::fflush(stdout);
  }
}

/// Our errors of what a step leaves in a layer, relative to the largest: of the gradients of gamma and beta by the same
/// cells, of the running statistics by those of BatchNorm.
void by_parameter(Scalar scalar, const Options& options) {
  std::printf("\n%s, relative errors of ours: dgamma, dbeta; of BatchNorm: running_mean, running_var\n%-8s",
              name_of(scalar), "mean");
  const std::vector<Cell> cells = cells_of(scalar, Pass::kBackward, options.quick);
  for (const Cell& cell : cells) {
    const int columns = cell.layer == Layer::kBatch ? 4 : 2;
    std::printf("  %*s", 8 * columns, (std::string(name_of(cell.layer)) + "/" + cell.order).c_str());
  }
  std::printf("\n");
  for (const double mean : {0.0, 1e2, 1e4, 1e6}) {
    std::printf("%-8.0e", mean);
    for (Cell cell : cells) {
      const Data data(cell, {mean, /*affine=*/false});
      const Operands operands = data.operands();
      const auto errors_after = [&](Pass pass) {
        cell.pass = pass;
        const ContenderPtr ours = make_ours(cell, operands);
        ours->run();
        return parameter_errors_of(cell, operands, ours->parameters());
      };
      const ParameterErrors gradients = errors_after(Pass::kBackward), statistics = errors_after(Pass::kTrain);
      std::printf("  %8.1e %7.1e", gradients.dgamma, gradients.dbeta);
      if (cell.layer == Layer::kBatch) std::printf(" %7.1e %7.1e", statistics.running_mean, statistics.running_var);
    }
    std::printf("\n");
    std::fflush(stdout);
  }
}

/// Ever longer rows and columns about 1e4, powers of ten and one more.
void by_length(Scalar scalar, const Options& options) {
  std::printf("\n%s, error of y by length, mean 1e4: ours, oneDNN, PyTorch\n%-12s  %22s  %22s\n", name_of(scalar),
              "length", "LayerNorm/ND", "BatchNorm/NC");
  for (Index length = 10; length <= options.longest; length *= 10) {
    Cell row{Layer::kLayer, Pass::kTrain, "ND", 1, length + 1}, column{Layer::kBatch, Pass::kTrain, "NC", length, 1};
    row.scalar = column.scalar = scalar;
    std::printf("%-12td%s%s\n", length, errors_of(row, 1e4).c_str(), errors_of(column, 1e4).c_str());
    std::fflush(stdout);
  }
}

Options parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--quick") {
      options.quick = true;
      options.longest = 100'000;
    } else if (argument == "--longest" && i + 1 < argc) {
      options.longest = std::atol(argv[++i]);
    } else {
      std::cerr << "accuracy: unknown argument " << argument << "; it takes --longest N and --quick\n";
      std::exit(2);
    }
  }
  return options;
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = parse(argc, argv);
  for (const auto& [peer, name] : {std::pair(PeerKind::kOneDnn, "oneDNN"), {PeerKind::kTorch, "PyTorch"}}) {
    const std::string version = peer_version(peer);
    std::printf("%s: %s\n", name, version.empty() ? "not installed" : version.c_str());
  }
  for (const Scalar scalar : {Scalar::kFloat, Scalar::kDouble, Scalar::kHalf, Scalar::kBfloat16}) {
    for (const Pass pass : {Pass::kTrain, Pass::kBackward}) by_offset(scalar, pass, options);
  }
  for (const Scalar scalar : {Scalar::kFloat, Scalar::kDouble}) {
    by_parameter(scalar, options);
    by_length(scalar, options);
  }
  std::printf("\n%d errors of y, %d above what is promised\n", promised, missed);
  return promised > 0 && missed == 0 ? 0 : 1;
}
