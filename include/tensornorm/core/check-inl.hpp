// Bodies of check.hpp.
#pragma once

#include <limits>
#include <sstream>
#include <stdexcept>

#include "tensornorm/core/check.hpp"
#include "tensornorm/core/compiled.hpp"
#include "tensornorm/core/exceptions.hpp"
#include "tensornorm/core/ieee_math.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

TENSORNORM_BODY void fail_with(std::initializer_list<MessagePart> parts) {
  std::ostringstream message;
  message << "tensornorm: ";
  for (const MessagePart& part : parts) part.write_to(message);
  raise<std::invalid_argument>(message.str());
}

TENSORNORM_BODY void check_extents(const Shape& shape, std::size_t element_bytes) {
  Index elements = 1;
  bool fits = true;
  for (int d = 0; d < shape.rank; ++d) {
    const Index extent = shape.extent(d);
    fits = fits && extent >= 0 && !__builtin_mul_overflow(elements, (std::max)(extent, Index{1}), &elements);
  }
  const Index most = (std::numeric_limits<Index>::max)() / static_cast<Index>(element_bytes);
  check_that(fits && elements <= most, "a tensor of extents ", shape, ": they must be 0 or more and make at most ",
             most, " elements");
}

TENSORNORM_BODY void check_span(const Shape& shape, std::size_t element_bytes) {
  Index span = 1;
  bool fits = true;
  for (int d = 0; d < shape.rank && shape.count() > 0; ++d) {
    Index reach = 0;
    fits = fits && !__builtin_mul_overflow(shape.extent(d) - 1, shape.stride(d), &reach) &&
           !__builtin_add_overflow(span, reach, &span);
  }
  const Index most = (std::numeric_limits<Index>::max)() / static_cast<Index>(element_bytes);
  check_that(fits && span <= most, "a tensor of extents ", shape, " and strides ",
             MessagePart(shape.strides.data(), shape.rank), ": it may span at most ", most, " elements");
}

TENSORNORM_BODY void check_eps(double eps) {
  check_that(is_finite(eps) && eps >= 0, "eps is ", eps, " but must be finite and not negative");
}

TENSORNORM_BODY void check_made(Index extents) {
  check_that(extents > 0, "the layer was made without extents or channels and has ", extents,
             ": assign one that was made with them");
}

TENSORNORM_BODY void check_momentum(const std::optional<double>& momentum) {
  check_that(!momentum || (!is_nan(*momentum) && *momentum >= 0 && *momentum <= 1), "momentum is ",
             momentum.value_or(0), " but must lie between 0 and 1");
}

TENSORNORM_BODY void check_batch(const Shape& x, Index channels) {
  const Index n = x.count();
  check_that(n > channels, "batch statistics need more than 1 value per channel but x of extents ", x, " has ",
             n / channels, " for each of ", channels, " channels");
}

TENSORNORM_BODY void check_instances(const Shape& x, Index samples, Index channels) {
  const Index n = x.count();
  check_that(n > samples * channels, "statistics need more than 1 spatial element but x of extents ", x,
             " has 1 for each of ", samples, " samples and ", channels, " channels");
}

TENSORNORM_BODY Index channel_parameters(Index channels, bool affine, const std::optional<double>& momentum) {
  check_that(channels > 0, "a layer of ", channels, " channels: at least 1 is needed");
  check_momentum(momentum);
  return affine ? channels : 0;
}

TENSORNORM_BODY int channel_axis(const Shape& x, Index wanted, int first) {
  check_that(x.rank >= 2, "x has rank ", x.rank, " but needs 2 at least: batch and channels");
  const Index axis = wanted < 0 ? wanted + x.rank : wanted;
  check_that(axis >= first && axis < x.rank, "channel_axis is ", wanted, " but x of extents ", x,
             " has its channels between ", first, " and ", x.rank - 1);
  return static_cast<int>(axis);
}

TENSORNORM_BODY int channel_axis(const Shape& x, Index wanted, Index channels, int first) {
  const int c = channel_axis(x, wanted, first);
  check_that(
      x.extent(c) == channels, "x of extents ", x, " has ", x.extent(c), " channels along axis ", c,
      " but the layer has ", channels,
      x.rank == 2 && x.extent(1 - c) == channels ? ": give the transposes of x and y, or the other channel_axis" : "");
  return c;
}

TENSORNORM_BODY int batch_axis(const Shape& x, Index wanted, int channels) {
  const Index axis = wanted < 0 ? wanted + x.rank : wanted;
  check_that(axis >= 0 && axis < x.rank && axis != channels, "batch_axis is ", wanted, " but x of extents ", x,
             " has its channels along axis ", channels);
  return static_cast<int>(axis);
}

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
