#include "floor.hpp"

#include <unistd.h>

#include <algorithm>
#include <limits>

namespace bench {

namespace {

constexpr std::size_t kRun = 256;

/// Bytes that must stay in the cache so that x is read once.
std::size_t working_set(const Cell& cell) {
  struct Axis {
    Index extent, stride;
    bool reduced;
  };
  const Index per_stat = cell.stat_channels();
  Axis axes[] = {{cell.n, cell.n_stride(), cell.stat_spans_samples()},
                 {per_stat, cell.c_stride(), true},
                 {cell.c / per_stat, cell.c_stride() * per_stat, false},
                 {cell.space(), cell.s_stride(), cell.stat_spans_space()}};
  std::sort(std::begin(axes), std::end(axes), [](const Axis& a, const Axis& b) { return a.stride < b.stride; });
  const std::size_t element = cell.scalar_bytes();
  std::size_t run = element, neighbours = 1, of_one = element;
  bool in_run = true;
  for (const Axis& axis : axes) {
    const auto extent = static_cast<std::size_t>(axis.extent);
    if (axis.reduced) of_one *= extent;
    if (extent == 1) continue;
    if (axis.reduced && in_run) run *= extent;
    if (!axis.reduced && run * neighbours < kRun) {
      neighbours *= std::min(extent, (kRun + run * neighbours - 1) / (run * neighbours));
    }
    in_run = in_run && axis.reduced;
  }
  return of_one * neighbours * (cell.pass == Pass::kBackward ? 2 : 1);
}

}  // namespace

Traffic traffic_of(const Cell& cell, std::size_t second_level_cache) {
  if (cell.pass == Pass::kInfer && cell.layer == Layer::kBatch) return {1, 0};
  const bool fits = working_set(cell) <= second_level_cache;
  if (cell.pass == Pass::kBackward) return {1, fits ? 1 : 3};
  return {1, fits ? 0 : 1};
}

std::size_t second_level_cache() {
  const long bytes = sysconf(_SC_LEVEL2_CACHE_SIZE);
  return bytes > 0 ? static_cast<std::size_t>(bytes) : std::size_t{512} << 10;
}

double floor_of(const Cell& cell, double copy_seconds, double read_seconds) {
  if (2 * cell.bytes() < kLastLevelCache) return std::numeric_limits<double>::quiet_NaN();
  const Traffic traffic = traffic_of(cell, second_level_cache());
  return traffic.copies * copy_seconds + traffic.reads * read_seconds;
}

}  // namespace bench
