// Tile: what a kernel is given.
#pragma once

#include "tensornorm/core/plan/axis.hpp"

namespace tensornorm {
namespace core {

// `rows` rows of `cols` neighbouring elements, rows `stride` apart, the first at `offset`. Along the line a bin is
// reduced along, the tile covers `count` positions from `position` on.
struct Tile {
  Index offset, rows, cols, stride;
  Index position, count;
  Index param;     // offset of its group among the parameters
  Index next;      // how far ahead a reduction of rows reads: to the next tile of the same bins; 0 is not at all
  Index span = 0;  // elements from the first row of these bins to the end of the last; the tile may have a few of them

  // Where the tile lies in the pass's other tensors (Axis::y, Axis::z).
  Index y_offset = 0, y_stride = 0, z_offset = 0, z_stride = 0;
};

}  // namespace core
}  // namespace tensornorm
