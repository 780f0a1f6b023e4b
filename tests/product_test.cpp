// Whitening's products and sums against plain loops in long double: every extent round a vector's, off alignment, with
// guards. Equal rows give equal bits, whether whole vectors or what is left of one hold them.
#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "tensornorm/core/kernel/lane_sums.hpp"
#include "tensornorm/core/kernel/product.hpp"

namespace {

using namespace tensornorm;
using namespace tensornorm::core;

const std::vector<Index> kExtents = {0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 65};
const std::vector<Index> kDepths = {0, 1, 2, 7, 64, 129};
constexpr double kGuard = -12345.5;

std::vector<double> random_numbers(Index n, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<double> normal(0, 1);
  std::vector<double> x(static_cast<std::size_t>(n));
  for (double& v : x) v = normal(random);
  return x;
}

/// Strides of a matrix: elements of a column side by side, with a gap between columns, or those of a row.
struct Layout {
  bool by_row;
  Index gap;
};
ConstMatrix matrix(const std::vector<double>& memory, Index rows, Index cols, const Layout& layout) {
  const double* const at = memory.data() + 1;  // off every vector's alignment
  return layout.by_row ? ConstMatrix{at, cols + layout.gap, 1} : ConstMatrix{at, 1, rows + layout.gap};
}
std::vector<double> memory_of(Index rows, Index cols, const Layout& layout, unsigned seed) {
  return random_numbers((rows + layout.gap) * (cols + layout.gap) + 1, seed);
}
double element(const ConstMatrix& m, Index i, Index j) { return m.at[i * m.row + j * m.col]; }

class Output {
 public:
  Output(Index rows, Index cols) : stride_(rows + 3), values_(static_cast<std::size_t>(stride_ * cols + 9), kGuard) {
    for (Index q = 0; q < cols; ++q) std::fill_n(at() + q * stride_, rows, 0.5);
  }
  double* at() { return values_.data() + 5; }
  Index stride() const { return stride_; }
  double operator()(Index i, Index q) { return at()[i + q * stride_]; }
  Index guards() const { return std::count(values_.begin(), values_.end(), kGuard); }

