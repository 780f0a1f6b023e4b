// Is it a stable distribution of the inputs of each layer that makes BatchNorm learn fast? Trains the network of Ioffe
// & Szegedy 2015, section 4.1, with BatchNorm, its kin and its rivals, and measures what each does to those inputs and
// to the gradients.

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "digits_data.hpp"
#include "loading.hpp"
#include "observed_training.hpp"
#include "options.hpp"
#include "pictures.hpp"
#include "progress.hpp"
#include "shift_arms.hpp"
#include "shift_pictures.hpp"
#include "shift_report.hpp"
#include "tuning.hpp"
#include "workers.hpp"

namespace digits {
namespace {

constexpr const char* kUsage =
    R"(Trains a deep sigmoid network on handwritten digits with BatchNorm, its kin and its rivals, and measures on the way
what reaches its last hidden layer and how far the gradients shift.

usage: covariate_shift [options]
  --quick       a few seconds: 600 images, 60 steps
  --steps N     steps of every network (default 3000)
  --seed N      split, first weights and batches (default 1)
  --out DIR     where the CSV files and the pictures go (default covariate_shift-out)
  --data DIR    where digits.csv lies (default: the source tree's examples/data)
  --mnist DIR   train on MNIST instead, which takes longer; DIR holds, unpacked, train-images-idx3-ubyte,
                train-labels-idx1-ubyte, t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte
  --help        this text
)";

/// The images as they are and whitened, each by its own training images.
struct Images {
  Split plain, whitened;

  explicit Images(Split images) : plain(std::move(images)), whitened(whiten(plain)) {}
  const Split& of(const ShiftArm& arm) const { return arm.whitened_input ? whitened : plain; }
};

Steps steps_of(const ShiftArm& arm, const Options& options, float rate) {
  const int count = options.length.value_or(options.quick ? 60 : 3000);
  const int between_observations = options.mnist ? 50 : 10;  // MNIST has 10,000 test images
  return {count, std::min(count, between_observations), rate, arm.max_norm, options.seed};
}

/// For every arm the rate that serves it best on the images held back.
std::vector<float> choose_rates(const std::vector<ShiftArm>& arms, const Images& validation, const Options& options) {
  std::vector<std::array<double, kRates.size()>> losses(arms.size());
  const std::size_t runs = arms.size() * kRates.size();
  Progress progress;
  std::atomic<std::size_t> done{0};
  in_parallel(runs, [&](std::size_t run) {
    const std::size_t i = run / kRates.size(), rate = run % kRates.size();
    const ShiftArm& arm = arms[i];
    if (arm.rate_of_plain == 0)
      losses[i][rate] = summed_loss(arm.build, validation.of(arm), steps_of(arm, options, kRates[rate]));
    progress.show("choosing rates: " + std::to_string(++done) + " of " + std::to_string(runs));
  });
  progress.show("");
  std::vector<float> rates;
  for (std::size_t i = 0; i < arms.size(); ++i)
    rates.push_back(arms[i].rate_of_plain > 0 ? arms[i].rate_of_plain * rates[0] : best_rate(losses[i]));
  return rates;
}

std::vector<ShiftResult> train_all(const std::vector<ShiftArm>& arms, const std::vector<float>& rates,
                                   const Images& images, const Options& options) {
  std::vector<ShiftResult> results(arms.size());
  Progress progress;
  in_parallel(arms.size(), [&](std::size_t i) {
    const ShiftArm& arm = arms[i];
    const auto show = [&](const Observation& now) { progress.show(line_of(arm.network, arm.name, now)); };
    results[i] = {arm.network, arm.name, rates[i],
                  train_observed(arm.build, images.of(arm), steps_of(arm, options, rates[i]), show)};
    progress.keep(line_of(arm.network, arm.name, results[i].observations.back()));
  });
  progress.show("");
  return results;
}

void compare(const Options& options) {
  const Images images(load(options));
  const Images validation(validation_of(images.plain.train, options.seed));
  const std::vector<ShiftArm> arms = shift_arms();
  std::filesystem::create_directories(options.out);
  std::printf("%td training and %td test images, batches of %td\n", images.plain.train.size(), images.plain.test.size(),
              kBatch);

  const std::vector<float> rates = choose_rates(arms, validation, options);
  const std::vector<ShiftResult> results = train_all(arms, rates, images, options);
  write_curves(options.out / "curves.csv", results);
  write_shifts(options.out / "shift.csv", results);
  print_table(results);
  std::printf("\n%s\n%s\n", (options.out / "curves.csv").c_str(), (options.out / "shift.csv").c_str());
  draw(options.out, "accuracy", accuracy_script());
  draw(options.out, "bands", bands_script());
  draw(options.out, "shift", shift_script());
}

}  // namespace
}  // namespace digits

int main(int count, char** arguments) {
  return digits::run_program({"covariate_shift", "--steps", digits::kUsage}, count, arguments, digits::compare);
}
