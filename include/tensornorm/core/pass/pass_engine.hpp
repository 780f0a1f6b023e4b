// PassEngine: the passes of a layer that scales by 1 / sqrt(var + eps), by parameters of whoever calls. It knows
// pointers and shapes, and neither a tensor's type nor the layer's.
#pragma once

#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/memory.hpp"
#include "tensornorm/core/pass/parameters.hpp"
#include "tensornorm/core/pass/pass_state.hpp"
#include "tensornorm/core/pass/repeated_forward.hpp"
#include "tensornorm/core/pass/residual.hpp"
#include "tensornorm/core/pass/statement.hpp"
#include "tensornorm/core/post_op.hpp"
#include "tensornorm/core/target.hpp"
#include "tensornorm/core/thread/runner.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

template <class Scalar>
struct ForwardArguments;
template <class Scalar>
struct BackwardArguments;
struct BackwardPlan;
struct Moments;
struct Plan;
template <class T>
struct FrozenArrays;

// Forward: y = (x - mean) / sqrt(var + eps) * gamma + beta. Backward: with g = dy * gamma, dx = rstd * (g - mean(g) -
// xhat * mean(g * xhat)), dgamma = sum(dy * xhat), dbeta = sum(dy); with running statistics, dx = dy * gamma * rstd.
//
// Tensors have the extents of the shape and any strides; y and dx are x or dy, or disjoint from them. `tracks`: whether
// statistics may be given. Then parameters vary along the axes of statistics.
template <class Scalar, bool tracks, unsigned settings = kSettings>
class PassEngine {
 public:
  using Param = ParamOf<Scalar>;
  using State = PassState<Scalar, settings>;
  using Array = typename State::Array;

  // Whether a small tensor of columns may be one kernel's.
  static constexpr bool kRunsColumns = tracks && !std::is_same<Param, double>::value;

  // `keeps_m2`: whether state.m2 is wanted. With a residual, x is null: the pass reads the sum,
  // which has the call's shape. `find`, or null, finds the statistics once all memory but y's is there, and may throw;
  // the plan of an empty x is null. They are then not written to the state.
  using Find = FunctionRef<FoundStatistics<Param>(const ForwardArguments<Scalar>& pass, const Plan* plan,
                                                  const Workspace& workspace)>;
  static void forward(const Statement& call, const Parameters<Param>& parameters, Runner& runner, const Scalar* x,
                      Target<Scalar>& y, State& state, bool training, bool keeps_m2,
                      ResidualArguments<Scalar>* sum = nullptr, const Find* find = nullptr);

  // With plans and memory that a layer keeps, or null and the program's.
  static void infer(const Statement& call, const Parameters<Param>& parameters, Runner& runner, const Scalar* x,
                    Target<Scalar>& y, const InferPlans* plans, const InferMemory* memory,
                    ResidualArguments<Scalar>* sum = nullptr);

  // The last forward, or its backward, on other data that lies alike. False, and nothing is done, where the call must
  // go the usual way. @pre the parameters have their sizes; x, y, dy and dx lie as the record's x
  static bool repeat_forward(const Parameters<Param>& parameters, const RepeatedForward<Scalar>& call, State& state,
                             bool keeps_m2);
  static bool repeat_backward(BackwardArguments<Scalar>& pass, State& state);
  // infer of a small x whose plan is kept, by statistics of x or by running ones, with a prepared scale. @pre as above,
  // and y lies as x
  static bool repeat_infer(const ForwardArguments<Scalar>& pass, const RepeatedForward<Scalar>& call,
                           const Shape& shape, const InferPlans& plans);
  static bool repeat_frozen(const FrozenArrays<Param>& arrays, const Scalar* x, const Shape& shape, Scalar* y,
                            const InferPlans& plans);

  // Statistics in double, one of each in the order of Axis::stat.
  // @pre x is not empty
  static void find_moments(const Statement& call, Runner& runner, const Scalar* x, Moments* to);

  // A null dx is not wanted. `gradients` gives the memory of dgamma and dbeta, once nothing can be refused. `ranks` or
  // null: of a pass whose statistics are those of all.
  using GradientsOf = FunctionRef<ParameterGradients<Param>()>;
  static void backward(const Statement& call, const Parameters<Param>& parameters, const GradientsOf& gradients,
                       Index params, Runner& runner, const Scalar* x, const OutputGradient<Scalar>& dy,
                       Target<Scalar>* dx, State& state, bool training, const RankSums* ranks = nullptr);

 private:
  // From dy, the gradient of the result; after a post-op dy is null, and `gradient` gives it: undo_post_op has checked
  // the call then.
  static void backward_of_result(const Statement& call, const Parameters<Param>& parameters,
                                 const GradientsOf& gradients, Index params, Runner& runner, const Scalar* x,
                                 const Scalar* dy, const Shape& dy_shape, Target<Scalar>* dx, State& state,
                                 bool training, const ResultGradient<Scalar>* gradient, const RankSums* ranks);
};

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END

#ifndef TENSORNORM_COMPILED
#include "tensornorm/core/pass/pass_engine-inl.hpp"
#endif
