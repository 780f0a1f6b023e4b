// How a call divides its work: rounds, and units of each, for any number of threads.
#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>
#include <string>
#include <vector>

#include "every_layer.hpp"

namespace tensornorm_test {
namespace {

using namespace tensornorm;

// Runs every unit on the calling thread, as so many threads would have them.
class CountingRunner final : public core::Runner {
 public:
  explicit CountingRunner(Index threads) : threads_(threads) {}
  Index threads() const override { return threads_; }
  double* memory(Index doubles) override {
    memory_.resize(std::size_t(doubles) + 1);
    return memory_.data();
  }

  Index rounds() const { return Index(units_.size()); }
  // Of the round that has most.
  Index most_units() const { return units_.empty() ? 0 : *std::max_element(units_.begin(), units_.end()); }
  Index units() const {
    Index all = 0;
    for (const Index n : units_) all += n;
    return all;
  }

 private:
  void run(Index units, Index, const core::Round& round, const core::Unit& work) const override {
    units_.push_back(units);
    core::run_inline(units, round, work);
  }

  Index threads_;
  std::vector<double> memory_;
  mutable std::vector<Index> units_;
};

/// Rounds and units of forward and of backward, all rounds together.
struct Counts {
  Index forward_rounds, forward_units, backward_rounds, backward_units;
};
bool operator==(const Counts& a, const Counts& b) {
  return a.forward_rounds == b.forward_rounds && a.forward_units == b.forward_units &&
         a.backward_rounds == b.backward_rounds && a.backward_units == b.backward_units;
}
void PrintTo(const Counts& c, std::ostream* out) {
  *out << "{" << c.forward_rounds << ", " << c.forward_units << ", " << c.backward_rounds << ", " << c.backward_units
       << "}";
}

/// A forward and a backward of floats by so many threads.
template <int Layout, class Layer>
Counts counts_of(const Layer& layer, const Extents& extents, Index threads) {
  core::HeldNorm<float, Layer> held(layer);
  const Index n = count(extents);
  Tensor4<float, Layout> x = drawn<float, Layout>(extents, 1), dy = drawn<float, Layout>(extents, 2), y = x, dx = x;
  const core::Input<Tensor4<float, Layout>> of_x(x), of_dy(dy);
  core::OutputOf<Tensor4<float, Layout>&> of_y(y, "y"), of_dx(dx, "dx");
  CountingRunner forward(threads), backward(threads);
  held.forward(forward, of_x.data(), of_x.shape(), of_y, nullptr, nullptr);
  held.backward(backward, of_x.data(), of_x.shape(), {of_dy.data(), of_dy.shape()}, &of_dx, nullptr);
  for (const CountingRunner* const runner : {&forward, &backward}) {
    // A unit is worth handing to a thread. The sums of parameters have a round of their own, of few.
    EXPECT_LE(runner->most_units() * 4096, n) << text(extents) << ", " << threads << " threads";
  }
  return {forward.rounds(), forward.units(), backward.rounds(), backward.units()};
}

/// With 1, 8, 16 and 64 threads.
template <int Layout, class Layer>
void expect_counts(const Layer& layer, const Extents& extents, const std::vector<Counts>& want) {
  std::ostringstream name;
  name << layer << " of " << text(extents) << layout_name(Layout);
  SCOPED_TRACE(name.str());
  const std::vector<Index> threads{1, 8, 16, 64};
  for (std::size_t i = 0; i < threads.size(); ++i) {
    EXPECT_EQ(counts_of<Layout>(layer, extents, threads[i]), want[i]) << threads[i] << " threads";
  }
}

BatchNormOptions channels_last() {
  BatchNormOptions options;
  options.channel_axis = -1;
  return options;
}

TEST(Units, OfImages) {
  expect_counts<kRow>(BatchNorm<float>(64), {32, 64, 28, 28},
                      {{1, 13, 1, 32}, {1, 16, 1, 32}, {1, 32, 1, 32}, {1, 64, 1, 64}});
  expect_counts<kRow>(BatchNorm<float>(64, channels_last()), {32, 28, 28, 64},
                      {{1, 24, 2, 48}, {2, 48, 2, 48}, {2, 56, 2, 56}, {2, 88, 2, 88}});
  expect_counts<kRow>(BatchNorm<float>(512), {32, 512, 7, 7},
                      {{1, 32, 1, 32}, {1, 32, 1, 32}, {1, 32, 1, 32}, {1, 32, 1, 32}});
  expect_counts<kRow>(BatchNorm<float>(3), {16, 3, 200, 200},
                      {{3, 27, 6, 54}, {6, 54, 6, 54}, {6, 54, 6, 54}, {6, 54, 6, 54}});
  expect_counts<kRow>(GroupNorm<float>(8, 64), {8, 64, 56, 56},
                      {{1, 64, 1, 64}, {1, 64, 1, 64}, {1, 64, 1, 64}, {1, 64, 1, 64}});
  GroupNormOptions options;
  options.channel_axis = -1;
  expect_counts<kRow>(GroupNorm<float>(8, 64, options), {8, 56, 56, 64},
                      {{8, 24, 16, 48}, {16, 120, 16, 120}, {16, 120, 16, 120}, {16, 120, 16, 120}});
}

TEST(Units, OfRowsAndColumns) {
  expect_counts<kRow>(LayerNorm<float>({768}), {2048, 1, 1, 768},
                      {{1, 64, 2, 17}, {1, 64, 2, 17}, {1, 64, 2, 17}, {1, 64, 2, 17}});
  expect_counts<kRow>(LayerNorm<float>({400000}), {4, 1, 1, 400000},
                      {{4, 24, 3, 49}, {8, 48, 3, 112}, {8, 48, 3, 112}, {8, 48, 3, 112}});
  expect_counts<kCol>(LayerNorm<float>({768}), {2048, 1, 1, 768},
                      {{2, 24, 5, 33}, {4, 64, 5, 65}, {4, 128, 5, 129}, {4, 192, 5, 193}});
  expect_counts<kCol>(RMSNorm<float>({1000}), {3000, 1, 1, 1000},
                      {{3, 45, 7, 58}, {6, 96, 7, 97}, {6, 192, 7, 193}, {6, 366, 7, 367}});
}

/// What one thread's cache holds stays with it.
TEST(Units, OfSmallTensors) {
  expect_counts<kRow>(BatchNorm<float>(64), {16, 64, 1, 1}, {{0, 0, 0, 0}, {0, 0, 0, 0}, {0, 0, 0, 0}, {0, 0, 0, 0}});
  expect_counts<kRow>(LayerNorm<float>({96}), {60, 1, 1, 96}, {{0, 0, 2, 2}, {0, 0, 2, 2}, {0, 0, 2, 2}, {0, 0, 2, 2}});
}

}  // namespace
}  // namespace tensornorm_test
