// Residual: a sum that a pass makes block by block, before it reads the block as its x.
#pragma once

#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/plan/tile.hpp"
#include "tensornorm/core/target.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

// h = a + b, rounded once. All lie alike; h may be a or b. `add` is add_tile: a pass calls it by its address, so that a
// program without sums does not compile their kernel.
template <class Scalar>
struct Residual {
  const Scalar *a, *b;
  Scalar* h;
  void (*add)(const Residual& residual, const Tile& tile, Index ahead);
};

// Adds a tile; prefetches what lies so many elements ahead of a and b.
template <class Scalar>
void add_tile(const Residual<Scalar>& residual, const Tile& tile, Index ahead);

// The sum as a call has it: what it adds, in any layouts, and where it goes. y may be a or b; it shares no other memory
// with a, b or h.
// @pre the target took its shape
template <class Scalar>
struct ResidualArguments {
  const Scalar *a, *b;
  const Shape &a_shape, &b_shape;
  Target<Scalar>& h;
  void (*add)(const Residual<Scalar>& residual, const Tile& tile, Index ahead);

  // Whether a, b and h lie alike, and a pass can walk h and y side by side.
  __attribute__((cold)) bool lie_beside(const Shape& y) const;
  // @throws std::invalid_argument where y or h shares memory that it may not
  __attribute__((cold)) void check_overlap(const Target<Scalar>& y) const;
  // Gives h its memory. Throws std::bad_alloc with h as it was.
  Residual<Scalar> prepare() const { return {a, b, h.prepare(), add}; }
};

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END

#ifndef TENSORNORM_COMPILED
#include "tensornorm/core/pass/residual-inl.hpp"
#endif
