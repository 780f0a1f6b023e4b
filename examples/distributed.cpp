// Data-parallel training of the digits on 1, 2 and 4 ranks, by SyncBatchNorm over MPI: the statistics, results and bits
// beside those of one rank, and beside averages of the ranks' statistics. Started by mpirun with four processes.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include <tensornorm/mpi.hpp>
#include <tensornorm/tensornorm.hpp>

#include "digits_data.hpp"
#include "loading.hpp"
#include "options.hpp"

namespace digits {
namespace {

using tensornorm::MpiCommunicator;
using Norm = tensornorm::SyncBatchNorm<double, MpiCommunicator>;
using Doubles = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Array = Eigen::ArrayXd;

constexpr const char* kUsage =
    R"(Trains a small network on handwritten digits on 1, 2 and 4 ranks, each with a part of every batch.

usage: mpirun -n 4 distributed [options]
  --quick       600 images, 2 epochs
  --epochs N    epochs of every training (default 20)
  --seed N      split, first weights and batches (default 1)
  --data DIR    where digits.csv lies (default: the source tree's examples/data)
  --mnist DIR   train on MNIST instead, from a directory with its four files, unpacked
  --help        this text
)";

constexpr Index kHidden = 100;
constexpr int kSizes[] = {1, 2, 4};

/// Rows [first, first + n) of a batch: rank r has r + 1 of 1 + 2 + ... + ranks shares.
struct Part {
  Index first, n;

  Part(Index rows, int rank, int ranks) : first(cut(rows, rank, ranks)), n(cut(rows, rank + 1, ranks) - first) {}
  static Index cut(Index rows, Index rank, Index ranks) { return rows * (rank * (rank + 1)) / (ranks * (ranks + 1)); }
};

/// Makes n numbers their sums over the ranks, from rank 0 up: the same bits everywhere and every time.
void add_up(MpiCommunicator& ranks, double* values, Index n) {
  std::vector<double> all(static_cast<std::size_t>(n * ranks.size()));
  ranks.all_gather(values, n, all.data());
  std::fill_n(values, n, 0.0);
  for (std::size_t i = 0; i < all.size(); ++i) values[static_cast<Index>(i) % n] += all[i];
}

double largest(MpiCommunicator& ranks, double mine) {
  std::vector<double> all(static_cast<std::size_t>(ranks.size()));
  ranks.all_gather(&mine, 1, all.data());
  return *std::max_element(all.begin(), all.end());
}

Doubles drawn(Index rows, Index cols, std::mt19937& random) {
  std::normal_distribution<double> normal(0, 1 / std::sqrt(static_cast<double>(rows)));
  Doubles result(rows, cols);
  for (double& value : result.reshaped()) value = normal(random);
  return result;
}

/// Two hidden layers of sigmoids, each normalized before.
class Net {
 public:
  Net(Index inputs, const MpiCommunicator& ranks, std::mt19937& random) : ranks_(ranks) {
    for (const Index outputs : {kHidden, kHidden, Index{kClasses}}) {
      weights_.push_back(drawn(inputs, outputs, random));
      inputs = outputs;
    }
    for (int i = 0; i < 2; ++i) norms_.emplace_back(kHidden, ranks);
    bias_ = Eigen::RowVectorXd::Zero(kClasses);
  }

  /// One step of gradient descent on this rank's part of a batch. Returns the loss of the part, summed.
  double step(const Doubles& x, const int* labels, Index of_batch, double rate) {
    Doubles in[3] = {x, {}, {}}, raw[2], normed[2];
    for (std::size_t i = 0; i < 2; ++i) {
      raw[i] = in[i] * weights_[i];
      norms_[i].forward(raw[i], normed[i]);
      in[i + 1] = (1 + (-normed[i].array()).exp()).inverse();
    }
    Doubles d = (in[2] * weights_[2]).rowwise() + bias_;
    const double loss = differentiate(d, labels) / static_cast<double>(of_batch);
    d /= static_cast<double>(of_batch);
    Eigen::RowVectorXd dbias = d.colwise().sum();
    std::vector<Doubles> dweights(3);
    for (std::size_t i = 2;; --i) {
      dweights[i] = in[i].transpose() * d;
      if (i == 0) break;
      const Doubles dy = (d * weights_[i].transpose()).array() * in[i].array() * (1 - in[i].array());
      d.resize(0, 0);
      norms_[i - 1].backward(raw[i - 1], dy, d);
    }
    for (std::size_t i = 0; i < 3; ++i) {
      add_up(ranks_, dweights[i].data(), dweights[i].size());
      weights_[i] -= rate * dweights[i];
    }
    add_up(ranks_, dbias.data(), dbias.size());
    bias_ -= rate * dbias;
    for (Norm& norm : norms_) {
      for (auto& [name, value, gradient] : norm.parameters()) {
        add_up(ranks_, gradient.data(), gradient.size());
        value -= rate * gradient;
      }
    }
    return loss;
  }

