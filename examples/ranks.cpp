// Up to 1,000 ranks in one process: threads that take turns, so that the time of each is its own. What a forward of
// SyncBatchNorm costs a rank between the gather and y, and how exact the statistics are.

#include <algorithm>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

#include <tensornorm/tensornorm.hpp>

namespace {

using tensornorm::Index;
using Clock = std::chrono::steady_clock;

constexpr Index kChannels = 8;
constexpr double kUnit = 0x1p-33;  // in the last place of 1e6

/// One rank runs at a time: the one that has the turn. A gather gives it away until all have come.
struct Group {
  explicit Group(int ranks) : size(ranks) {}

  const int size;
  std::mutex turn;
  std::condition_variable all_came;
  int came = 0;
  std::vector<double> values;
};

class InTurn {
 public:
  InTurn(Group& group, int rank, std::unique_lock<std::mutex>& turn) : group_(&group), rank_(rank), turn_(&turn) {}

  int size() const { return group_->size; }
  // One gather a group.
  void all_gather(const double* mine, Index n, double* all) {
    group_->values.resize(static_cast<std::size_t>(n * size()));
    std::copy_n(mine, n, group_->values.data() + rank_ * n);
    if (++group_->came == size()) group_->all_came.notify_all();
    group_->all_came.wait(*turn_, [&] { return group_->came == size(); });
    std::copy(group_->values.begin(), group_->values.end(), all);
    gathered = Clock::now();
  }

  static thread_local Clock::time_point gathered;

 private:
  Group* group_;
  int rank_;
  std::unique_lock<std::mutex>* turn_;
};
thread_local Clock::time_point InTurn::gathered;

/// Rank r has (r + 6) % 7 samples, some none, about 1e6 with deviation 1.
Eigen::MatrixXd part_of(int rank) {
  std::mt19937 random(static_cast<unsigned>(rank));
  std::normal_distribution<double> normal(1e6, 1);
  Eigen::MatrixXd x((rank + 6) % 7, kChannels);
  for (double& value : x.reshaped()) value = normal(random);
  return x;
}

struct Outcome {
  Eigen::ArrayXd mean, var;
  double seconds = 0;
};

/// Prints one line. Returns whether all ranks have the same bits.
bool simulate(int ranks) {
  Group group(ranks);
  std::vector<Outcome> outcomes(static_cast<std::size_t>(ranks));
  std::vector<std::thread> threads;
  threads.reserve(static_cast<std::size_t>(ranks));
  for (int rank = 0; rank < ranks; ++rank) {
    threads.emplace_back([&group, &outcomes, rank] {
      std::unique_lock<std::mutex> turn(group.turn);
      tensornorm::BatchNormOptions options;
      options.momentum = 1;
      options.unbiased_running_var = false;
      tensornorm::SyncBatchNorm<double, InTurn> norm(kChannels, InTurn(group, rank, turn), options);
      const Eigen::MatrixXd x = part_of(rank);
      Eigen::MatrixXd y(x.rows(), kChannels);
      norm.forward(x, y);
      const std::chrono::duration<double> taken = Clock::now() - InTurn::gathered;
      outcomes[static_cast<std::size_t>(rank)] = {norm.running_mean(), norm.running_var(), taken.count()};
    });
  }
  for (std::thread& thread : threads) thread.join();

  using Reals = Eigen::Array<long double, Eigen::Dynamic, 1>;
  Reals sum = Reals::Zero(kChannels), squares = sum;
  Index n = 0;
  for (int rank = 0; rank < ranks; ++rank) n += part_of(rank).rows();
  for (int rank = 0; rank < ranks; ++rank) {
    sum += (part_of(rank).array() - 1e6).cast<long double>().colwise().sum().transpose();
  }
  const Reals mean = sum / static_cast<long double>(n);
  for (int rank = 0; rank < ranks; ++rank) {
    const Eigen::MatrixXd x = part_of(rank);
    const auto d = (x.array() - 1e6).cast<long double>().rowwise() - mean.transpose();
    squares += d.square().colwise().sum().transpose();
  }
  const Eigen::ArrayXd var = (squares / static_cast<long double>(n)).cast<double>();
  const Eigen::ArrayXd off = (outcomes[0].mean.cast<long double>() - 1e6L - mean).cast<double>();
  bool same = true;
  std::vector<double> seconds;
  for (const Outcome& outcome : outcomes) {
    same = same && (outcome.mean == outcomes[0].mean).all() && (outcome.var == outcomes[0].var).all();
    seconds.push_back(outcome.seconds);
  }
  std::nth_element(seconds.begin(), seconds.begin() + ranks / 2, seconds.end());
  const double median = seconds[static_cast<std::size_t>(ranks / 2)];
  std::printf("%5d  %6td  %9.1f  %8.1f  %8.1f  %8.1f  %8.1e  %s\n", ranks, n,
              1e-3 * static_cast<double>(group.values.size() * sizeof(double)), 1e6 * median,
              1e9 * median / static_cast<double>(kChannels * ranks), off.abs().maxCoeff() / kUnit,
              ((outcomes[0].var - var) / var).abs().maxCoeff(), same ? "yes" : "no");
  return same;
}

}  // namespace

int main() {
  std::printf("%td channels of double about 1e6\n\n", kChannels);
  std::printf("%5s  %6s  %9s  %18s  %18s  %s\n%5s  %6s  %9s  %8s  %8s  %8s  %8s  %s\n", "", "", "receives,",
              "from gather to y,", "error, units, part", "same", "ranks", "values", "KB", "us", "ns each", "of mean",
              "variance", "bits");
  bool same = true;
  for (const int ranks : {1, 10, 100, 1000}) same = simulate(ranks) && same;
  return same ? EXIT_SUCCESS : EXIT_FAILURE;
}
