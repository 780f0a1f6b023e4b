// Sums of deviations that ranks merge: of floats and 16-bit elements in double, of doubles in two parts.
#pragma once

#include <cmath>

#include "tensornorm/core/kernel/column_reduce.hpp"
#include "tensornorm/core/kernel/row_reduce.hpp"
#include "tensornorm/core/kernel/sum_arithmetic.hpp"
#include "tensornorm/core/plan/tile.hpp"

namespace tensornorm {
namespace core {

// The parts of sums of doubles. Deviations rounded to a grid are coarse: they and their squares are multiples of the
// grid and of its square, which add up without rounding. What the rounding to the grid lost is fine, and so little that
// the rounding of its own sums does not count.
enum class Part { kCoarse, kFine };

// Whether a sum of squared deviations has a grid: its square would underflow otherwise, or the squares overflow.
inline bool has_grid(double m2) { return 1e-250 < m2 && m2 < 1e250; }

// The c by which d + c - c rounds d to the grid, where m2 is the sum of all d^2. Let 2^h be the root of m2 or more. No
// deviation exceeds it. The grid is 2^(h - 26), so that m2 is at most 2^52 of its squares.
// @pre has_grid(m2)
inline double grid_rounding(double m2) {
  int exponent = 0;
  std::frexp(m2, &exponent);
  const int h = (exponent > 0 ? exponent + 1 : exponent) / 2;
  return std::ldexp(1.5, h + 26);
}

// A tile of x, what is known by bin, and the sums that it is added to.
template <class Scalar>
struct DeviationSums {
  const Scalar* x;
  const ParamOf<Scalar>* estimate;
  const ParamOf<Scalar>* grid_rounding;  // of doubles
  Part part;
  const Tile& tile;
  bool columns;
  double *sum_d, *sum_d2;
};

// Adds by kernels for every instruction set, or for the baseline alone.
template <bool for_every_isa, class Functor>
void add_columns(const Functor& functor, const Tile& tile, double* sum_d, double* sum_d2) {
  if constexpr (for_every_isa) {
    column_reduce(functor, tile, sum_d, sum_d2);
  } else {
    run_baseline<kFlags>(ColumnReduce<Functor>{functor, tile.rows, tile.cols, sum_d, sum_d2, false});
  }
}
template <bool for_every_isa, class Functor>
void add_rows(const Functor& functor, const Tile& tile, double* sum_d, double* sum_d2) {
  if constexpr (for_every_isa) {
    row_reduce(functor, tile, sum_d, sum_d2);
  } else {
    run_baseline<kFlags>(RowReduce<Functor>{functor, tile.rows, tile.cols, 0, sum_d, sum_d2});
  }
}

// Deviations of floats or 16-bit elements, in double.
template <class Scalar, bool for_every_isa>
__attribute__((noinline)) void add_in_double(const DeviationSums<Scalar>& sums) {
  using X = Widened<Scalar>;
  using T = Widened<ParamOf<Scalar>>;
  const Rows<X> x{widened(sums.x + sums.tile.offset), sums.tile.stride};
  const T* const estimate = widened(sums.estimate);
  if (sums.columns) {
    add_columns<for_every_isa>(Deviations<X, PerColumn<T>>{x, {estimate}}, sums.tile, sums.sum_d, sums.sum_d2);
  } else {
    add_rows<for_every_isa>(Deviations<X, PerRow<T>>{x, {estimate}}, sums.tile, sums.sum_d, sums.sum_d2);
  }
}

// A part of the deviations of doubles.
template <template <class> class PartOfDeviations>
void add_part(const DeviationSums<double>& sums) {
  const Rows<double> x{sums.x + sums.tile.offset, sums.tile.stride};
  if (sums.columns) {
    const GriddedDeviations<PerColumn<double>> all{{x, {sums.estimate}}, {sums.grid_rounding}};
    add_columns<true>(PartOfDeviations<PerColumn<double>>{all}, sums.tile, sums.sum_d, sums.sum_d2);
  } else {
    const GriddedDeviations<PerRow<double>> all{{x, {sums.estimate}}, {sums.grid_rounding}};
    add_rows<true>(PartOfDeviations<PerRow<double>>{all}, sums.tile, sums.sum_d, sums.sum_d2);
  }
}
inline void add_in_parts(const DeviationSums<double>& sums) {
  sums.part == Part::kCoarse ? add_part<CoarseDeviations>(sums) : add_part<FineDeviations>(sums);
}

}  // namespace core
}  // namespace tensornorm
