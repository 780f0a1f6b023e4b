// Partition: how the bins of a walk are shared out. Shape alone decides in what order numbers are added, so every
// number of threads computes the same bits; the threads decide on the rest.
#pragma once

#include "tensornorm/core/plan/walk.hpp"

namespace tensornorm {
namespace core {

// Blocks of neighbouring bins, small enough for the cache between the reduction and the map where they can be; and the
// lines of large blocks in parts, which threads share where there are too few blocks for them.
struct Partition {
  static constexpr Index kBlockBins = 1024;
  static constexpr Index kFloatAdds = 16;      // rows that a float sum takes; see kernel/sums.hpp
  static constexpr Index kStatsTogether = 64;  // statistics that bins which stay together make, at most, for the stack
  // A block of dense rows takes a part of the second-level cache, a larger one where it is to have many. (Measured on
  // Zen 5. A third as much takes LayerNorm and RMSNorm 1.05 to 1.14 times as long in a cache, and 0.98 to 1.09 past it.
  // It takes InstanceNorm and GroupNorm 0.95 to 1.11 times as long.) Backward takes the least: there the size decides
  // the order of the parameters' sums too. Rows that lie in pieces have so many
  // bytes (measured on Zen 5, which has 1 MiB of second-level cache: four times as many take 1.3 times as long, a
  // quarter as many 1.1 times; in backward, twice as many up to 1.14 times, half as many up to 1.07).
  static constexpr Index kDenseBytes = 96 << 10;
  static constexpr Index kBackwardDenseBytes = 32 << 10;
  static constexpr Index kManyRowsBytes = 256 << 10;
  static constexpr Index kManyRows = 16;  // pay for copies of what they all read several times over
  static constexpr Index kGappedBytes = 512 << 10;
  static constexpr Index kCacheLineBins = 16;
  static constexpr Index kFewBlocks = 16;       // where there are fewer, threads share their parts
  static constexpr Index kPartSize = 64 << 10;  // elements a part has, at least
  static constexpr Index kPartBins = 4 << 10;   // bins that all parts of a block have together
  static constexpr Index kUnits = 64;
  static constexpr Index kSharedSize = 16 << 10;  // elements of a piece that many threads are given, at least
  static constexpr Index kPieceBins = 64;         // its columns, at least, of a whole block: some lines of memory

  // The map of what outgrew a cache begins with the end, which the reduction left there; in stretches that the
  // processor's prefetcher can follow (measured on Zen 5: stretches of a quarter take 1.05 times as long).
  static constexpr Index kStretchBytes = 1 << 20;
  static constexpr Index kMostAhead = kDenseBytes;  // more would push a block itself out of the second-level cache
  static constexpr Index kLittleAhead = 4 << 10;

  bool reads_once;
  Index element_bytes, group_bins, block_bins, blocks_per_group, blocks;
  Index parts, map_parts;                         // of a block's lines, for the reduction and for the map
  Index pieces = 1, piece_bins = kCacheLineBins;  // of a block's columns, and what they are multiples of, but the last