  double accuracy(const Dataset& data) const {
    Doubles x = data.images.cast<double>(), y;
    for (std::size_t i = 0; i < 2; ++i) {
      norms_[i].infer(x * weights_[i], y);
      x = (1 + (-y.array()).exp()).inverse();
    }
    const Doubles logits = (x * weights_[2]).rowwise() + bias_;
    Index correct = 0;
    for (Index i = 0; i < logits.rows(); ++i) {
      Index guess = 0;
      logits.row(i).maxCoeff(&guess);
      correct += guess == data.labels[static_cast<std::size_t>(i)] ? 1 : 0;
    }
    return static_cast<double>(correct) / static_cast<double>(data.size());
  }

  const Doubles& first_weights() const { return weights_[0]; }

  /// Running means and variances, one after the other.
  Array running() const {
    Array result(4 * kHidden);
    result << norms_[0].running_mean(), norms_[0].running_var(), norms_[1].running_mean(), norms_[1].running_var();
    return result;
  }

 private:
  /// Logits become the gradient of the summed cross-entropy, which is returned.
  static double differentiate(Doubles& logits, const int* labels) {
    double loss = 0;
    for (Index i = 0; i < logits.rows(); ++i) {
      auto row = logits.row(i);
      const double most = row.maxCoeff();
      row = (row.array() - most).exp();
      row /= row.sum();
      loss -= std::log(std::max(row[labels[i]], 1e-300));
      row[labels[i]] -= 1;
    }
    return loss;
  }

