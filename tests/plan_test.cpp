// The post-conditions of axis.hpp and plan.hpp, for every layer's plan in every layout.
#include "tensornorm/core/plan/bins.hpp"
#include "tensornorm/core/plan/shared_plans.hpp"

#include <gtest/gtest.h>

#include <string>
#include <tuple>
#include <vector>

namespace {

using namespace tensornorm;
using namespace tensornorm::core;

using Offsets = std::vector<std::tuple<Index, Index, Index>>;

void collect(const Axes& axes, int i, Index x, Index stat, Index param, Offsets& out) {
  if (i == axes.size()) return out.emplace_back(x, stat, param), void();
  for (Index k = 0; k < axes[i].extent; ++k) {
    collect(axes, i + 1, x + k * axes[i].x, stat + k * axes[i].stat, param + k * axes[i].param, out);
  }
}

// The offsets of every operand, element by element, in the order of the axes.
Offsets offsets(const Axes& axes) {
  Offsets out;
  collect(axes, 0, 0, 0, 0, out);
  return out;
}

Axes sorted(Axes axes) {
  std::stable_sort(axes.begin(), axes.end(), [](const Axis& a, const Axis& b) { return a.x > b.x; });
  return axes;
}

Shape make_shape(const std::vector<Index>& extents, bool row_major) {
  Shape shape;
  shape.rank = static_cast<int>(extents.size());
  Index stride = 1;
  for (int i = 0; i < shape.rank; ++i) {
    const auto d = static_cast<std::size_t>(row_major ? shape.rank - 1 - i : i);
    shape.extents[d] = extents[d];
    shape.strides[d] = stride;
    stride *= extents[d];
  }
  return shape;
}

struct Case {
  std::string name;
  Axes plan;
};

// Every layer over a shape: channels anywhere, both storage orders.
std::vector<Case> layer_plans(const std::vector<Index>& extents) {
  std::vector<Case> cases;
  const int rank = static_cast<int>(extents.size());
  for (const bool row_major : {true, false}) {
    const Shape shape = make_shape(extents, row_major);
    const std::string order = row_major ? " RowMajor" : " ColMajor";
    for (int c = 0; c < rank; ++c) {
      const std::string where = order + " channel axis " + std::to_string(c);
      cases.push_back({"BatchNorm" + where, make_axes(shape, axis(c), axis(c))});
      if (c == 0) continue;
      cases.push_back({"InstanceNorm" + where, make_axes(shape, axis(0) | axis(c), axis(c))});
      for (Index groups = 1; groups <= shape.extent(c); ++groups) {
        if (shape.extent(c) % groups != 0) continue;
        const Axes plan = make_axes(split_axis(shape, c, groups), axis(0) | axis(c), axis(c) | axis(c + 1));
        cases.push_back({"GroupNorm " + std::to_string(groups) + where, plan});
      }
    }
    for (int leading = 0; leading < rank; ++leading) {
      const AxisSet kept = axes_below(leading);
      const std::string where = order + " leading " + std::to_string(leading);
      cases.push_back({"LayerNorm" + where, make_axes(shape, kept, axes_below(rank) & ~kept)});
    }
  }
  return cases;
}

const std::vector<std::vector<Index>> kShapes = {{1},       {7},          {2, 6},       {6, 1},         {3, 4, 5},
                                                 {1, 6, 1}, {2, 6, 3, 5}, {5, 4, 1, 3}, {2, 1, 4, 3, 2}};

TEST(Coalesce, VisitsTheSameOffsetsInTheSameOrderForEveryLayer) {
  for (const auto& extents : kShapes) {
    for (const Case& c : layer_plans(extents)) {
      SCOPED_TRACE(c.name);
      EXPECT_EQ(offsets(coalesce(c.plan)), offsets(sorted(c.plan)));
    }
  }
}

TEST(Coalesce, LeavesNothingToMergeAndNoExtentOfOne) {
  for (const auto& extents : kShapes) {
    for (const Case& c : layer_plans(extents)) {
      SCOPED_TRACE(c.name);
      const Axes axes = coalesce(c.plan);
      EXPECT_LE(axes.size(), static_cast<int>(extents.size()) + 1);
      for (int i = 0; i < axes.size(); ++i) {
        EXPECT_NE(axes[i].extent, 1);
        if (i > 0) {
          EXPECT_FALSE(can_merge(axes[i - 1], axes[i]));
        }
      }
    }
  }
}

Axes without_param(Axes axes) {
  drop_param(axes);
  return coalesce(axes);
}

TEST(Coalesce, UsualLayersNeedTwoToFourAxes) {
  const Shape nchw = make_shape({8, 6, 5, 7}, true), nhwc = make_shape({8, 5, 7, 6}, true);
  EXPECT_EQ(coalesce(make_axes(nchw, axis(1), axis(1))).size(), 3);                      // N | C | HW
  EXPECT_EQ(coalesce(make_axes(nhwc, axis(3), axis(3))).size(), 2);                      // NHW | C
  EXPECT_EQ(coalesce(make_axes(nchw, axis(0) | axis(1), axis(1))).size(), 3);            // N | C | HW
  EXPECT_EQ(without_param(make_axes(nchw, axis(0) | axis(1), axis(1))).size(), 2);       // NC | HW
  EXPECT_EQ(coalesce(make_axes(nchw, axis(0), axis(1) | axis(2) | axis(3))).size(), 2);  // N | CHW
  const Shape grouped = split_axis(nchw, 1, 3);
  EXPECT_EQ(coalesce(make_axes(grouped, axis(0) | axis(1), axis(1) | axis(2))).size(), 4);       // N | G | C/G | HW
  EXPECT_EQ(without_param(make_axes(grouped, axis(0) | axis(1), axis(1) | axis(2))).size(), 2);  // NG | C/G HW
}

TEST(SplitAxis, KeepsEveryOffset) {
  for (const bool row_major : {true, false}) {
    const Shape shape = make_shape({3, 12, 5}, row_major), split = split_axis(shape, 1, 4);
    EXPECT_EQ(split.rank, 4);
    EXPECT_EQ(split.count(), shape.count());
    EXPECT_EQ(offsets(make_axes(split, 0, 0)), offsets(make_axes(shape, 0, 0)));
  }
}

TEST(MakePlan, NumbersStatisticsAndParametersInLogicalOrder) {
  for (const auto& extents : kShapes) {
    for (const Case& c : layer_plans(extents)) {
      SCOPED_TRACE(c.name);
      Index stats = 0, params = 0;
      for (const auto& [x, stat, param] : offsets(c.plan)) {
        stats = std::max(stats, stat + 1);
        params = std::max(params, param + 1);
      }
      EXPECT_EQ(stats, bins_of(c.plan, select(c.plan, is_kept)).count());
      EXPECT_EQ(params, param_count(c.plan));
    }
  }
}

// Bins refine statistics: each bin lies in one statistic, and whole statistics lie in each multiple of bins.
TEST(Refined, NeverDividesAStatisticBetweenGranules) {
  int refined_plans = 0;
  for (const auto& extents : {std::vector<Index>{64, 6, 2, 2}, {2, 40, 6}, {2, 6, 40, 3}, {3, 5, 30, 4}, {40, 4}}) {
    for (const Case& c : layer_plans(extents)) {
      SCOPED_TRACE(c.name);
      const Axes plan = coalesce(c.plan);
      const AxisSet kept = select(plan, is_kept), bins = rows_to_columns(plan, 32, 16, 256, 256);
      EXPECT_EQ(bins & kept, kept);
      refined_plans += bins != kept ? 1 : 0;
      const Index together = multiple(plan, bins);
      EXPECT_LE(together, 256);
      Axes both = numbered(plan, bins);  // stat: the bin; param: the statistic
      for (int i = 0; i < plan.size(); ++i) both[i].param = plan[i].stat;
      const auto elements = static_cast<std::size_t>(plan.count());
      std::vector<Index> statistic_of(elements, -1), owner_of(elements, -1);
      for (const auto& [x, bin, stat] : offsets(both)) {
        auto& known = statistic_of[static_cast<std::size_t>(bin)];
        EXPECT_TRUE(known == -1 || known == stat);
        known = stat;
        auto& owner = owner_of[static_cast<std::size_t>(stat)];
        EXPECT_TRUE(owner == -1 || owner == bin / together || together == 1);
        owner = bin / together;
      }
    }
  }
  EXPECT_GT(refined_plans, 0);
}

// Rows of 24 channels in tens: 240 of the 256 elements asked for; where nothing divides them, as they are.
// Short inner runs alone decide, however long the kept axis outside of them is.
TEST(Refined, LooksAtTheInnermostRun) {
  Axes plan;
  plan.push_back({64, 24, 0, 0});
  plan.push_back({6, 4, 1, 0});
  plan.push_back({4, 1, 0, 0});
  for (Axis& a : plan) a.y = a.z = a.x;
  EXPECT_EQ(rows_to_columns(plan, 10, 16, 256, 256), axis(1) | axis(2));
  EXPECT_EQ(rows_to_columns(plan, 4, 16, 256, 256), axis(1));
}

TEST(Widened, PutsNeighbouringRowsTogether) {
  const auto rows_of_channels = [](Index rows) {
    Axes plan;
    plan.push_back({rows, 24, 0, 0});
    plan.push_back({24, 1, 1, 1});
    return plan;
  };
  const Axes plan = rows_of_channels(1000);
  AxisSet bins = select(plan, is_kept);
  Axes wide = plan;
  join_columns(wide, bins, 64, 256, 16);
  ASSERT_EQ(wide.size(), 3);
  EXPECT_EQ(wide[0].extent, 100);
  EXPECT_EQ(wide[1].extent, 10);
  EXPECT_EQ(wide[2].extent, 24);
  EXPECT_EQ(offsets(wide), offsets(plan));
  EXPECT_EQ(bins, axis(1) | axis(2));

  const Axes prime = rows_of_channels(1009);
  AxisSet same = select(prime, is_kept);
  Axes joined = prime;
  join_columns(joined, same, 64, 256, 16);
  EXPECT_EQ(offsets(joined), offsets(prime));
  EXPECT_EQ(same, select(prime, is_kept));
}

// Sixteen shapes in turns are planned once each, and a seventeenth takes the place of the first.
TEST(SharedPlans, KeepTheLastSixteen) {
  static int plans_made;
  SharedPlans plans;
  const auto make = [&](Index rows) {
    SharedPlans::Use use;
    plans.find(
        make_axes(make_shape({rows, 24}, true), axis(0), axis(1)), {4, true, false}, [](Plan&) { ++plans_made; }, use);
    ASSERT_NE(use.plan(), nullptr) << rows;
    EXPECT_EQ(use.plan()->elements, rows * 24);
  };
  plans_made = 0;
  for (int turn = 0; turn < 3; ++turn) {
    for (Index rows = 1; rows <= 16; ++rows) make(rows);
    EXPECT_EQ(plans_made, 16) << turn;
  }
  make(17);
  make(2);
  EXPECT_EQ(plans_made, 17);
  make(1);
  EXPECT_EQ(plans_made, 18);
}

TEST(SharedPlans, APlanInUseIsNotReplaced) {
  const auto complete = [](Plan&) {};
  const auto axes_of = [](Index rows) { return make_axes(make_shape({rows, 24}, true), axis(0), axis(1)); };
  SharedPlans plans;
  SharedPlans::Use first;
  plans.find(axes_of(1), {4, true, false}, complete, first);
  const Plan* const plan = first.plan();
  for (Index rows = 2; rows <= 33; ++rows) {
    SharedPlans::Use use;
    plans.find(axes_of(rows), {4, true, false}, complete, use);
    EXPECT_NE(use.plan(), nullptr) << rows;
  }
  EXPECT_EQ(plan->elements, 24);
  SharedPlans::Use again;
  plans.find(axes_of(1), {4, true, false}, complete, again);
  EXPECT_EQ(again.plan(), plan);
}

TEST(SharedPlans, WhereAllAreInUseThereIsNone) {
  SharedPlans plans;
  std::vector<SharedPlans::Use> uses(17);
  for (Index rows = 1; rows <= 17; ++rows) {
    plans.find(
        make_axes(make_shape({rows, 24}, true), axis(0), axis(1)), {4, true, false}, [](Plan&) {},
        uses[static_cast<std::size_t>(rows - 1)]);
    EXPECT_EQ(uses[static_cast<std::size_t>(rows - 1)].plan() == nullptr, rows == 17) << rows;
  }
}

}  // namespace
