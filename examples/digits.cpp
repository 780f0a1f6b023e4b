// Trains two small networks on handwritten digits, each once bare and once with every normalization that applies, and
// compares how fast and how far they learn.

#include <array>
#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <vector>

#include "arms.hpp"
#include "digits_data.hpp"
#include "loading.hpp"
#include "options.hpp"
#include "pictures.hpp"
#include "report.hpp"
#include "training.hpp"
#include "tuning.hpp"
#include "workers.hpp"

namespace digits {
namespace {

constexpr const char* kUsage =
    R"(Trains two small networks on handwritten digits, without and with each normalization layer.

usage: digits [options]
  --quick       a few seconds: 600 images, 2 epochs
  --epochs N    epochs of every network
  --seed N      split, first weights and batches (default 1)
  --out DIR     where curves.csv, curves.gp and curves.png go (default digits-out)
  --data DIR    where digits.csv lies (default: the source tree's examples/data)
  --mnist DIR   train on MNIST instead, which takes minutes; DIR holds, unpacked, train-images-idx3-ubyte,
                train-labels-idx1-ubyte, t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte
  --help        this text
)";

int epochs_of(const Arm& arm, const Options& options) {
  const bool dense = arm.network == "dense";
  if (options.length) return *options.length;
  if (options.quick) return 2;
  if (options.mnist) return dense ? 3 : 1;
  return dense ? 40 : 12;
}

/// The loss on the images held back, summed over the readings.
double validation_loss(const Arm& arm, const Split& validation, const Schedule& schedule) {
  double loss = 0;
  train(arm.build, validation, schedule, [&](const Reading& reading) { loss += reading.test_loss; });
  return loss;
}

float chosen_rate(const Arm& arm, const Split& validation, const Schedule& schedule) {
  std::array<double, kRates.size()> losses{};
  in_parallel(kRates.size(), [&](std::size_t i) {
    losses[i] = validation_loss(arm, validation, {schedule.epochs, kRates[i], schedule.seed});
  });
  return best_rate(losses);
}

Result run(const Arm& arm, const Split& data, const Split& validation, Schedule schedule) {
  std::printf("%s, %s: ", arm.network.c_str(), arm.name.c_str());
  std::fflush(stdout);
  schedule.rate = chosen_rate(arm, validation, schedule);
  std::printf("rate %g ", static_cast<double>(schedule.rate));
  const auto progress = [](const Reading&) {
    std::printf(".");
    std::fflush(stdout);
  };
  Result result{arm.network, arm.name, schedule.rate, train(arm.build, data, schedule, progress)};
  std::printf(" %.1f %%\n", 100 * result.readings.back().test_accuracy);
  return result;
}

void compare(const Options& options) {
  const Split data = load(options);
  const Split validation = validation_of(data.train, options.seed);
  std::filesystem::create_directories(options.out);
  std::ofstream csv = create(options.out / "curves.csv");
  csv << kCsvHeader;
  std::printf("%td training and %td test images, batches of %td\n\n", data.train.size(), data.test.size(), kBatch);

  std::vector<Result> results;
  for (const Arm& arm : all_arms()) {
    results.push_back(run(arm, data, validation, {epochs_of(arm, options), 0, options.seed}));
    write_csv(csv, results.back());
  }
  print_table(results);
  std::printf("\n%s\n", (options.out / "curves.csv").c_str());
  draw(options.out, "curves", kGnuplotScript);
}

}  // namespace
}  // namespace digits

int main(int count, char** arguments) {
  return digits::run_program({"digits", "--epochs", digits::kUsage}, count, arguments, digits::compare);
}
