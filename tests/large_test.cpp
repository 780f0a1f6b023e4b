// More than 2^31 elements. Of a small tensor repeated along the batch every copy must come out as the oracle's small
// one. Elements of 16 bits, 4 GiB a tensor; skipped where memory is short.
#define EIGEN_USE_THREADS

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <limits>
#include <memory>
#include <string>
#include <thread>

#include "every_layer.hpp"

namespace tensornorm_test {
namespace {

using namespace tensornorm;
using Scalar = Eigen::bfloat16;

constexpr Index kInt = std::numeric_limits<std::int32_t>::max();

/// Bytes that can be had without swapping; 0 where nobody says.
double available_memory() {
  std::ifstream info("/proc/meminfo");
  for (std::string name, rest; info >> name && std::getline(info, rest);) {
    if (name == "MemAvailable:") return 1024 * std::stod(rest);
  }
  return 0;
}

/// One bfloat16 from the other, at most a unit: the oracle's long double may round to its neighbour.
bool is_near(double actual, Real expected) {
  return std::abs(Real(actual) - expected) <= std::abs(expected) / 256 + Real(1e-6);
}

/// Memory for a tensor of any test, in huge pages where there are some: half of the time goes to making pages.
Scalar* memory_for(int tensor, Index elements) {
  constexpr std::size_t kHugePage = std::size_t{2} << 20,
                        kBytes = (std::size_t(kInt) * sizeof(Scalar) / kHugePage + 2) * kHugePage;
  static const auto make = [] {
    void* const bytes = std::aligned_alloc(kHugePage, kBytes);
#if defined(MADV_HUGEPAGE)
    madvise(bytes, kBytes, MADV_HUGEPAGE);
#endif
    return std::unique_ptr<void, decltype(&std::free)>(bytes, &std::free);
  };
  static const std::unique_ptr<void, decltype(&std::free)> tensors[2] = {make(), make()};
  EXPECT_TRUE(tensors[tensor] != nullptr && std::size_t(elements) * sizeof(Scalar) <= kBytes);
  return static_cast<Scalar*>(tensors[tensor].get());
}

/// Room for two tensors of `repeats` copies of `size` elements.
class Room {
 public:
  explicit Room(Index size) : size_(size), repeats_(kInt / size + 2) {
    for (int i = 0; i < 2; ++i) tensors_[i] = memory_for(i, size_ * repeats_);
  }

  Scalar* x() const { return tensors_[0]; }
  Scalar* y() const { return tensors_[1]; }
  Index size() const { return size_; }
  Index repeats() const { return repeats_; }

  void fill(Scalar* to, const Values& small) const {
    for (Index i = 0; i < size_; ++i) to[i] = from_double<Scalar>(small[std::size_t(i)]);
    for (Index k = 1; k < repeats_; ++k) std::copy_n(to, size_, to + k * size_);
  }

  void expect_copies_of(const Reals& small, const Scalar* tensor, const std::string& what) const {
    Index wrong = 0, differing = 0;
    for (Index i = 0; i < size_; ++i) wrong += !is_near(to_double(tensor[i]), small[std::size_t(i)]);
    for (Index k = 1; k < repeats_; ++k) {
      differing += std::memcmp(tensor, tensor + k * size_, std::size_t(size_) * sizeof(Scalar)) != 0;
    }
    EXPECT_EQ(wrong, 0) << what << ", elements of the first copy";
    EXPECT_EQ(differing, 0) << what << ", copies unlike the first";
  }

 private:
  Index size_, repeats_;
  Scalar* tensors_[2];
};

class Large : public testing::Test {
 protected:
  void SetUp() override {
    constexpr double kNeeded = 2.2 * 2 * double(kInt);
    static const bool has_memory = available_memory() >= kNeeded;  // before the tensors have it
    if (!has_memory) GTEST_SKIP() << "needs " << kNeeded << " bytes of memory";
  }

