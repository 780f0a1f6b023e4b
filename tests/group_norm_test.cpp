#include <tensornorm/group_norm.hpp>

#include "sweep.hpp"

using namespace tensornorm_test;
using tensornorm::GroupNorm;
using tensornorm::GroupNormOptions;

namespace {

std::string name_at(Index groups, int axis) {
  return "GroupNorm of " + std::to_string(groups) + " groups, channel axis " + std::to_string(axis);
}

template <class Scalar, int... Ranks>
void check(const Extents& extents, Index groups, int axis = 1, const Data& data = {}, bool affine = true) {
  GroupNormOptions options;
  options.channel_axis = axis;
  options.affine = affine;
  const GroupNorm<Scalar> layer(groups, extents[std::size_t(axis)], options);
  in_both_layouts<Ranks...>(extents, [&](auto rank, auto layout) {
    expect_oracle<Scalar, rank, layout>(layer, extents, group_sets(extents, axis, groups), data, name_at(groups, axis));
  });
}

TEST(GroupNorm, GroupsOfEveryLaneCount) {
  for (const Index per_group : {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 33}) {
    for (const Index groups : {1, 2, 3, 5, 8}) {
      for (const Index n : {1, 2, 9}) check<float, 2>({n, groups * per_group}, groups);
      check<float, 3>({2, groups * per_group, 5}, groups, 1);
      check<float, 3>({2, 5, groups * per_group}, groups, 2, {0, 1, 1});
    }
  }
}

TEST(GroupNorm, RowsOfEveryLaneCount) {
  for (const Index s : {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 33}) check<float, 3>({3, 6, s}, 2, 1, {1});
}

TEST(GroupNorm, EveryChannelAxisAndGroupsOfEveryRank) {
  const Extents shapes[] = {{7, 12}, {5, 6, 10}, {2, 6, 10, 14}, {3, 6, 15, 9}, {2, 3, 4, 5, 7}, {3, 1, 2, 1, 5}};
  for (const Extents& extents : shapes) {
    for (int axis = 1; axis < int(extents.size()); ++axis) {
      const Index channels = extents[std::size_t(axis)];
      for (Index groups = 1; groups <= channels; ++groups) {
        if (channels % groups != 0) continue;
        check<float, 2, 3, 4, 5>(extents, groups, axis, {0.5, 1, axis % 2});
        check<float, 2, 3, 4, 5>(extents, groups, axis, {0.5, 1, 3}, false);
      }
    }
  }
}

TEST(GroupNorm, LargerShapes) {
  for (const Index groups : {1, 8, 32, 64}) {
    check<float, 2>({4, 640}, groups, 1, {-1, 1, 1});
    check<float, 4>({2, 64, 7, 7}, groups, 1, {2, 3});
    check<float, 4>({2, 7, 7, 64}, groups, 3, {2, 3, 1});
    check<float, 4>({5, 9, 64, 3}, groups, 2);
  }
  check<float, 2>({33, 258}, 6);
  check<float, 4>({5, 96, 1, 3}, 32);
  check<float, 4>({1, 320, 16, 16}, 32);
}

TEST(GroupNorm, OutgrowsTheCaches) {
  for (const int axis : {1, 3}) check<float, 4>({3, 64, 50, 64}, 16, axis);
  for (const Extents& extents : {Extents{2, 64, 31, 33}, {4, 31, 33, 32}}) {
    for (const int axis : {1, 3}) {
      const Index channels = extents[std::size_t(axis)];
      if (channels % 4 != 0) continue;
      GroupNormOptions options;
      options.channel_axis = axis;
      expect_oracle_of_repeats(GroupNorm<float>(channels / 4, channels, options), extents, 40,
                               group_sets(extents, axis, channels / 4), name_at(channels / 4, axis));
    }
  }
}

TEST(GroupNorm, KeepsItsDigitsAtAnyOffset) {
  for (const double mean : {0., -100., 1e4, 1e6}) {
    for (const bool affine : {false, true}) {
      for (const int axis : {1, 3}) {
        check<float, 4>({3, 20, 9, 20}, 5, axis, {mean}, affine);
        check<double, 4>({3, 20, 9, 20}, 5, axis, {mean}, affine);
      }
      check<float, 2>({9, 640}, 32, 1, {mean}, affine);
    }
  }
}

template <class Scalar>
class GroupNormOf : public testing::Test {};
using OtherScalars = testing::Types<double, Eigen::half, Eigen::bfloat16>;
TYPED_TEST_SUITE(GroupNormOf, OtherScalars, ScalarNames);

TYPED_TEST(GroupNormOf, EveryScalar) {
  for (const Index per_group : {1, 3, 4, 8, 15, 16, 17}) {
    for (const Index groups : {1, 3, 4}) check<TypeParam, 2>({3, groups * per_group}, groups, 1, {0, 1, groups % 3});
  }
  for (const int axis : {1, 2, 3}) {
    for (const Index groups : {1, 2, 6}) {
      check<TypeParam, 4>({2, 6, 12, 18}, groups, axis);
      check<TypeParam, 4>({2, 6, 12, 18}, groups, axis, {100, 3, 1}, false);
    }
  }
}

TEST(GroupNorm, EmptyTensors) {
  for (const Extents& extents : {Extents{0, 4}, {0, 4, 3}, {2, 4, 0}, {0, 4, 3, 5}, {2, 4, 3, 0}}) {
    in_both_layouts<2, 3, 4>(extents, [&](auto rank, auto layout) {
      expect_empty<rank, layout>(GroupNorm<float>(2, 4), extents, name_at(2, 1));
    });
  }
}

}  // namespace
