// What a forward pass is given.
#pragma once

#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/kernel/moments.hpp"
#include "tensornorm/core/kernel/packet.hpp"
#include "tensornorm/core/pass/parameters.hpp"
#include "tensornorm/core/pass/residual.hpp"
#include "tensornorm/core/plan/walk.hpp"
#include "tensornorm/core/post_op.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

struct Plan;

// Arrays of one value per statistic, in the layer's order (Axis::stat); a null one is not wanted.
template <class T>
struct SavedStatistics {
  T *hi = nullptr, *lo = nullptr, *rstd = nullptr;
  double* m2 = nullptr;        // sums of squared deviations
  Moments* moments = nullptr;  // the same statistics in double
};

template <class Scalar>
struct DeviationSums;

template <class Scalar>
struct ForwardArguments : Parameters<ParamOf<Scalar>> {
  const Scalar* x;
  Scalar* y;  // x itself, or disjoint from it; null: only statistics are wanted
  SavedStatistics<ParamOf<Scalar>> saved;
  const Residual<Scalar>* residual = nullptr;  // x is its h; null: there is no sum
  const PostOp<Scalar>* post_op = nullptr;     // null: there is none
  // Adds a tile to sums that ranks merge; null: there are no ranks. A pointer, so that other layers do not compile its
  // kernels. @pre with it, y and saved.hi are null and saved.moments is not
  void (*add_for_ranks)(const DeviationSums<Scalar>& sums) = nullptr;
  // Forward::run_columns; null: the call does without. Layers of other shapes do not compile it so.
  bool (*run_columns)(const ForwardArguments& arguments, const Plan& plan) = nullptr;

  void read_sum(const Residual<Scalar>& sum) {
    residual = &sum;
    x = sum.h;
  }

  // Whether y takes the place of what the map reads.
  bool is_in_place() const { return x == y || (post_op != nullptr && post_op->z == y); }

  // Makes the sum, if there is one, of positions [p0, p1) of the lines of some bins.
  void add_residual(const Walk& walk, const BinRange& bins, Index p0, Index p1, Index ahead = 0) const {
    if (residual != nullptr && bins.size() > 0) make_residual(walk, bins, p0, p1, ahead);
  }
  __attribute__((noinline)) void make_residual(const Walk& walk, const BinRange& bins, Index p0, Index p1,
                                               Index ahead) const {
    walk.visit(bins.group, bins.k0, bins.k1, p0, p1, [&](const Tile& tile) { residual->add(*residual, tile, ahead); });
  }
};

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
