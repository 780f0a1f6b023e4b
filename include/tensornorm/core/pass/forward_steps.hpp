// ForwardSteps: what forward and infer share.
#pragma once

#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/pass/forward.hpp"
#include "tensornorm/core/pass/frozen.hpp"
#include "tensornorm/core/pass/pass_record.hpp"
#include "tensornorm/core/pass/staged_pass.hpp"
#include "tensornorm/core/pass/statement.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

template <class Scalar, bool tracks>
struct ForwardSteps {
  __attribute__((noinline)) static void run(const ForwardArguments<Scalar>& pass, const Plan& plan,
                                            const Runner& runner, const Workspace& workspace) {
    if constexpr (tracks) {
      if (pass.is_frozen()) return Frozen<Scalar>(pass, plan).run(runner, workspace);
    }
    Forward<Scalar>(pass, plan).run(runner, workspace);
  }

  // Doubles of the workspace for so many threads.
  static Index workspace_size(const ForwardArguments<Scalar>& pass, const Plan& plan, Index threads) {
    if constexpr (tracks) {
      if (pass.is_frozen()) return Frozen<Scalar>(pass, plan).workspace_size(threads);
    }
    return ForwardMemory<ParamOf<Scalar>>::workspace_size(plan, threads);
  }

  static bool lie_beside(const Statement& call, const Target<Scalar>& y, const ResidualArguments<Scalar>* sum) {
    return sum == nullptr ? walks_beside(call.shape, y.shape()) : sum->lie_beside(y.shape());
  }

  // Calls run(statement, x, y, sum) with tensors that lie beside each other. Returns the fingerprint of x, or of the
  // sum.
  template <class Run>
  __attribute__((cold, noinline)) static std::uint64_t staged(const Statement& call, const Scalar* x, Target<Scalar>& y,
                                                              const ResidualArguments<Scalar>* sum,
                                                              CopyMemory<Scalar>& memory, const Run& run) {
    call.check_axes();  // what it refuses is not copied
    if (sum != nullptr) {
      sum->check_overlap(y);
      const auto run_sum = [&](const Shape& layout, Target<Scalar>& output, ResidualArguments<Scalar>& staged) {
        run(call.in(layout), nullptr, output, &staged);
      };
      return core::fingerprint(run_staged_sum(*sum, y, memory, run_sum), call.shape);
    }
    const std::uint64_t fingerprint = core::fingerprint(x, call.shape);  // y may be x
    const auto run_plain = [&](const Shape& layout, const Scalar* input, Target<Scalar>& output) {
      run(call.in(layout), input, output, nullptr);
    };
    run_staged(x, call.shape, y, walks_beside, memory, run_plain);
    return fingerprint;
  }
};

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
