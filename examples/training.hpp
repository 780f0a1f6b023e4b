#pragma once

// Training and testing, the same for every arm.

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <random>
#include <vector>

#include "digits_data.hpp"
#include "network.hpp"

namespace digits {

/// How far training has come, after every epoch or, where an epoch is long, more often.
struct Reading {
  double epochs;                    // since the start
  double train_loss;                // mean since the last reading
  double test_loss, test_accuracy;  // now
  double seconds;                   // of training since the last reading
};

struct Schedule {
  int epochs;
  float rate;
  unsigned seed;
};

struct Score {
  double loss = 0, correct = 0;
};

/// Sum of the cross-entropy of softmax(logits), and how many logits are largest at their label.
/// Turns `logits` into the gradient of that sum.
inline Score softmax_cross_entropy(Matrix& logits, const int* labels) {
  Score score;
  for (Index i = 0; i < logits.rows(); ++i) {
    auto row = logits.row(i);
    Index guess = 0;
    const float largest = row.maxCoeff(&guess);
    row = (row.array() - largest).exp();
    row /= row.sum();
    score.loss -= std::log(std::max(row[labels[i]], 1e-30f));
    score.correct += guess == labels[i];
    row[labels[i]] -= 1;
  }
  return score;
}

/// Mean loss and accuracy, by infer().
inline Score test(const Network& network, const Dataset& data) {
  constexpr Index kRows = 500;  // bounds the memory for the patches of a convolution
  Score total;
  for (Index first = 0; first < data.size(); first += kRows) {
    Matrix logits = network.infer(data.images.middleRows(first, std::min(kRows, data.size() - first)));
    const Score part = softmax_cross_entropy(logits, data.labels.data() + first);
    total.loss += part.loss;
    total.correct += part.correct;
  }
  const auto rows = static_cast<double>(data.size());
  return {total.loss / rows, total.correct / rows};
}

constexpr Index kBatch = 60;

/// Mini-batches without end. Shuffles every epoch; the images that fill no batch wait for the next shuffle.
class Batches {
 public:
  /// At least one batch of images.
  Batches(const Dataset& data, std::mt19937& random) : data_(data), random_(random) {}

  Index per_epoch() const { return data_.size() / kBatch; }

  Dataset next() {
    const Index i = taken_++ % per_epoch();
    if (i == 0) {
      order_ = in_order(data_.size());
      std::shuffle(order_.begin(), order_.end(), random_);
    }
    return pick(data_, order_, i * kBatch, (i + 1) * kBatch);
  }

 private:
  const Dataset& data_;
  std::mt19937& random_;
  std::vector<Index> order_;
  Index taken_ = 0;
};

/// Mean loss of a batch; leaves its gradients in the network.
inline double differentiate(Network& network, const Dataset& batch) {
  Matrix gradient = network.forward(batch.images);
  const double loss = softmax_cross_entropy(gradient, batch.labels.data()).loss;
  network.backward(gradient / static_cast<float>(batch.size()));
  return loss / static_cast<double>(batch.size());
}

/// Mean loss over the next `count` batches.
inline double train_batches(Network& network, Batches& batches, Index count, float rate) {
  double loss = 0;
  for (Index i = 0; i < count; ++i) {
    loss += differentiate(network, batches.next());
    network.step(rate);
  }
  return loss / static_cast<double>(count);
}

/// Every call with the same seed starts from the same weights and sees the same batches, whatever is normalized.
template <class Build, class Watch>
std::vector<Reading> train(const Build& build, const Split& data, const Schedule& schedule, const Watch& watch) {
  constexpr Index kBetweenReadings = 100;  // batches; the UCI digits have 23 an epoch, MNIST has 1,000
  std::mt19937 random(schedule.seed);
  Network network = build(data.train.shape, random);
  Batches batches(data.train, random);
  const Index in_epoch = batches.per_epoch();
  std::vector<Reading> readings;
  for (int epoch = 0; epoch < schedule.epochs; ++epoch) {
    for (Index first = 0; first < in_epoch; first += kBetweenReadings) {
      const Index last = std::min(first + kBetweenReadings, in_epoch);
      const auto start = std::chrono::steady_clock::now();
      const double loss = train_batches(network, batches, last - first, schedule.rate);
      const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
      const Score score = test(network, data.test);
      const double epochs = epoch + static_cast<double>(last) / static_cast<double>(in_epoch);
      readings.push_back({epochs, loss, score.loss, score.correct, taken.count()});
      watch(readings.back());
    }
  }
  return readings;
}

}  // namespace digits
