// Bodies of check.hpp.
#pragma once

#include <sstream>
#include <stdexcept>

#include "tensornorm/core/check.hpp"
#include "tensornorm/core/compiled.hpp"
#include "tensornorm/core/exceptions.hpp"

namespace tensornorm {
namespace core {

TENSORNORM_BODY void fail_with(std::initializer_list<MessagePart> parts) {
  std::ostringstream message;
  message << "tensornorm: ";
  for (const MessagePart& part : parts) part.write_to(message);
  raise<std::invalid_argument>(message.str());
}

TENSORNORM_BODY void check_momentum(const std::optional<double>& momentum) {
  check_that(!momentum || (*momentum >= 0 && *momentum <= 1), "momentum is ", momentum.value_or(0),
             " but must lie between 0 and 1");
}

TENSORNORM_BODY void check_batch(const Shape& x, Index channels) {
  const Index n = x.count();
  check_that(n > channels, "batch statistics need more than 1 value per channel but x of extents ", x, " has ",
             n / channels, " for each of ", channels, " channels");
}

TENSORNORM_BODY void check_instances(const Shape& x, Index channels) {
  const Index n = x.count();
  check_that(n > x.extent(0) * channels, "statistics need more than 1 spatial element but x of extents ", x,
             " has 1 for each of ", x.extent(0), " samples and ", channels, " channels");
}

TENSORNORM_BODY Index channel_parameters(Index channels, bool affine, const std::optional<double>& momentum) {
  check_that(channels > 0, "a layer of ", channels, " channels: at least 1 is needed");
  check_momentum(momentum);
  return affine ? channels : 0;
}

TENSORNORM_BODY int channel_axis(const Shape& x, Index wanted, Index channels, int first) {
  check_that(x.rank >= 2, "x has rank ", x.rank, " but needs 2 at least: batch and channels");
  const Index axis = wanted < 0 ? wanted + x.rank : wanted;
  check_that(axis >= first && axis < x.rank, "channel_axis is ", wanted, " but x of extents ", x,
             " has its channels between ", first, " and ", x.rank - 1);
  const int c = static_cast<int>(axis);
  check_that(
      x.extent(c) == channels, "x of extents ", x, " has ", x.extent(c), " channels along axis ", c,
      " but the layer has ", channels,
      x.rank == 2 && x.extent(1 - c) == channels ? ": give the transposes of x and y, or the other channel_axis" : "");
  return c;
}

}  // namespace core
}  // namespace tensornorm
