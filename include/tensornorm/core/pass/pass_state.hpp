// PassState: what a forward pass leaves for its backward, and the memory that both work in.
#pragma once

#include <Eigen/Core>
#include <cstdint>
#include <vector>

#include "tensornorm/core/compiled.hpp"
#include "tensornorm/core/copy_memory.hpp"
#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/pass/function_axes.hpp"
#include "tensornorm/core/pass/pass_record.hpp"
#include "tensornorm/core/plan/plan_cache.hpp"
#include "tensornorm/core/scalar.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

template <class Scalar, unsigned settings = kSettings>
struct PassState {
  using Array = Eigen::Array<ParamOf<Scalar>, Eigen::Dynamic, 1>;

  Array mean, lo, rstd;    // lo is what rounding lost of the mean
  std::vector<double> m2;  // sums of squared deviations, of the last forward that wants them
  std::vector<double> workspace;
  std::vector<Scalar> gradient;    // of the result, from that of what a post-op stored
  CopyMemory<Scalar> copies;       // of tensors that a pass cannot walk where they lie
  CopyMemory<Scalar> undo_copies;  // of those that a post-op is undone from
  bool is_of_function = false;     // the last forward was a function's
  std::vector<PassState> pieces;   // of virtual batches
  KeptPlan plan, backward_plan;    // the second where the tensors of backward lie differently
  PassRecord record;

  __attribute__((noinline)) void grow_workspace(Index doubles) {
    if (static_cast<Index>(workspace.size()) < doubles) workspace.resize(static_cast<std::size_t>(doubles));
  }
};

// PassState of a caller's Pass, with what only functions keep.
template <class Scalar>
struct FunctionState : PassState<Scalar> {
  // Copies of parameters, and of their gradients or running statistics, that do not lie as passes read them.
  std::vector<ParamOf<Scalar>> gamma, beta, first_output, second_output;
  // What backward of a function is not told: the axes of its forward, and its beta. A forward behind a post-op copies
  // beta, because backward computes the result again.
  NormRule rule;
  std::vector<ParamOf<Scalar>> kept_beta;
  ParamStrides beta_strides{};  // of the copy, along the axes of x
  bool knows_beta = false;      // whether the copy is the beta of the last forward; empty: there was none
};

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
