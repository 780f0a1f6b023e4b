// The loop shapes against plain loops: every length round the vector's, no byte beyond the tile, any alignment.
#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "tensornorm/core/kernel/column_reduce.hpp"
#include "tensornorm/core/kernel/map.hpp"
#include "tensornorm/core/kernel/map_arithmetic.hpp"
#include "tensornorm/core/kernel/row_reduce.hpp"
#include "tensornorm/core/kernel/sample.hpp"
#include "tensornorm/core/kernel/sum_arithmetic.hpp"

namespace {

using namespace tensornorm;
using namespace tensornorm::core;

template <class Scalar>
class Kernels : public testing::Test {};
using Scalars = testing::Types<float, double, Eigen::half, Eigen::bfloat16>;
struct ScalarNumber {
  template <class Scalar>
  static std::string GetName(int i) {
    return std::to_string(i);
  }
};
TYPED_TEST_SUITE(Kernels, Scalars, ScalarNumber);

const std::vector<Index> kLengths = {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 65, 127, 512, 515, 1025, 2051};
const std::vector<Index> kRows = {1, 2, 4, 7, 15, 16, 17, 33};
constexpr Index kGap = 5;  // between the rows of a tile, never to be read as data or written

template <class Scalar>
std::vector<Scalar> random_numbers(Index n, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, 1);
  std::vector<Scalar> x(static_cast<std::size_t>(n));
  for (Scalar& v : x) v = static_cast<Scalar>(normal(random));
  return x;
}

template <class T>
double as_double(T v) {
  return static_cast<double>(static_cast<ParamOf<T>>(v));
}

// sum of d and d * d, d = e - x, along rows or columns.
TYPED_TEST(Kernels, ReduceLikePlainLoops) {
  using S = TypeParam;
  using T = ParamOf<S>;
  const double tolerance = std::is_same<S, double>::value ? 1e-13 : 1e-5;
  for (const Index rows : kRows) {
    for (const Index cols : kLengths) {
      const Index stride = cols + kGap;
      const auto x = random_numbers<S>(rows * stride + 1, 1);
      const auto e = random_numbers<T>(std::max(rows, cols), 2);
      const S* first = x.data() + 1;  // off every vector's alignment
      std::vector<double> by_row(2 * static_cast<std::size_t>(rows), 1.0),
          by_column(2 * static_cast<std::size_t>(cols), 1.0);
      auto want_row = by_row, want_column = by_column;
      for (Index r = 0; r < rows; ++r) {
        for (Index c = 0; c < cols; ++c) {
          const auto row = static_cast<std::size_t>(r), column = static_cast<std::size_t>(c);
          const double v = as_double(first[r * stride + c]), dr = as_double(e[row]) - v, dc = as_double(e[column]) - v;
          want_row[row] += dr;
          want_row[row + static_cast<std::size_t>(rows)] += dr * dr;
          want_column[column] += dc;
          want_column[column + static_cast<std::size_t>(cols)] += dc * dc;
        }
      }
      const Rows<S> operand{first, stride};
      const Tile tile{0, rows, cols, stride, 0, 0, 0, 0};
      auto ahead = by_row;
      const Deviations<S, PerRow<T>> by_rows{operand, {e.data()}};
      row_reduce(by_rows, tile, by_row.data(), by_row.data() + rows);
      row_reduce(by_rows, tile, ahead.data(), ahead.data() + rows, /*ahead=*/3 * stride);
      ASSERT_EQ(by_row, ahead) << "the same bits, whatever is asked for";
      auto prefetched = by_column;
      const Deviations<S, PerColumn<T>> by_columns{operand, {e.data()}};
      column_reduce(by_columns, tile, by_column.data(), by_column.data() + cols);
      dispatch(ColumnReduce<Deviations<S, PerColumn<T>>>{by_columns, rows, cols, prefetched.data(),
                                                         prefetched.data() + cols, /*prefetches=*/true});
      ASSERT_EQ(by_column, prefetched) << "the same bits, whatever is asked for";
      for (std::size_t i = 0; i < by_row.size(); ++i) {
        ASSERT_NEAR(by_row[i], want_row[i], tolerance * (1 + std::abs(want_row[i]))) << rows << " x " << cols;
      }
      for (std::size_t i = 0; i < by_column.size(); ++i) {
        ASSERT_NEAR(by_column[i], want_column[i], tolerance * (1 + std::abs(want_column[i]))) << rows << " x " << cols;
      }
    }
  }
}

