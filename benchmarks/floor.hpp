// Floor: the least time a cell can take on this machine, from the bytes it must move and what moving them costs.
#pragma once

#include "cell.hpp"

namespace bench {

/// Larger tensors come from memory: x and y together outgrow what the last-level cache keeps for one program. A virtual
/// machine's own word on that cache is not to be trusted (it may name the whole host's).
constexpr std::size_t kLastLevelCache = std::size_t{16} << 20;

/// What a pass over a tensor in memory must move, in tensors of x's size.
struct Traffic {
  int copies;  // read and written past the cache
  int reads;   // read only
};

/// Statistics whose data fits the second-level cache need x once; so do blocks of neighbouring statistics of at least
/// kRun contiguous bytes. Others read it twice, and backward x and dy.
Traffic traffic_of(const Cell& cell, std::size_t second_level_cache);

/// Bytes of the second-level cache of one core.
std::size_t second_level_cache();

/// In seconds, from what a streaming copy of x and reading x take; not a number for tensors that the caches hold.
double floor_of(const Cell& cell, double copy_seconds, double read_seconds);

}  // namespace bench
