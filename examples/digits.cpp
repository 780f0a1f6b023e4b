// Trains two small networks on handwritten digits, each once bare and once with every normalization that applies, and
// compares how fast and how far they learn.

#include <cstddef>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <future>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "arms.hpp"
#include "digits_data.hpp"
#include "options.hpp"
#include "report.hpp"
#include "training.hpp"

namespace digits {
namespace {

constexpr float kRates[] = {0.1f, 0.3f, 1, 3, 10};

Split load(const Options& options) {
  Split data = options.mnist ? load_mnist(*options.mnist) : split(load_csv(options.data / "digits.csv"), options.seed);
  if (options.quick) data = {first_images(data.train, 600), first_images(data.test, 200)};
  if (data.train.size() < 2 * kBatch)
    throw std::runtime_error("training needs " + std::to_string(2 * kBatch) + " images, found " +
                             std::to_string(data.train.size()));
  return data;
}

int epochs_of(const Arm& arm, const Options& options) {
  const bool dense = arm.network == "dense";
  if (options.epochs) return *options.epochs;
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

/// The rate of the lowest validation loss. Every arm chooses from the same grid; the test images play no part.
float best_rate(const Arm& arm, const Split& validation, Schedule schedule) {
  std::vector<std::future<double>> losses;  // each on a thread of its own
  for (const float rate : kRates) {
    schedule.rate = rate;
    losses.push_back(
        std::async(std::launch::async, [=, &arm, &validation] { return validation_loss(arm, validation, schedule); }));
  }
  float best = kRates[0];
  double lowest = std::numeric_limits<double>::infinity();
  for (std::size_t i = 0; i < losses.size(); ++i) {
    const double loss = losses[i].get();
    std::printf(" %g", static_cast<double>(kRates[i]));
    std::fflush(stdout);
    if (loss < lowest) {  // false for the NaN of a run that diverged
      lowest = loss;
      best = kRates[i];
    }
  }
  return best;
}

Result run(const Arm& arm, const Split& data, const Split& validation, Schedule schedule) {
  std::printf("%s, %s: rates", arm.network.c_str(), arm.name.c_str());
  std::fflush(stdout);
  schedule.rate = best_rate(arm, validation, schedule);
  std::printf(", best %g ", static_cast<double>(schedule.rate));
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
  constexpr Index kTuning = 6000;  // enough to choose a rate by; MNIST has ten times as many
  const Split validation = split(first_images(data.train, kTuning), options.seed);
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
  draw_curves(options.out);
}

}  // namespace
}  // namespace digits

int main(int count, char** arguments) try {
  const digits::Options options = digits::parse_options({arguments + 1, arguments + count});
  if (options.help)
    std::fputs(digits::kUsage, stdout);
  else
    digits::compare(options);
  return 0;
} catch (const digits::UsageError& error) {
  std::fprintf(stderr, "digits: %s\n\n%s", error.what(), digits::kUsage);
  return 2;
} catch (const std::exception& error) {
  std::fprintf(stderr, "digits: %s\n", error.what());
  return 1;
}