// The mean of some points of a line: of a column one number each, of a row `width` neighbours or a whole vector.
TYPED_TEST(Kernels, EstimatesAreTheMeansOfTheirPlaces) {
  using S = TypeParam;
  using T = ParamOf<S>;
  const double tolerance = std::is_same<S, double>::value ? 1e-13 : 1e-5;
  SamplePoints points;
  points.count = 3;
  for (const Index n : {Index{1}, Index{7}, Index{16}, Index{100}}) {
    const Index stride = n + kGap;
    const auto x = random_numbers<S>(6 * stride + n, 8);
    std::vector<T> of_columns(static_cast<std::size_t>(n)), of_rows(static_cast<std::size_t>(3));
    for (int i = 0; i < points.count; ++i) points.offsets[i] = 2 * i * stride;
    dispatch(SampleColumns<S>{x.data(), n, points, of_columns.data()});
    for (Index c = 0; c < n; ++c) {
      double sum = 0;
      for (int i = 0; i < points.count; ++i) sum += as_double(x[static_cast<std::size_t>(points.offsets[i] + c)]);
      ASSERT_NEAR(static_cast<double>(of_columns[static_cast<std::size_t>(c)]), sum / points.count, tolerance) << n;
    }
    const auto constant = std::vector<S>(static_cast<std::size_t>(6 * stride + n), static_cast<S>(3));
    dispatch_to_avx2(SampleRows<S>{constant.data(), stride, 3, n, points, of_rows.data()});
    for (const T& estimate : of_rows) ASSERT_NEAR(static_cast<double>(estimate), 3, 3 * tolerance) << n;
  }
}

TYPED_TEST(Kernels, MapLikePlainLoopsAndWriteNothingElse) {
  using S = TypeParam;
  using T = ParamOf<S>;
  for (const Index rows : {Index{1}, Index{3}}) {
    for (const Index cols : kLengths) {
      const Index stride = cols + kGap;
      const auto x = random_numbers<S>(rows * stride, 3);
      const auto hi = random_numbers<T>(cols, 4), scale = random_numbers<T>(cols, 5),
                 shift = random_numbers<T>(cols, 6);
      const Rows<S> operand{x.data(), stride};
      const Xhat<S, PerColumn<T>> xhat{{operand, {hi.data()}, {scale.data()}}, {shift.data()}};
      const Normalize<S, PerColumn<T>, PerRowOrAll<T>> functor{xhat, every_row(kOne<T>), every_row(kMinusZero<T>)};
      const S sentinel = static_cast<S>(77);
      std::vector<S> y(static_cast<std::size_t>(rows * stride) + 2, sentinel), in_place = x, apart = y;
      const Tile tile{0, rows, cols, stride, 0, 0, 0, 0};
      map(functor, tile, y.data() + 1, stride);
      map(functor, tile, apart.data() + 1, stride, {/*past_cache=*/false, /*in_place=*/false});
      ASSERT_EQ(std::memcmp(apart.data(), y.data(), y.size() * sizeof(S)), 0) << "apart from x, " << cols;
      auto here = functor;
      here.xhat.unshifted.x.p = in_place.data();
      map(here, tile, in_place.data(), stride);
      ASSERT_EQ(as_double(y.front()), 77) << cols;
      ASSERT_EQ(as_double(y.back()), 77) << cols;
      for (Index i = 0; i < rows * stride; ++i) {
        const auto at = static_cast<std::size_t>(i), c = static_cast<std::size_t>(i % stride);
        if (i % stride >= cols) {
          ASSERT_EQ(as_double(y[at + 1]), 77) << cols;
          continue;
        }
        const double want = (as_double(hi[c]) - as_double(x[at])) * as_double(scale[c]) + as_double(shift[c]);
        const double ulp = std::is_same<S, double>::value        ? 1e-15
                           : std::is_same<S, float>::value       ? 4e-7
                           : std::is_same<S, Eigen::half>::value ? 1e-3
                                                                 : 8e-3;
        ASSERT_NEAR(as_double(y[at + 1]), want, ulp * (1 + std::abs(want)) * 2) << cols;
        ASSERT_EQ(std::memcmp(&in_place[at], &y[at + 1], sizeof(S)), 0) << "in place, " << cols;
      }
    }
  }
}

// Past the cache, and with its reads prepared, a map writes the same bits and nothing else, wherever y begins.
TYPED_TEST(Kernels, MapPastTheCacheWritesTheSame) {
  using S = TypeParam;
  using T = ParamOf<S>;
  std::vector<Index> lengths = kLengths;
  lengths.insert(lengths.end(), {64, 128, 96, 80, 256, 260, 1024, 1500});
  constexpr Index kRowsHere = 7, kMostShift = 17;
  for (const Index cols : lengths) {
    for (const Index gap : {Index{0}, kGap}) {
      const Index stride = cols + gap, n = kRowsHere * stride;
      const auto x = random_numbers<S>(n, 3);
      const auto hi = random_numbers<T>(cols, 4), scale = random_numbers<T>(cols, 5),
                 shift = random_numbers<T>(cols, 6);
      const Rows<S> operand{x.data(), stride};
      const Xhat<S, PerColumn<T>> xhat{{operand, {hi.data()}, {scale.data()}}, {shift.data()}};
      const Normalize<S, PerColumn<T>, PerRowOrAll<T>> functor{xhat, every_row(kOne<T>), every_row(kMinusZero<T>)};
      const Tile tile{0, kRowsHere, cols, stride, 0, 0, 0, 0};
      for (Index first = 0; first < kMostShift; ++first) {
        const auto room = static_cast<std::size_t>(n + kMostShift + 16);
        std::vector<S, Eigen::aligned_allocator<S>> want(room, static_cast<S>(77)), y = want;
        map(functor, tile, want.data() + first, stride);
        map(functor, tile, y.data() + first, stride, {true, false, first % 2 == 0 ? Index{0} : stride});
        finish_streaming();
        ASSERT_EQ(std::memcmp(want.data(), y.data(), room * sizeof(S)), 0) << cols << " + " << gap << " at " << first;
      }
    }
  }
}

