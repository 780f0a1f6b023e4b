// Every element is visited once, in the tile of its own bin, however the walk is cut.
#include "tensornorm/core/plan/walk.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

#include "tensornorm/core/kernel/run_values.hpp"
#include "tensornorm/core/plan/plan.hpp"

namespace {

using namespace tensornorm;
using namespace tensornorm::core;

// Axes of a dense tensor, outer to inner, each kept or reduced, affine or not.
Axes random_axes(std::mt19937& random) {
  std::uniform_int_distribution<int> rank(0, 5), extent(1, 10), coin(0, 1);
  Axes axes;
  Index x = 1, stat = 1, param = 1;
  for (int i = rank(random); i > 0; --i) {
    const Index n = extent(random);
    const bool kept = coin(random) != 0, affine = coin(random) != 0;
    axes.push_back({n, x, kept ? stat : 0, affine ? param : 0});
    x *= n;
    stat *= kept ? n : 1;
    param *= affine ? n : 1;
  }
  std::reverse(axes.begin(), axes.end());
  return axes;
}

// Without params.
Axes number_bins(const Axes& axes, AxisSet bins) {
  Axes result = numbered(axes, bins);
  drop_param(result);
  return result;
}

// The bin of every element, from the plan's own numbering.
std::vector<Index> bin_of(const Axes& axes, AxisSet bins) {
  const Axes numbered = number_bins(axes, bins);
  std::vector<Index> result(static_cast<std::size_t>(axes.count()));
  Odometer at(numbered);
  for (Index i = 0; i < axes.count(); ++i, at.next()) result[static_cast<std::size_t>(at.x())] = at.stat();
  return result;
}

TEST(Odometer, StartsAnywhere) {
  std::mt19937 random(1);
  for (int trial = 0; trial < 200; ++trial) {
    const Axes axes = random_axes(random);
    Odometer steps(axes);
    for (Index i = 0; i < axes.count(); ++i, steps.next()) {
      const Odometer jump(axes, i);
      ASSERT_EQ(jump.x(), steps.x());
      ASSERT_EQ(jump.stat(), steps.stat());
      ASSERT_EQ(jump.param(), steps.param());
    }
  }
}

TEST(Walk, VisitsEveryElementOnceInItsOwnBin) {
  std::mt19937 random(2);
  for (int trial = 0; trial < 500; ++trial) {
    const Axes axes = coalesce(random_axes(random));
    const AxisSet bins = select(axes, is_kept);
    const Walk walk(coalesce(number_bins(axes, bins)));
    const std::vector<Index> bin = bin_of(axes, bins);
    std::vector<int> visits(bin.size(), 0);
    ASSERT_EQ(walk.groups() * walk.bins() * walk.line(), axes.count());
    ASSERT_EQ(bins_of_group(axes, bins, false), walk.bins());
    for (Index group = 0; group < walk.groups(); ++group) {
      for (Index k = 0; k < walk.bins(); k += 2) {
        for (Index part = 0; part < 3; ++part) {
          const Index k1 = std::min(k + 2, walk.bins()), line = walk.line();
          walk.visit(group, k, k1, part_begin(line, part, 3), part_begin(line, part + 1, 3), [&](const Tile& tile) {
            ASSERT_EQ(walk.columns() ? tile.cols : tile.rows, k1 - k);
            ASSERT_EQ(walk.columns() ? tile.rows : tile.cols, tile.count);
            for (Index r = 0; r < tile.rows; ++r) {
              for (Index c = 0; c < tile.cols; ++c) {
                const auto at = static_cast<std::size_t>(tile.offset + r * tile.stride + c);
                ++visits[at];
                ASSERT_EQ(bin[at], group * walk.bins() + k + (walk.columns() ? c : r));
              }
            }
          });
        }
      }
    }
    for (const int n : visits) ASSERT_EQ(n, 1);
  }
}

TEST(Walk, KnowsWhetherACellIsOneRun) {
  std::mt19937 random(5);
  for (int trial = 0; trial < 200; ++trial) {
    const Axes axes = coalesce(random_axes(random));
    const Walk walk(coalesce(number_bins(axes, select(axes, is_kept))));
    int tiles = 0;
    walk.visit(0, 0, 1, 0, walk.line(), [&](const Tile&) { ++tiles; });
    EXPECT_EQ(walk.is_dense(), !walk.columns() && tiles == 1);
  }
}

TEST(Walk, KnowsWhereAPositionOfACellLies) {
  std::mt19937 random(3);
  for (int trial = 0; trial < 200; ++trial) {
    const Axes axes = coalesce(random_axes(random));
    const Walk walk(coalesce(number_bins(axes, select(axes, is_kept))));
    for (Index group = 0; group < walk.groups(); ++group) {
      for (Index k = 0; k < walk.bins(); ++k) {
        for (Index p = 0; p < walk.line(); ++p) {
          walk.visit(group, k, k + 1, p, p + 1, [&](const Tile& tile) {
            ASSERT_EQ(walk.bin_offset(group, k) + walk.line_offset(p), tile.offset);
          });
        }
      }
    }
  }
}

TEST(Plan, FineCellsKnowTheStatisticAndParameterOfTheirElements) {
  std::mt19937 random(3);
  int params_apart = 0, fine = 0;
  for (int trial = 0; trial < 1000; ++trial) {
    const Axes axes = random_axes(random);
    const Uses uses{sizeof(float), true, false};
    const Binning p(axes, uses);
    const Plan t(p, uses);
    const BackwardPlan g(p, t, uses);
    ++(t.params_apart ? params_apart : fine);
    std::vector<Index> stat(static_cast<std::size_t>(axes.count())), param(stat.size()), visits(stat.size(), 0);
    Odometer at(axes);
    for (Index i = 0; i < axes.count(); ++i, at.next()) {
      stat[static_cast<std::size_t>(at.x())] = at.stat();
      param[static_cast<std::size_t>(at.x())] = at.param();
    }
    const std::vector<Index> owner = bin_of(p.axes, p.bins);
    for (Index group = 0; group < t.map_walk.groups(); ++group) {
      for (Index c = 0; c < t.map_walk.bins(); ++c) {
        const Odometer bin(g.map_bins, t.map_bin_number(group, c));
        t.map_walk.visit(group, c, c + 1, 0, t.map_walk.line(), [&](const Tile& tile) {
          for (Index r = 0; r < tile.rows; ++r) {
            for (Index col = 0; col < tile.cols; ++col) {
              const auto x = static_cast<std::size_t>(tile.offset + r * tile.stride + col);
              ASSERT_EQ(stat[x], bin.stat());
              ASSERT_EQ(param[x], bin.param());
              if (!t.params_apart) {
                ASSERT_EQ(owner[x], t.bin_number(group, c / t.map_bins_per_bin));
              }
              ++visits[x];
            }
          }
        });
      }
    }
    for (const Index n : visits) ASSERT_EQ(n, 1);
  }
  EXPECT_GT(params_apart, 50);
  EXPECT_GT(fine, 50);
}

// The points where a mean is estimated lie on the first bin's line, in order, and reach into its second half.
TEST(Plan, SamplePointsAreSpreadOverALine) {
  std::mt19937 random(4);
  for (int trial = 0; trial < 500; ++trial) {
    const Uses uses{sizeof(float), true, false};
    const Plan t(Binning(random_axes(random), uses), uses);
    const Index line = t.walk.line();
    std::vector<Index> offsets;
    for (Index p = 0; p < line; ++p) offsets.push_back(t.walk.line_offset(p));
    Index last = -1;
    ASSERT_GE(t.samples.count, 1);
    for (int i = 0; i < t.samples.count; ++i) {
      const auto at = std::find(offsets.begin(), offsets.end(), t.samples.offsets[i]);
      ASSERT_NE(at, offsets.end()) << "point " << i << " of a line of " << line;
      ASSERT_GE(at - offsets.begin(), last);
      last = at - offsets.begin();
    }
    if (t.walk.columns() && t.samples.count > 1) {
      ASSERT_GE(2 * (last + 1), line);
    }
  }
}

// Rows of channels, `multiple` of them to a statistic: what many threads share are pieces of the same blocks and parts,
// each as wide as a vector wherever its block is.
TEST(Partition, ManyThreadsSharePiecesOfColumns) {
  for (const Index rows : {1, 100, 7000}) {
    for (const Index channels : {1, 15, 17, 64, 320, 1028, 1156, 4100, 20000}) {
      for (const Index multiple : {1, 10}) {
        if (channels % multiple != 0) continue;
        Axes axes;
        axes.push_back({rows, channels, 0, 0});
        axes.push_back({channels, 1, 1, 0});
        const Walk walk(axes);
        const Partition alone(walk, multiple, 4, false);
        for (const Index threads : {1, 2, 3, 16, 64}) {
          Partition partition = alone;
          partition.share_among(walk, multiple, threads);
          ASSERT_EQ(partition.parts, alone.parts);
          ASSERT_EQ(partition.block_bins, alone.block_bins);
          Index next = 0;
          for (Index b = 0; b < partition.blocks; ++b) {
            const BinRange block = partition.block(b);
            for (Index i = 0, n = partition.shares_parts() ? partition.pieces : 1; i < n; ++i) {
              const BinRange piece = n == 1 ? block : partition.piece(block, i);
              if (piece.size() == 0) continue;
              ASSERT_EQ(piece.k0, next);
              next = piece.k1;
              const Index from = piece.k0 / alone.block_bins * alone.block_bins;
              const Index to = (std::min)(from + alone.block_bins, channels);
              ASSERT_LE(piece.k1, to);
              ASSERT_GE(piece.size(), (std::min)(to - from, Partition::kCacheLineBins))
                  << rows << " rows of " << channels << ", multiple " << multiple << ", threads " << threads
                  << ", from " << piece.k0;
              ASSERT_TRUE(partition.shares_parts() || piece.k0 % multiple == 0);
            }
          }
          ASSERT_EQ(next, channels);
          const bool is_large = rows == 7000 && channels >= 1028;
          if (is_large && threads <= 16) {
            ASSERT_GE(partition.shares_parts() ? partition.parts * partition.pieces : partition.blocks, threads);
            ASSERT_GE(partition.map_parts > 1 ? partition.map_parts : partition.blocks, threads);
          }
        }
      }
    }
  }
}

// Whole multiples, at most as many bins as wanted, and none narrower than a vector unless the block is.
TEST(Partition, PortionsOfABlock) {
  for (const Index multiple : {1, 3, 10, 16, 49, 165}) {
    for (Index multiples = 1; multiples * multiple < 1100; multiples += 1 + multiples / 7) {
      const BinRange block{2, 7 * multiple, (7 + multiples) * multiple};
      for (const Index most : {32, 48, 128, 2000}) {
        const Index at_most = (std::max)(most, Partition::least_portion(multiple));
        const Index n = Partition::portions(block.size(), multiple, at_most);
        Index k = block.k0;
        for (Index i = 0; i < n; ++i) {
          const BinRange portion = Partition::portion(block, multiple, i, n);
          ASSERT_EQ(portion.k0, k);
          ASSERT_EQ(portion.size() % multiple, 0);
          ASSERT_GE(portion.size(), (std::min)(block.size(), Index{16}));
          ASSERT_LE(portion.size(), at_most) << multiple << " x " << multiples << ", " << most;
          k = portion.k1;
        }
        ASSERT_EQ(k, block.k1);
      }
    }
  }
}

TEST(Chunks, CoverARangeAndAreNotNarrow) {
  for (Index n = 0; n < 400; ++n) {
    for (const Index most : {32, 48, 128}) {
      Index at = 5;
      for_each_chunk(5, 5 + n, most, [&](Index begin, Index end) {
        ASSERT_EQ(begin, at);
        ASSERT_LE(end - begin, most);
        ASSERT_GE(end - begin, (std::min)(n, Index{16}));
        at = end;
      });
      ASSERT_EQ(at, 5 + n);
    }
  }
}

// Sums by statistic have the same bits, whatever pieces the bins come in.
TEST(Fold, AnyPieces) {
  std::mt19937 random(5);
  std::normal_distribution<double> normal;
  const Axes by_run{[] {
    Axes a;
    a.push_back({5, 21, 1, 0});
    a.push_back({21, 1, 0, 0});
    return a;
  }()};
  const Axes by_bin{[] {
    Axes a;
    a.push_back({7, 15, 0, 0});
    a.push_back({15, 1, 1, 0});
    return a;
  }()};
  std::vector<double> values(105);
  for (double& v : values) v = normal(random);
  for (const Axes& bins : {by_run, by_bin}) {
    std::vector<double> whole(15, 0.0);
    Fold(bins, 0, whole.data()).add(0, 105, values.data());
    for (const Index piece : {4, 8, 16, 20}) {
      std::vector<double> sums(15, 0.0);
      Fold fold(bins, 0, sums.data());
      for (Index k = 0, n = 0; k < 105; k += n) {
        // Up to the end of a run at most, where each is one statistic's.
        n = (std::min)(piece, bins.back().stat == 0 ? 21 - k % 21 : 105 - k);
        fold.add(k, n, values.data() + k);
      }
      EXPECT_EQ(sums, whole) << piece;
    }
  }
}

TEST(Partition, PartsCoverTheLine) {
  for (const Index count : {0, 1, 5, 16, 17, 1000}) {
    for (const Index parts : {1, 2, 7, 16}) {
      EXPECT_EQ(part_begin(count, 0, parts), 0);
      EXPECT_EQ(part_begin(count, parts, parts), count);
      for (Index i = 0; i < parts; ++i) EXPECT_LE(part_begin(count, i, parts), part_begin(count, i + 1, parts));
    }
  }
}

}  // namespace
