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

/// Mean loss over the batches [first, last) of the images in `order`.
inline double train_batches(Network& network, const Dataset& data, const std::vector<Index>& order, Index first,
                            Index last, float rate) {
  double loss = 0;
  for (Index i = first; i < last; ++i) {
    const Dataset batch = pick(data, order, i * kBatch, (i + 1) * kBatch);
    Matrix gradient = network.forward(batch.images);
    loss += softmax_cross_entropy(gradient, batch.labels.data()).loss;
    network.backward(gradient / kBatch);
    network.step(rate);
  }
  return loss / static_cast<double>((last - first) * kBatch);
}

/// Shuffles every epoch; the images that fill no batch wait for the next shuffle. Every call with the same seed starts
/// from the same weights and sees the same batches, whatever is normalized.
template <class Build, class Watch>
std::vector<Reading> train(const Build& build, const Split& data, const Schedule& schedule, const Watch& watch) {
  constexpr Index kBetweenReadings = 100;  // batches; the UCI digits have 23 an epoch, MNIST has 1,000
  const Index batches = data.train.size() / kBatch;
  std::mt19937 random(schedule.seed);
  Network network = build(data.train.shape, random);
  std::vector<Reading> readings;
  for (int epoch = 0; epoch < schedule.epochs; ++epoch) {
    std::vector<Index> order = in_order(data.train.size());
    std::shuffle(order.begin(), order.end(), random);
    for (Index first = 0; first < batches; first += kBetweenReadings) {
      const Index last = std::min(first + kBetweenReadings, batches);
      const auto start = std::chrono::steady_clock::now();
      const double loss = train_batches(network, data.train, order, first, last, schedule.rate);
      const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
      const Score score = test(network, data.test);
      const double epochs = epoch + static_cast<double>(last) / static_cast<double>(batches);
      readings.push_back({epochs, loss, score.loss, score.correct, taken.count()});
      watch(readings.back());
    }
  }
  return readings;
}

}  // namespace digits