 private:
  Index stride_;
  std::vector<double> values_;
};

void check_product(Index rows, Index cols, Index depth, const Layout& of_a, const Layout& of_b) {
  const auto a_memory = memory_of(rows, depth, of_a, 1), b_memory = memory_of(depth, cols, of_b, 2);
  const ConstMatrix a = matrix(a_memory, rows, depth, of_a), b = matrix(b_memory, depth, cols, of_b);
  Output c(rows, cols);
  const Index guards = c.guards();
  Product{a, b, c.at(), c.stride(), rows, cols, depth}.add();
  EXPECT_EQ(c.guards(), guards) << rows << ", " << cols << ", " << depth;
  for (Index i = 0; i < rows; ++i) {
    for (Index q = 0; q < cols; ++q) {
      long double want = 0.5L, size = 0.5L;
      for (Index r = 0; r < depth; ++r) {
        want += static_cast<long double>(element(a, i, r)) * element(b, r, q);
        size += std::abs(element(a, i, r) * element(b, r, q));
      }
      ASSERT_LE(std::abs(c(i, q) - want), 2e-15L * size)
          << rows << ", " << cols << ", " << depth << ": " << i << ", " << q;
    }
  }
}

TEST(Product, IsWhatPlainLoopsSay) {
  for (const Index rows : kExtents) {
    for (const Index cols : kExtents) {
      for (const Index depth : kDepths) {
        if (cols > 17 && depth > 7) continue;
        check_product(rows, cols, depth, {false, 3}, {false, 1});
      }
    }
  }
}

TEST(Product, TakesAnyStrides) {
  for (const Index rows : {1, 7, 8, 33}) {
    for (const Index cols : {1, 2, 3, 9}) {
      for (const bool a_by_row : {false, true}) {
        check_product(rows, cols, 65, {a_by_row, 0}, {false, 0});
        check_product(rows, cols, 65, {a_by_row, 2}, {true, 5});
      }
    }
  }
}

TEST(Product, LowerTriangle) {
  for (const Index n : kExtents) {
    const auto a_memory = memory_of(n, 12, {false, 1}, 1);
    const ConstMatrix a = matrix(a_memory, n, 12, {false, 1});
    Output all(n, n), lower(n, n);
    const Index guards = lower.guards();
    Product{a, a.transposed(), all.at(), all.stride(), n, n, 12}.add();
    Product{a, a.transposed(), lower.at(), lower.stride(), n, n, 12, true}.add();
    EXPECT_EQ(lower.guards(), guards) << n;
    for (Index q = 0; q < n; ++q) {
      for (Index i = q; i < n; ++i) EXPECT_EQ(lower(i, q), all(i, q)) << n << ": " << i << ", " << q;
    }
  }
}

/// Every row of a is the same, and every column of b: so must be every element, from the first vector to the last rest.
template <int columns, int vectors, class RunOn>
void check_equal_rows(Index least, const RunOn& run_on) {
  for (Index rows = least; rows < least + 70; ++rows) {
    const Index depth = 37;
    const auto row = random_numbers(depth, 1), factors = random_numbers(depth, 2);
    std::vector<double> a;
    for (const double v : row) a.insert(a.end(), static_cast<std::size_t>(rows), v);
    Output c(rows, columns);
    run_on(ProductColumns<columns, vectors>{
        {a.data(), 1, rows}, {factors.data(), 1, 0}, c.at(), c.stride(), 0, rows, depth});
    for (Index q = 0; q < columns; ++q) {
      for (Index i = 0; i < rows; ++i) ASSERT_EQ(c(i, q), c(0, 0)) << rows << " rows: " << i << ", " << q;
    }
  }
}
template <class RunOn>
void check_equal_rows_of_all(Index least, const RunOn& run_on) {
  check_equal_rows<4, 2>(least, run_on);
  check_equal_rows<2, 4>(least, run_on);
  check_equal_rows<1, 4>(least, run_on);
}

TEST(Product, EqualRowsGiveEqualBits) {
  check_equal_rows_of_all(1, [](const auto& kernel) { run_baseline<kFlags>(kernel); });
#if TENSORNORM_HAS_AVX2
  if (has_avx2()) check_equal_rows_of_all(4, [](const auto& kernel) { run_avx2<kFlags>(kernel); });
#endif
#if TENSORNORM_HAS_AVX512
  if (has_avx512()) check_equal_rows_of_all(8, [](const auto& kernel) { run_avx512<kFlags>(kernel); });
#endif
}

TEST(Product, OfMatrices) {
  for (const Index rows : {0, 1, 5, 64, 65, 130}) {
    for (const Index depth : {0, 3, 64, 130}) {
      const Matrix a = Matrix::Random(rows, depth), b = Matrix::Random(depth, 7);
      const bool is_empty = rows == 0 || depth == 0;
      const Matrix c = product(a, b), want = is_empty ? Matrix::Zero(rows, 7) : Matrix(a.lazyProduct(b));
      ASSERT_EQ(c.rows(), rows);
      ASSERT_EQ(c.cols(), 7);
      EXPECT_TRUE(is_empty ? c == want : c.isApprox(want, 1e-14)) << rows << ", " << depth;
    }
  }
}

TEST(LaneSums, AreWhatPlainLoopsSay) {
  for (const Index k : {1, 2, 3, 7}) {
    for (const Index positions : {0, 8, 16, 40, 256}) {
      const Index stride = positions + 3;
      const auto a = random_numbers(k * stride + 1, 1), b = random_numbers(k * stride + 1, 2);
      for (const bool is_lower : {false, true}) {
        std::vector<double> sums(static_cast<std::size_t>(k), 0.5), products(static_cast<std::size_t>(k * k + 1), 0.5);
        dispatch_to_avx2(LaneSums{a.data() + 1, nullptr, stride, k, positions, sums.data()});
        dispatch_to_avx2(LaneSums{a.data() + 1, b.data() + 1, stride, k, positions, products.data(), is_lower});
        for (Index i = 0; i < k; ++i) {
          long double sum = 0.5L;
          for (Index p = 0; p < positions; ++p) sum += a[static_cast<std::size_t>(1 + i * stride + p)];
          EXPECT_NEAR(sums[static_cast<std::size_t>(i)], static_cast<double>(sum), 1e-13);
          for (Index j = 0; j < k; ++j) {
            long double want = 0.5L;
            for (Index p = 0; p < positions && (i >= j || !is_lower); ++p) {
              want += static_cast<long double>(a[static_cast<std::size_t>(1 + i * stride + p)]) *
                      b[static_cast<std::size_t>(1 + j * stride + p)];
            }
            EXPECT_NEAR(products[static_cast<std::size_t>(i + j * k)], static_cast<double>(want), 1e-13);
          }
        }
        EXPECT_EQ(products.back(), 0.5);
      }
    }
  }
}

}  // namespace
