// Axes that a caller names by their numbers, negative ones from the end.
#pragma once

#include <limits>
#include <ostream>
#include <vector>

#include "tensornorm/core/check.hpp"

namespace tensornorm {
namespace core {

// An axis of x counted from 0. @throws std::invalid_argument when x has no such axis
inline int axis_of(const Shape& x, int a) {
  const int d = a < 0 ? a + x.rank : a;
  check_that(d >= 0 && d < x.rank, "axis ", a, " is none of x of extents ", x);
  return d;
}

// @throws std::invalid_argument when x has no such axis, or one is named twice
inline AxisSet axis_set(const Shape& x, const std::vector<int>& list) {
  AxisSet set = 0;
  for (const int a : list) {
    const int d = axis_of(x, a);
    check_that(!contains(set, d), "axis ", a, " of x of extents ", x, " is named twice");
    set |= axis(d);
  }
  return set;
}

// The product of the extents of the axes in `list`; 0 without extents.
// @throws std::invalid_argument when there are extents, but not one for each axis, one below 1, or too
// large a product
inline Index count_of_extents(const std::vector<int>& list, const std::vector<Index>& extents) {
  if (extents.empty()) return 0;
  check_that(extents.size() == list.size(), extents.size(), " extents for parameters along ", list.size(), " axes");
  Index count = 1;
  for (const Index extent : extents) {
    check_that(extent > 0, "parameters along an extent of ", extent, ": at least 1 is needed");
    check_that(extent <= (std::numeric_limits<Index>::max)() / count, "parameters of extents ",
               MessagePart(extents.data(), static_cast<int>(extents.size())), ": too many");
    count *= extent;
  }
  return count;
}

// @throws std::invalid_argument when x has other extents along the axes in `list`
inline void check_along(const Shape& x, const std::vector<int>& list, const std::vector<Index>& extents) {
  for (std::size_t i = 0; i < extents.size(); ++i) {
    const Index extent = x.extent(axis_of(x, list[i]));
    check_that(extent == extents[i], "x of extents ", x, " has ", extent, " values along axis ", list[i],
               " but the layer has parameters for ", extents[i]);
  }
}

// As Python prints a tuple.
template <class Number>
struct PrintedTuple {
  const std::vector<Number>& numbers;

  friend std::ostream& operator<<(std::ostream& out, const PrintedTuple& tuple) {
    const char* before = "(";
    for (const Number number : tuple.numbers) {
      out << before << number;
      before = ", ";
    }
    return out << (tuple.numbers.size() == 1 ? ",)" : tuple.numbers.empty() ? "()" : ")");
  }
};
template <class Number>
PrintedTuple<Number> as_tuple(const std::vector<Number>& numbers) {
  return {numbers};
}

}  // namespace core
}  // namespace tensornorm