  // `multiple` neighbouring bins stay together; `bytes` an element has in all the tensors that are read, once or again
  // for the map. A block of dense rows has `rows` at least, where the second-level cache has room. Up to twice as
  // many rows in all are one block, however long.
  __attribute__((cold))
  Partition(const Walk& walk, Index multiple, Index bytes, bool once, Index dense_bytes = kDenseBytes, Index rows = 1)
      : reads_once(once), element_bytes(bytes), group_bins(walk.bins()) {
    const Index line = (std::max)(walk.line(), Index{1}), line_bytes = line * bytes;
    const Index dense = (std::max)(dense_bytes / line_bytes, (std::min)(rows, kManyRowsBytes / line_bytes));
    // Columns are taken as wide as they come, not in strips that stay in a cache. (Measured on Zen 5 with a sketch,
    // LayerNorm of 16384 columns of 768: strips of 256 columns, copied to a buffer that fits the second-level cache
    // with prefetches eight rows ahead, take 1.5 times as long, strips of 64 columns 2.5 times; in backward 1.2
    // and 1.8.)
    Index bins = walk.columns() ? kBlockBins : walk.is_dense() ? dense : kGappedBytes / line_bytes;
    // No cache matters. But bins in one run of memory are not cut across: two threads that write pieces of each would
    // ask for each other's cache lines ahead of themselves (measured on two cores: 512 rows of 256 take twice as long).
    if (reads_once) bins = walk.is_dense() ? kPartSize / line : kBlockBins;
    // The parameters' sums of a few long rows go to double once (measured on Zen 5, LayerNorm backward of 16x65536:
    // blocks of two rows take 1.24 times as long).
    const bool has_few_rows = walk.is_dense() && rows > 1 && walk.groups() * group_bins <= 2 * rows;
    if (has_few_rows) bins = 2 * rows;
    bins = (std::min)({(std::max)(bins, Index{1}), kBlockBins, group_bins});
    // Sixteen floats make a cache line: blocks that are multiples of it begin and end with one, however long a bin is.
    // What fits one block is not cut.
    const Index together = bins < kCacheLineBins * multiple ? multiple : kCacheLineBins * multiple;
    block_bins = bins == group_bins ? bins : (std::max)(bins / together, Index{1}) * together;
    blocks_per_group = (group_bins + block_bins - 1) / block_bins;
    blocks = walk.groups() * blocks_per_group;
    // A row is divided by its own length, so that its sums are the same whatever rows are beside it.
    const Index elements = walk.columns() || reads_once ? block_bins * walk.line() : walk.line();
    // Columns may be cut anywhere; a row that is cut has shorter runs of memory, so only few runs are.
    const Index runs = walk.line() / walk.run(), cuts = walk.columns() || runs < kFewBlocks ? walk.line() : runs;
    const Index most = (std::min)({kUnits, elements / kPartSize, cuts}), of_sums = kPartBins / block_bins;
    parts = (std::max<Index>)((std::min)(most, of_sums), 1);
    map_parts = parts > 1 && walk.columns() ? most : parts;
    if (has_few_rows) map_parts = (std::max)(parts, (std::min)({kUnits, block_bins * walk.line() / kPartSize, cuts}));
  }

  // Whether threads share the parts of a block; else each takes the parts of its blocks in order.
  bool shares_parts() const { return map_parts > 1 && blocks < kFewBlocks; }

  // Cuts blocks, so that many threads have some each: those of rows in blocks of fewer, those of columns in pieces. A
  // piece is as wide as a vector wherever its block is.
  void share_among(const Walk& walk, Index multiple, Index threads) {
    if (threads < 2 || reads_once || block_bins > kBlockBins) return;
    if (!walk.columns()) return share_rows(walk, multiple, threads);
    const Index wanted = 2 * threads, most = block_bins * walk.line() / kSharedSize;  // two for each: none waits long
    piece_bins = shares_parts() ? kCacheLineBins : kCacheLineBins * multiple;
    const Index widest = (std::max)(piece_bins, kPieceBins);
    const Index whole = walk.groups() * blocks_per_group,
                sharing = shares_parts() ? parts : (std::max)(whole, Index{1});
    pieces = (std::min)((wanted + sharing - 1) / sharing, shares_parts() ? most / parts : most);
    pieces = (std::max)((std::min)(pieces, block_bins / widest), Index{1});
    if (!shares_parts()) {
      blocks = whole * pieces;
    } else {
      map_parts = (std::max)(map_parts, (std::min)({wanted, most, kUnits, walk.line()}));
    }
  }

  // Piece i of a block's columns. The last one also has the columns that are no whole `piece_bins`. In a block of few
  // columns some pieces are empty.
  BinRange piece(const BinRange& block, Index i) const {
    const Index units = block.size() / piece_bins;
    const auto begin = [&](Index n) {
      const Index unit = part_begin(units, n, pieces);
      return n == 0 ? block.k0 : unit == units ? block.k1 : block.k0 + unit * piece_bins;
    };
    return {block.group, begin(i), begin(i + 1)};
  }

