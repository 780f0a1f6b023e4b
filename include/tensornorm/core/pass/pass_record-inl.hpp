// Bodies of pass_record.hpp.
#pragma once

#include "tensornorm/core/compiled.hpp"
#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/pass/pass_record.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

TENSORNORM_BODY void PassRecord::set(const Shape& x, std::uint64_t fingerprint_of_x, bool is_training,
                                     bool has_batch_statistics, StatisticKind of_statistics) {
  shape = x;
  fingerprint = fingerprint_of_x;
  done = true;
  training = is_training;
  batch = has_batch_statistics;
  kind = of_statistics;
  used_pieces = 0;
  rank_values = 0;
  repeated_plan = 0;
}

TENSORNORM_BODY void PassRecord::check_backward(const Shape& x, const Shape& dy, bool is_training) const {
  check_that(done, "backward follows a forward pass, but there was none");
  check_that(same_extents(dy, x), "dy has extents ", dy, " but x has ", x);
  check_that(same_extents(x, shape), "x has extents ", x, " but the forward pass had ", shape);
  check_that(x == shape, "x of extents ", x, " has another layout than in the forward pass: its first axis has stride ",
             x.stride(0), ", then ", shape.stride(0));
  check_that(training == is_training, "backward in ", is_training ? "train" : "eval", " mode (", is_training,
             ") follows a forward pass in ", training ? "train" : "eval", " mode (", training, ")");
}

TENSORNORM_BODY void PassRecord::check_kind(StatisticKind of_backward, bool of_ranks) const {
  if (!done) return;
  const auto name = [](StatisticKind k) {
    return k == StatisticKind::kVariance     ? "variance"
           : k == StatisticKind::kMeanSquare ? "mean square"
                                             : "sum of squares";
  };
  check_that(kind == of_backward, "the pass is another layer's: its forward used the ", name(kind),
             " but this backward needs the ", name(of_backward));
  check_that(of_ranks || rank_values == 0, "the forward of this pass had statistics of ", rank_values,
             " values on all ranks: call the backward of SyncBatchNorm");
  check_that(used_pieces == 0, "the forward of this pass had ", used_pieces,
             " virtual batches: call the backward of its layer");
}

TENSORNORM_BODY void PassRecord::check_same(const Shape& x, std::uint64_t fingerprint_of_x) const {
  check_that(fingerprint_of_x == fingerprint, "x of extents ", x,
             " is not what the last forward pass read: some of its elements differ (their sums are ", fingerprint_of_x,
             " and ", fingerprint, "). After a forward in place backward needs a copy of the x before it");
}

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