// A row's sums depend on its numbers alone: not on where it starts, nor on its neighbours, nor on their number.
TYPED_TEST(Kernels, RowSumsHaveTheSameBitsAtAnyAlignment) {
  using S = TypeParam;
  using T = ParamOf<S>;
  const T zero = 0;
  constexpr Index kTogether = 7;
  for (const Index cols : kLengths) {
    const auto x = random_numbers<S>(kTogether * cols, 8);
    double want[2][kTogether] = {};
    const Tile tile{0, 1, cols, cols, 0, 0, 0, 0};
    for (Index r = 0; r < kTogether; ++r) {
      row_reduce(Deviations<S, PerRow<T>>{{x.data() + r * cols, cols}, {&zero}}, tile, want[0] + r, want[1] + r);
    }
    for (Index shift = 1; shift < 9; ++shift) {
      std::vector<S> moved(static_cast<std::size_t>(cols + shift), static_cast<S>(NAN));
      std::copy_n(x.begin(), cols, moved.begin() + shift);
      double sums[2] = {};
      row_reduce(Deviations<S, PerRow<T>>{{moved.data() + shift, cols}, {&zero}}, tile, sums, sums + 1);
      ASSERT_TRUE(sums[0] == want[0][0] && sums[1] == want[1][0]) << cols << " at " << shift;
    }
    const std::vector<T> zeros(kTogether, zero);
    double sums[2][kTogether] = {};
    row_reduce(Deviations<S, PerRow<T>>{{x.data(), cols}, {zeros.data()}}, {0, kTogether, cols, cols, 0, 0, 0, 0},
               sums[0], sums[1]);
    for (Index r = 0; r < kTogether; ++r) {
      ASSERT_TRUE(sums[0][r] == want[0][r] && sums[1][r] == want[1][r]) << cols << ", row " << r;
    }
  }
}

// Every 16-bit pattern goes through a load and a store unchanged, and stores round as Eigen does.
template <class S>
void expect_round_trip() {
  std::vector<S> x(65536), y(65536);
  for (unsigned i = 0; i < 65536; ++i) {
    const auto bits = static_cast<std::uint16_t>(i);
    std::memcpy(static_cast<void*>(&x[i]), &bits, 2);
  }
  const float zero = 0, minus_one = -1;
  const Xhat<S, PerRowOrAll<float>> same{{{x.data(), 65536}, {&zero, kNone}, {&minus_one, kNone}}, {&zero, kNone}};
  map(Normalize<S, PerRowOrAll<float>, PerColumnOrAll<float>>{same, every_column(kOne<float>),
                                                              every_column(kMinusZero<float>)},
      Tile{0, 1, 65536, 65536, 0, 0, 0, 0}, y.data(), 65536);
  for (std::size_t i = 0; i < 65536; ++i) {
    const float v = static_cast<float>(x[i]), w = static_cast<float>(y[i]);
    ASSERT_TRUE(v == w || (std::isnan(v) && std::isnan(w))) << i;
  }
}

TEST(SixteenBit, EveryPatternSurvives) {
  expect_round_trip<Eigen::half>();
  expect_round_trip<Eigen::bfloat16>();
}

template <class S>
void expect_eigen_rounding() {
  std::mt19937 random(9);
  std::uniform_int_distribution<std::uint32_t> any;
  std::vector<float> scale(4096);
  for (float& v : scale) {
    const std::uint32_t bits = any(random);
    std::memcpy(&v, &bits, 4);
  }
  std::vector<S> one(4096, static_cast<S>(1.0f)), y(4096);
  const std::vector<float> zeros(4096, 0.0f);
  for (float& v : scale) v = -v;
  const Xhat<S, PerColumn<float>> scaled{{{one.data(), 4096}, {zeros.data()}, {scale.data()}}, {zeros.data()}};
  map(Normalize<S, PerColumn<float>, PerRowOrAll<float>>{scaled, every_row(kOne<float>), every_row(kMinusZero<float>)},
      Tile{0, 1, 4096, 4096, 0, 0, 0, 0}, y.data(), 4096);
  for (float& v : scale) v = -v;
  for (std::size_t i = 0; i < 4096; ++i) {
    const float want = static_cast<float>(static_cast<S>(scale[i])), got = static_cast<float>(y[i]);
    ASSERT_TRUE(got == want || (std::isnan(got) && std::isnan(want))) << scale[i] << " became " << got;
  }
}

TEST(SixteenBit, StoresRoundAsEigenDoes) {
  expect_eigen_rounding<Eigen::half>();
  expect_eigen_rounding<Eigen::bfloat16>();
}

}  // namespace
