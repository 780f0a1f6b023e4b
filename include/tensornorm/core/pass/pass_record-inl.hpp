// Bodies of pass_record.hpp.
#pragma once

#include "tensornorm/core/compiled.hpp"
#include "tensornorm/core/pass/pass_record.hpp"

namespace tensornorm {
namespace core {

TENSORNORM_BODY void PassRecord::set(const Shape& x, std::uint64_t fingerprint_of_x, bool is_training,
                                     bool has_batch_statistics) {
  shape = x;
  fingerprint = fingerprint_of_x;
  done = true;
  training = is_training;
  batch = has_batch_statistics;
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

TENSORNORM_BODY void PassRecord::check_kind(bool is_centred, bool has_unit) const {
  const auto name = [](bool with_mean, bool of_unit) {
    return with_mean ? "mean and variance" : of_unit ? "a sum of squares" : "a mean square";
  };
  check_that(centred == is_centred && is_unit == has_unit, "the pass is another layer's: its forward took ",
             name(centred, is_unit), ", this backward is of ", name(is_centred, has_unit));
}

TENSORNORM_BODY void PassRecord::check_same(const Shape& x, std::uint64_t fingerprint_of_x) const {
  check_that(fingerprint_of_x == fingerprint, "x of extents ", x,
             " is not what the last forward pass read: some of its elements differ (their sums are ", fingerprint_of_x,
             " and ", fingerprint, "). After a forward in place backward needs a copy of the x before it");
}

}  // namespace core
}  // namespace tensornorm
