// Bodies of gradient.hpp.
#pragma once

#include <optional>

#include "tensornorm/core/clip/gradient.hpp"
#include "tensornorm/core/compiled.hpp"
#include "tensornorm/core/ieee_math.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

TENSORNORM_BODY void Gradient::visit(Index begin, Index end, FunctionRef<void(const Tile&)> visit) const {
  for (Index i = begin; i < end;) {
    const Index at = i % inner, left = (std::min)(inner - at, end - i);
    Tile tile{i / inner * outer_stride + at * inner_stride, 1, 1, 0, 0, 0, 0, 0};
    if (inner_stride != 1) {
      tile.rows = (std::min)(left, kNormRows);
      tile.stride = inner_stride;
    } else if (left < inner || inner > kTileElements) {
      tile.cols = (std::min)(left, kTileElements);
      tile.next = kAhead;
    } else {
      tile.rows = (std::min)({(end - i) / inner, kTileElements / inner, kNormRows});
      tile.cols = inner;
      tile.stride = outer_stride;
    }
    visit(tile);
    i += tile.rows * tile.cols;
  }
}

TENSORNORM_BODY void GradientBatch::visit(Index unit, FunctionRef<void(const Gradient&, const Tile&)> visit) const {
  const Index begin = part_begin(elements_, unit, units()), end = part_begin(elements_, unit + 1, units());
  for (Index i = 0, first = 0; i < count_ && first < end; ++i) {
    const Gradient& gradient = gradients_[i];
    const Index from = (std::max<Index>)(begin - first, 0), to = (std::min)(end - first, gradient.size());
    if (from < to) gradient.visit(from, to, [&](const Tile& tile) { visit(gradient, tile); });
    first += gradient.size();
  }
}

TENSORNORM_BODY void GradientBatch::measure(const Runner& runner, NormType type, NormPart& total) const {
  std::optional<NormPart> parts[kUnits];
  runner(units(), elements_, [&](Index unit, Index) {
    NormPart part(type);
    visit(unit, [&](const Gradient& g, const Tile& tile) { g.operations->measure(g.data, tile, part); });
    parts[unit] = part;
  });
  for (Index unit = 0; unit < units(); ++unit) total.add(*parts[unit]);
}

TENSORNORM_BODY void GradientBatch::scale(const Runner& runner, const Wide& factor) const {
  runner(units(), elements_, [&](Index unit, Index) {
    visit(unit, [&](const Gradient& g, const Tile& tile) { g.operations->scale(g.data, tile, factor); });
  });
}

TENSORNORM_BODY void GradientBatch::clamp(const Runner& runner, double limit) const {
  runner(units(), elements_, [&](Index unit, Index) {
    visit(unit, [&](const Gradient& g, const Tile& tile) { g.operations->clamp(g.data, tile, limit); });
  });
}

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
