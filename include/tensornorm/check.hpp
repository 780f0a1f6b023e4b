// Errors. Every message holds the numbers that disagree.
#pragma once

#include <optional>
#include <sstream>
#include <stdexcept>

#include "tensornorm/core/exceptions.hpp"
#include "tensornorm/core/plan/axes.hpp"

namespace tensornorm {
namespace core {

// Raises std::invalid_argument with the parts written one after another, prefixed by the library's name.
template <class... Parts>
[[noreturn]] __attribute__((cold, noinline)) void fail(const Parts&... parts) {
  std::ostringstream message;
  message << "tensornorm: ";
  (message << ... << parts);
  raise<std::invalid_argument>(message.str());
}

template <class... Parts>
void check_that(bool condition, const Parts&... parts) {
  if (!condition) fail(parts...);
}

template <class Extents>
void write_extents(std::ostream& out, const Extents& extents, int count) {
  out << '(';
  for (int d = 0; d < count; ++d) out << (d == 0 ? "" : ", ") << extents[static_cast<std::size_t>(d)];
  out << ')';
}

inline std::ostream& operator<<(std::ostream& out, const Shape& shape) {
  write_extents(out, shape.extents, shape.rank);
  return out;
}

// @throws std::invalid_argument when a running statistic cannot move by it
inline void check_momentum(const std::optional<double>& momentum) {
  check_that(!momentum || (*momentum >= 0 && *momentum <= 1), "momentum is ", momentum.value_or(0),
             " but must lie between 0 and 1");
}

// @throws std::invalid_argument when a batch x has no variance to speak of
inline void check_batch(const Shape& x, Index channels) {
  check_that(x.count() > channels, "batch statistics need more than 1 value per channel but x of extents ", x, " has ",
             x.count() / channels, " for each of ", channels, " channels");
}

// The channel axis of x counted from 0. @throws std::invalid_argument when x has no such axis, at `first` or behind it,
// or another number of channels
inline int channel_axis(const Shape& x, Index wanted, Index channels, int first) {
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