  MpiCommunicator ranks_;
  std::vector<Doubles> weights_;
  std::vector<Norm> norms_;
  Eigen::RowVectorXd bias_;
};

/// How far y is from that of one rank with the whole batch, in units in the last place of y, 1 at least.
template <class Scalar>
double units_of_y(MpiCommunicator& ranks, const Doubles& batch) {
  using Matrix = Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  const Matrix& x = batch.cast<Scalar>();
  const Part part(x.rows(), ranks.rank(), ranks.size());
  tensornorm::SyncBatchNorm<Scalar, MpiCommunicator> whole(x.cols(), MpiCommunicator(MPI_COMM_SELF));
  tensornorm::SyncBatchNorm<Scalar, MpiCommunicator> norm(x.cols(), ranks);
  const Matrix want = whole(x).middleRows(part.first, part.n), y = norm(Matrix(x.middleRows(part.first, part.n)));
  double units = 0;
  for (Index i = 0; i < y.size(); ++i) {
    const Scalar size = std::max(Scalar(1), std::abs(want.data()[i]));
    const Scalar unit = std::nextafter(size, std::numeric_limits<Scalar>::max()) - size;
    units = std::max(units, static_cast<double>(std::abs(y.data()[i] - want.data()[i]) / unit));
  }
  return largest(ranks, units);
}

/// Largest differences from the statistics of the whole batch: of means in deviations, of variances in themselves.
struct Differences {
  double mean = 0, variance = 0;
};

Differences differences(const tensornorm::Moments& whole, const Array& mean, const Array& var) {
  return {((mean - whole.mean) / whole.var().sqrt()).abs().maxCoeff(),
          ((var - whole.var()) / whole.var()).abs().maxCoeff()};
}

/// Of SyncBatchNorm.
Differences synchronized(MpiCommunicator& ranks, const Doubles& x) {
  const Part part(x.rows(), ranks.rank(), ranks.size());
  tensornorm::BatchNormOptions options;
  options.momentum = 1;
  options.unbiased_running_var = false;
  Norm norm(x.cols(), ranks, options);
  norm(x.middleRows(part.first, part.n));
  return differences(tensornorm::moments(x, {0}), norm.running_mean(), norm.running_var());
}

/// Of the ranks' means of x and of x^2, averaged.
Differences averaged(MpiCommunicator& ranks, const Doubles& x) {
  const Part part(x.rows(), ranks.rank(), ranks.size());
  const auto mine = x.middleRows(part.first, part.n).array();
  Array mean = mine.colwise().mean(), square = mine.square().colwise().mean();
  add_up(ranks, mean.data(), mean.size());
  add_up(ranks, square.data(), square.size());
  mean /= ranks.size();
  square /= ranks.size();
  return differences(tensornorm::moments(x, {0}), mean, square - mean.square());
}

struct Training {
  Array running;
  double accuracy = 0;
};

Training train(const Split& data, MpiCommunicator& ranks, int epochs, unsigned seed, const std::string& name) {
  std::mt19937 random(seed);
  Net net(data.train.images.cols(), ranks, random);
  Batches batches(data.train, random);
  for (int epoch = 1; epoch <= epochs; ++epoch) {
    double loss = 0;
    for (Index i = 0; i < batches.per_epoch(); ++i) {
      const Dataset batch = batches.next();
      const Part part(batch.size(), ranks.rank(), ranks.size());
      const Doubles x = batch.images.middleRows(part.first, part.n).cast<double>();
      loss += net.step(x, batch.labels.data() + part.first, batch.size(), 1.0);
    }
    add_up(ranks, &loss, 1);
    if (epoch % 5 == 0 || epoch == epochs) {
      std::printf("%s, epoch %d: loss %.4f\n", name.c_str(), epoch, loss / static_cast<double>(batches.per_epoch()));
      std::fflush(stdout);
    }
  }
  return {net.running(), net.accuracy(data.test)};
}

std::string parts_of(Index rows, int ranks) {
  std::string text;
  for (int rank = 0; rank < ranks; ++rank) {
    text += (rank > 0 ? "+" : "") + std::to_string(Part(rows, rank, ranks).n);
  }
  return text;
}

void run(const Options& options) {
  MpiCommunicator world;
  if (world.size() < 4) throw std::runtime_error("needs 4 ranks, found " + std::to_string(world.size()));
  const Split data = load(options);
  const int epochs = options.length.value_or(options.quick ? 2 : 20);
  Training one;
  std::string table;
  for (const int size : kSizes) {
    MPI_Comm comm = MPI_COMM_NULL;
    MPI_Comm_split(MPI_COMM_WORLD, world.rank() < size ? 0 : MPI_UNDEFINED, world.rank(), &comm);
    if (comm == MPI_COMM_NULL) continue;
    MpiCommunicator ranks(comm);
    std::mt19937 random(options.seed);
    const Net net(data.train.images.cols(), ranks, random);
    const Doubles x = first_images(data.train, kBatch).images.cast<double>() * net.first_weights();
    const Differences ours = synchronized(ranks, x), others = averaged(ranks, x);
    const double y = units_of_y<double>(ranks, x), y_of_floats = units_of_y<float>(ranks, x);
    const std::string name = std::to_string(size) + (size == 1 ? " rank" : " ranks");
    const Training training = train(data, ranks, epochs, options.seed, name);
    const Training again = train(data, ranks, epochs, options.seed, name + " again");
    if (one.running.size() == 0) one = training;  // rank 0 had all of it
    const bool same_bits = (training.running == again.running).all();
    const double running = ((training.running - one.running) / one.running.abs().max(1e-3)).abs().maxCoeff();
    char line[256];
    std::snprintf(line, sizeof line, "%5d  %-10s  %7.1e  %7.1e  %6.1f  %5.1f  %7.1e  %7.1e  %8.1e  %7.1f %%  %s\n",
                  size, parts_of(kBatch, size).c_str(), ours.mean, ours.variance, y, y_of_floats, others.mean,
                  others.variance, running, 100 * training.accuracy, same_bits ? "yes" : "no");
    table += line;
    MPI_Comm_free(&comm);
  }
  MPI_Barrier(MPI_COMM_WORLD);
  std::printf("\n%19s%16s  %13s  %16s  %8s\n%5s  %-10s  %7s  %7s  %6s  %5s  %7s  %7s  %8s  %9s  %s\n%s", "",
              "SyncBatchNorm", "y, units", "averages", "running,", "ranks", "parts", "mean", "var", "double", "float",
              "mean", "var", "trained", "accuracy", "same bits again", table.c_str());
}

}  // namespace
}  // namespace digits

int main(int count, char** arguments) {
  MPI_Init(&count, &arguments);
  const int rank = tensornorm::MpiCommunicator().rank();
  if (rank != 0 && std::freopen("/dev/null", "w", stdout) == nullptr) return 1;  // rank 0 alone speaks
  const int result = digits::run_program({"distributed", "--epochs", digits::kUsage}, count, arguments, digits::run);
  if (result != 0) MPI_Abort(MPI_COMM_WORLD, result);
  MPI_Finalize();
  return result;
}
