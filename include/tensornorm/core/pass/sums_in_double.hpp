// Sums of the deviations of floats, or of 16-bit elements, in double.
#pragma once

#include "tensornorm/core/kernel/column_reduce.hpp"
#include "tensornorm/core/kernel/row_reduce.hpp"
#include "tensornorm/core/kernel/sum_arithmetic.hpp"
#include "tensornorm/core/plan/tile.hpp"

namespace tensornorm {
namespace core {

// A tile of x, the estimates of its bins, and the sums that it is added to.
template <class Scalar>
struct SumsInDouble {
  const Scalar* x;
  const ParamOf<Scalar>* estimate;
  const Tile& tile;
  bool columns;
  double *sum_d, *sum_d2;
};

// `for_every_isa`: kernels for every instruction set, else for the baseline alone. Only SyncBatchNorm takes many such
// sums, so it alone compiles the former.
template <class Scalar, bool for_every_isa>
__attribute__((noinline)) void add_in_double(const SumsInDouble<Scalar>& sums) {
  using T = ParamOf<Scalar>;
  using ByColumn = Deviations<Widened<Scalar>, PerColumn<Widened<T>>>;
  using ByRow = Deviations<Widened<Scalar>, PerRow<Widened<T>>>;
  const Tile& tile = sums.tile;
  const Rows<Widened<Scalar>> x{widened(sums.x + tile.offset), tile.stride};
  const ByColumn by_column{x, {widened(sums.estimate)}};
  const ByRow by_row{x, {widened(sums.estimate)}};
  if constexpr (for_every_isa) {
    sums.columns ? column_reduce(by_column, tile, sums.sum_d, sums.sum_d2)
                 : row_reduce(by_row, tile, sums.sum_d, sums.sum_d2, 0);
  } else if (sums.columns) {
    run_baseline<kFlags>(ColumnReduce<ByColumn>{by_column, tile.rows, tile.cols, sums.sum_d, sums.sum_d2, false});
  } else {
    run_baseline<kFlags>(RowReduce<ByRow>{by_row, tile.rows, tile.cols, 0, sums.sum_d, sums.sum_d2});
  }
}

}  // namespace core
}  // namespace tensornorm
