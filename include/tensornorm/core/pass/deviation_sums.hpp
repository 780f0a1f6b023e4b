// Sums of deviations that ranks merge: of floats and 16-bit elements in double, of doubles by high and low digits.
#pragma once

#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/kernel/column_reduce.hpp"
#include "tensornorm/core/kernel/row_reduce.hpp"
#include "tensornorm/core/kernel/sum_arithmetic.hpp"
#include "tensornorm/core/plan/tile.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

// A tile of x, what is known by bin, and the sums that it is added to.
template <class Scalar>
struct DeviationSums {
  const Scalar* x;
  const ParamOf<Scalar>* estimate;
  const ParamOf<Scalar>* grid_rounding;  // of doubles
  Digits digits;                         // of doubles
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

// The high or the low digits of the deviations of doubles.
template <Digits digits>
void add_digits(const DeviationSums<double>& sums) {
  const Rows<double> x{sums.x + sums.tile.offset, sums.tile.stride};
  if (sums.columns) {
    add_columns<true>(DeviationDigits<PerColumn<double>, digits>{{x, {sums.estimate}}, {sums.grid_rounding}}, sums.tile,
                      sums.sum_d, sums.sum_d2);
  } else {
    add_rows<true>(DeviationDigits<PerRow<double>, digits>{{x, {sums.estimate}}, {sums.grid_rounding}}, sums.tile,
                   sums.sum_d, sums.sum_d2);
  }
}
inline void add_high_or_low(const DeviationSums<double>& sums) {
  sums.digits == Digits::kHigh ? add_digits<Digits::kHigh>(sums) : add_digits<Digits::kLow>(sums);
}

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