  Eigen::ThreadPool pool_{int(std::thread::hardware_concurrency())};
  Eigen::ThreadPoolDevice device_{&pool_, pool_.NumThreads() + 1};
};

/// gamma's or beta's gradient: of every copy the same.
template <class Array>
void expect_repeated(const Array& gradient, const Reals& small, Index repeats, const std::string& what) {
  ASSERT_EQ(std::size_t(gradient.size()), small.size()) << what;
  for (std::size_t p = 0; p < small.size(); ++p) {
    const Real expected = small[p] * Real(repeats);
    EXPECT_NEAR(double(gradient[Index(p)]), double(expected),
                1e-5 * std::abs(double(expected)) + double(repeats) * 1e-4)
        << what << " " << p;
  }
}

TEST_F(Large, EveryLayer) {
  const Extents small{4, 6, 31, 59};
  const Room room(count(small));
  const Values x = rounded<Scalar>(normal(room.size(), 1, 3, 2)), dy = rounded<Scalar>(normal(room.size(), 2));
  using Map = Eigen::TensorMap<Eigen::Tensor<Scalar, 4, kRow>>;
  const auto map_of = [&](Scalar* data) { return Map(data, small[0] * room.repeats(), small[1], small[2], small[3]); };
  auto xm = map_of(room.x()), ym = map_of(room.y());
  ASSERT_GT(xm.size(), kInt);
  room.fill(room.x(), x);

  for_each_layer<Scalar>(small, 1, [&](const Kind& kind, auto layer) {
    const Values gamma = values_of(layer.gamma());
    Values beta;
    for (Index p = 0; p < layer.gamma().size(); ++p) beta.push_back(beta_of(layer, p));
    const Statistics statistics = oracle_statistics(x, kind.sets, 1e-5, kind.centred);

    layer.forward(device_, xm, ym);
    room.expect_copies_of(oracle_forward(x, kind.sets, statistics, gamma, beta).y, room.y(), kind.name + " y");

    room.fill(room.y(), dy);
    layer.backward(device_, xm, ym, ym);
    const Gradients gradients = oracle_backward(x, dy, kind.sets, statistics, gamma, kind.centred);
    room.expect_copies_of(gradients.dx, room.y(), kind.name + " dx");
    expect_repeated(layer.dgamma(), gradients.dgamma, room.repeats(), kind.name + " dgamma");
    if constexpr (has_beta<decltype(layer)>) {
      expect_repeated(layer.dbeta(), gradients.dbeta, room.repeats(), kind.name + " dbeta");
    }
  });
}

// One statistic of all elements, and columns that are as long.
TEST_F(Large, OneStatistic) {
  const Extents small{1, 1 << 16};
  const Room room(count(small));
  const Values x = rounded<Scalar>(normal(room.size(), 1, 3, 2));
  const Index n = room.size() * room.repeats();
  Eigen::TensorMap<Eigen::Tensor<Scalar, 2, kRow>> row(room.x(), 1, n), row_y(room.y(), 1, n);
  Eigen::TensorMap<Eigen::Tensor<Scalar, 2, kRow>> column(room.x(), n, 1), column_y(room.y(), n, 1);
  room.fill(room.x(), x);
  const Sets sets = row_sets(small, 1);
  const Reals y = oracle_forward(x, sets, oracle_statistics(x, sets, 1e-5), {}, {}).y;

  LayerNormOptions without;
  without.affine = false;
  LayerNorm<Scalar>({n}, without).infer(device_, row, row_y);
  room.expect_copies_of(y, room.y(), "LayerNorm");
  std::fill_n(room.y(), n, Scalar(0));
  BatchNorm<Scalar> batch(1);
  batch.forward(device_, column, column_y);
  room.expect_copies_of(y, room.y(), "BatchNorm");
  EXPECT_EQ(batch.num_batches_tracked(), 1);

  Real squares = 0;
  for (const double v : x) squares += Real(v) * v;
  const double norm = double(std::sqrt(squares * Real(room.repeats())));
  EXPECT_NEAR(clip_grad_norm(device_, norm, column), norm, 1e-7 * norm);
}

}  // namespace
}  // namespace tensornorm_test
