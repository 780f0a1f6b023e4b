// Where the rows that a map writes lie in cache lines, and the arrays that it reads beside them.
#pragma once

#include <cstdint>

#include "tensornorm/core/kernel/isa.hpp"
#include "tensornorm/core/memory.hpp"
#include "tensornorm/core/plan/walk.hpp"
#include "tensornorm/core/scalar.hpp"

namespace tensornorm {
namespace core {

// A row of more bytes is long, wherever it begins in a line.
constexpr Index kLongRun = 16 * kCacheLine;

// Rows end to end whose lines go past the cache are so long at least (measured: runs of 196 floats take 0.66 to 0.92 of
// the time so, runs of 64 floats 1.1 to 1.2).
constexpr Index kJoinedRun = 8 * kCacheLine;

// Elements of an output before its first whole line.
template <class Scalar>
TENSORNORM_INLINE Index head_of(const Scalar* output) {
  const auto address = reinterpret_cast<std::uintptr_t>(output);
  return static_cast<Index>(-address % kCacheLine / sizeof(Scalar));
}

// Whether a map writes a row of so many columns in whole lines, but for its ends, wherever it begins. (Measured on Zen
// 5: rows of 9 to 16 lines take 0.7 to 0.8 of the time so, but 1.2 where each begins elsewhere in a line.)
template <class Scalar>
constexpr bool is_long_row(Index cols) {
  const Index bytes = cols * static_cast<Index>(sizeof(Scalar));
  return bytes > kLongRun || (bytes > kLongRun / 2 && bytes % kCacheLine == 0);
}

// Bytes from the start of a line to where an array of parameters begins of which each vector lies in one line where
// that of `output` does.
template <class Scalar>
TENSORNORM_INLINE Index begin_beside(const Scalar* output) {
  const Index before = head_of(output) * static_cast<Index>(sizeof(ParamOf<Scalar>)) % kCacheLine;
  return (kCacheLine - before) % kCacheLine;
}

// The same of the arrays by column that a map reads beside `output`, where its rows are written in lines. (Measured on
// Zen 5 where y and dx go past the cache and begin 16 bytes behind a line, as malloc aligns them: BatchNorm channels
// last takes 0.56 to 0.86 of the time.) Else 0, and where arrays of double could not begin so.
template <class Scalar>
Index in_line_beside(const Scalar* output, const Walk& walk, bool past_cache, bool in_place) {
  constexpr Index size = sizeof(Scalar);
  const Index cols = walk.columns() ? walk.bins() : walk.run();
  const bool streams = past_cache && size > 2 && cols * size >= kJoinedRun;
  if (in_place || !(is_long_row<Scalar>(cols) || streams)) return 0;
  const Index begin = begin_beside(output);
  return begin % static_cast<Index>(sizeof(double)) == 0 ? begin : 0;
}

}  // namespace core
}  // namespace tensornorm
