// ForwardMemory: how much of a block a worker of a forward pass takes at a time, and the memory for it.
#pragma once

#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/pass/part_sums.hpp"
#include "tensornorm/core/pass/statistics_block.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

template <class T>
class ForwardMemory {
 public:
  // What a worker takes at a time: of a block, of map bins and of parameters that must be copied.
  struct Extents : BlockExtents {
    Index map_bins, params;
  };

  // Of the larger frame. The least portion of some plans is more than `LocalMemory` holds: of columns whose number is
  // no multiple of sixteen, 31; of bins that stay together, up to 64 statistics.
  static constexpr Index kMostLocalDoubles = Arena::doubles(std::is_same<T, double>::value ? 6528 : 4608);

  // The plan outlives this. Arrays begin `in_line` bytes behind the start of a line, as in_line_beside says.
  explicit ForwardMemory(const Plan& plan, Index in_line = 0) : plan_(plan), in_line_(in_line) {}

  // Completes a new Plan.
  static void complete(Plan& plan) {
    if (plan.partition.reads_once) return;
    const ForwardMemory memory(plan);
    const Index size = memory.bytes(memory.whole());
    plan.shared_worker_size = Arena::doubles(size);
    plan.worker_size = size > kLocalBytes ? plan.shared_worker_size : 0;
    plan.copies_size = plan.is_small ? 0 : memory.copies_size();
  }

  // Doubles with which so many threads take blocks whole. One thread can do with fewer, or with none and the stack.
  static Index workspace_size(const Plan& plan, Index threads) {
    const bool shares_parts = threads > 1 && plan.partition.shares_parts();
    const Index sums = shares_parts ? PartSums::doubles(plan.partition.parts, plan.partition.block_bins) : 0;
    return sums + threads * (shares_parts ? plan.shared_worker_size : plan.worker_size) + plan.copies_size;
  }

  // Takes the memory of a call. Returns false where the stack needs a larger frame: then call take_large_frame.
  // @pre it has `workspace_size`, or there is one thread
  bool take(const Workspace& workspace, Index threads) {
    const bool shares_parts = threads > 1 && plan_.partition.shares_parts();
    if (workspace.doubles >= workspace_size(plan_, threads)) {
      extents_ = whole();
      worker_size_ = shares_parts ? plan_.shared_worker_size : plan_.worker_size;
      if (shares_parts) sums_ = workspace.memory;
      workers_ =
          workspace.memory + (shares_parts ? PartSums::doubles(plan_.partition.parts, plan_.partition.block_bins) : 0);
      if (plan_.copies_size > 0) copies_ = workers_ + threads * worker_size_;
    } else if (workspace.memory == nullptr) {
      extents_ = plan_.worker_size == 0 ? whole() : fitting(kLocalBytes);
      return bytes(extents_) <= kLocalBytes;
    } else {
      extents_ = fitting(Arena::held_bytes(workspace.doubles));
      workers_ = workspace.memory;
      worker_size_ = workspace.doubles;
    }
    return true;
  }
  void take_large_frame(double* memory) {
    extents_ = fitting(Arena::held_bytes(kMostLocalDoubles));
    workers_ = memory;
    worker_size_ = kMostLocalDoubles;
  }

  const Extents& extents() const { return extents_; }
  double* part_sums() const { return sums_; }             // null where threads share no parts
  bool has_copies() const { return copies_ != nullptr; }  // of parameters

  // @pre workers have more than a frame
  Arena of(Index worker) const { return Arena(workers_ + worker * worker_size_, in_line_); }
  // @pre has_copies()
  Arena of_copies() const { return Arena(copies_, in_line_); }

  // Calls use(memory) with a worker's memory, or with that of a frame which is there for it alone.
  template <class Use>
  void with(Index worker, const Use& use) const {
    worker_size_ == 0 ? with_frame(use) : use(of(worker));
  }
  template <class Use>
  __attribute__((noinline)) static void with_frame(const Use& use) {
    LocalMemory local;
    use(Arena(local.bytes));
  }

 private:
  using Block = StatisticsBlock<T>;

  Extents extents(Index bins, Index chunk, Index map_bins, Index params) const {
    const Index stats =
        plan_.multiple == 1 ? bins : (bins + plan_.multiple - 1) / plan_.multiple * plan_.multiple_stats;
    return {{bins, stats, chunk}, map_bins, params};
  }
  Extents whole() const {
    const Index bins = plan_.partition.block_bins;
    return extents(bins, bins, (std::min)(bins * plan_.map_bins_per_bin, Partition::kBlockBins),
                   (std::min)(plan_.walk.line(), Partition::kBlockBins));
  }
  // Less of everything, so that it fits so many bytes: a portion of a block, and of that a chunk.
  __attribute__((noinline)) Extents fitting(Index most_bytes) const {
    constexpr Index kLeast = 32, kStep = Partition::kCacheLineBins;  // what Chunks can divide
    constexpr Index kLeastPerBin = 48;                               // bytes of the arrays by bin, or less
    const Index most = most_bytes / kLeastPerBin / kStep * kStep;
    for (Index chunk = most;; chunk -= kStep) {
      const Index bins =
          (std::min)(plan_.partition.block_bins, (std::max)(chunk, Partition::least_portion(plan_.multiple)));
      // Where every bin is a statistic, the sums of a portion are taken together.
      const Extents e = extents(bins, plan_.multiple == 1 ? bins : (std::min)(bins, chunk), chunk, chunk);
      if (chunk == kLeast || bytes(e) <= most_bytes) return e;
    }
  }

  __attribute__((cold, noinline)) Index bytes(const Extents& e) const {
    Index sums = Block::sum_bytes(e, plan_.multiple), coefficients = 0;
    if (plan_.partition.parts > 1) sums += 2 * Arena::bytes<double>(e.chunk);
    if (!plan_.params_apart) coefficients += 3 * Arena::bytes<T>(e.map_bins);
    if (plan_.params_apart && plan_.multiple > 1) coefficients += 3 * Arena::bytes<T>(e.chunk);
    if (plan_.params_apart && LineParams::contiguous_run(plan_.line_params) == 0)
      coefficients += 2 * Arena::bytes<T>(e.params);
    return Block::lasting_bytes(e.stats) + (std::max)(sums, coefficients);
  }

  // Many rows that read the same parameters read copies of them. A copy begins in a line where y does: a vector that
  // lies in two lines is two reads (measured with AVX-512, of 512 rows: 64 to 512 floats take 1.04 to 1.14 times as
  // long). Rows of more parameters are few in a cache (64 rows of 2048 and 4096 take 1.05 to 1.1 times as long by
  // copies).
  Index copies_size() const {
    const bool pays = plan_.params_apart && !plan_.walk.columns() && plan_.params <= Partition::kBlockBins &&
                      plan_.elements >= Partition::kManyRows * plan_.params;
    return pays ? Arena::doubles(2 * Arena::bytes<T>(plan_.params)) : 0;
  }

  const Plan& plan_;
  Index in_line_;
  Extents extents_{};
  Index worker_size_ = 0;  // doubles
  double *workers_ = nullptr, *sums_ = nullptr, *copies_ = nullptr;
};

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