  // Where threads do not share parts, the pieces of blocks are blocks too.
  BinRange block(Index b) const {
    if (b == 0 && pieces == 1) return {0, 0, (std::min)(block_bins, group_bins)};
    const Index of_block = shares_parts() ? 1 : pieces, whole = b / of_block;
    const Index k0 = whole % blocks_per_group * block_bins;
    const BinRange range{whole / blocks_per_group, k0, (std::min)(k0 + block_bins, group_bins)};
    return of_block == 1 ? range : piece(range, b % of_block);
  }

  // Portion i of n of a block: whole multiples, none narrower than a vector unless the block is.
  static BinRange portion(const BinRange& block, Index multiple, Index i, Index n) {
    const Index step = portion_step(multiple), steps = block.size() / step;
    const auto at = [&](Index k) { return k == n ? block.k1 : block.k0 + part_begin(steps, k, n) * step; };
    return {block.group, at(i), at(i + 1)};
  }
  // How many portions make none larger than `most` bins.
  // @pre most is at least least_portion(multiple)
  static Index portions(Index bins, Index multiple, Index most) {
    if (bins <= most) return 1;
    const Index step = portion_step(multiple), steps = (most - (step - multiple)) / step;
    return (bins / step + steps - 1) / steps;
  }
  static Index least_portion(Index multiple) { return 2 * portion_step(multiple) - multiple; }

  Index stretches(Index elements) const {
    return reads_once ? 1 : (std::max)(elements * element_bytes / kStretchBytes, Index{1});
  }

  // How many elements a map reads ahead of itself: from a block of dense rows to the next one, as the forward reduction
  // does; what is read once, and columns, a little, in whole rows. 0 where there is nothing to gain.
  __attribute__((noinline)) Index ahead(const Walk& walk, Index b) const {
    const Index little = kLittleAhead / element_bytes;
    if (walk.columns()) {
      const Index row = (std::max)(walk.run_stride(), Index{1});  // 0 where each element is a bin
      return (little + row - 1) / row * row;
    }
    if (reads_once) return little;
    const Index distance = walk.is_dense() ? to_next(walk, b) : 0;
    return distance * element_bytes <= kMostAhead ? distance : 0;
  }

  // How many elements from a block to the next one, for blocks that `ahead` does not ask for: long rows, and rows and
  // columns of which the next block lies behind each piece. Of columns, small blocks alone. 0 where there is nothing to
  // gain.
  Index ahead_to_next_block(const Walk& walk, Index b) const {
    if (reads_once) return 0;
    if (walk.columns() ? block_bins * walk.line() * element_bytes > kSmallBlockBytes : ahead(walk, b) != 0) return 0;
    return to_next(walk, b);
  }

 private:
  static constexpr Index kSmallBlockBytes = 256 << 10;

  // Two blocks for each thread at least, if they are not too small. (Measured on two cores, LayerNorm of 160 to 512
  // rows: eight blocks for each take 1.06 to 1.19 times as long.)
  void share_rows(const Walk& walk, Index multiple, Index threads) {
    if (shares_parts() || blocks >= 2 * threads) return;
    const Index least = (std::max)(kSharedSize / walk.line(), Index{1}),
                wanted = walk.groups() * group_bins / (2 * threads);
    const Index bins = (std::max)(least, wanted) / multiple * multiple;
    if (bins == 0 || bins >= block_bins) return;
    block_bins = bins;
    blocks_per_group = (group_bins + block_bins - 1) / block_bins;
    blocks = walk.groups() * blocks_per_group;
  }

  // Elements from a block to the next one; 0 from the last, and where the next one does not lie behind each piece.
  Index to_next(const Walk& walk, Index b) const {
    if (b + 1 == blocks) return 0;
    const BinRange here = block(b), next = block(b + 1);
    if (!walk.is_dense() && next.group != here.group) return 0;
    return walk.bin_offset(next.group, next.k0) - walk.bin_offset(here.group, here.k0);
  }
  static Index portion_step(Index multiple) { return (kCacheLineBins + multiple - 1) / multiple * multiple; }
};

}  // namespace core
}  // namespace tensornorm
