// for_each_block: the blocks of a pass, shared out among threads.
#pragma once

#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/kernel/map.hpp"
#include "tensornorm/core/plan/partition.hpp"
#include "tensornorm/core/thread/runner.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

// Calls work(b, unit, worker) for every block b of a pass over so many elements, neighbouring blocks by one of `units`
// units. What a unit wrote past the cache is visible when it ends. `is_last`: no round of this call follows.
template <class Work>
void for_each_block(const Runner& runner, const Partition& partition, Index units, Index elements, bool streams,
                    const Work& work, bool is_last = false) {
  const auto run = [&](Index unit, Index worker) {
    const Index end = part_begin(partition.blocks, unit + 1, units);
    for (Index b = part_begin(partition.blocks, unit, units); b < end; ++b) work(b, unit, worker);
    if (streams) finish_streaming();
  };
  is_last ? runner.last(units, elements, run) : runner(units, elements, run);
}

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
