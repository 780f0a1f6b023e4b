// Body of gradient_operations in gradient.hpp.
#pragma once

#include "tensornorm/core/clip/gradient.hpp"
#include "tensornorm/core/clip/tile_norm.hpp"
#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/kernel/map.hpp"
#include "tensornorm/core/kernel/map_arithmetic.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

// x *= factor over a tile. A factor below the least normal T has lost digits: the products are then taken one by one.
template <class Scalar>
void scale_tile(Scalar* x, const Tile& tile, const Wide& factor) {
  using T = ParamOf<Scalar>;
  const double rounded = factor.rounded();
  if (!(factor.high > 0) || rounded >= static_cast<double>((std::numeric_limits<T>::min)())) {
    const T f = static_cast<T>(rounded);
    return map(Scaled<Scalar, PerRowOrAll<T>>{{{x + tile.offset, tile.stride}, {&f, kNone}}}, tile, x + tile.offset,
               tile.stride);
  }
  for (Index r = 0; r < tile.rows; ++r) {
    for (Index c = 0; c < tile.cols; ++c) {
      Scalar& v = x[tile.offset + r * tile.stride + c];
      const double scaled = static_cast<double>(static_cast<T>(v)) * factor.high;
      v = static_cast<Scalar>(static_cast<T>(std::ldexp(scaled, factor.exponent)));
    }
  }
}

// x = min(max(x, -limit), limit) over a tile, where a limit beyond the largest finite Scalar is that.
template <class Scalar>
void clamp_tile(Scalar* x, const Tile& tile, double limit) {
  using T = ParamOf<Scalar>;
  const T most =
      static_cast<T>((std::min)(limit, static_cast<double>(static_cast<T>(Eigen::NumTraits<Scalar>::highest()))));
  map(Clamped<Scalar, PerRowOrAll<T>>{{{x + tile.offset, tile.stride}, {&most, kNone}}}, tile, x + tile.offset,
      tile.stride);
}

template <class Scalar>
const GradientOperations& gradient_operations() {
  static constexpr GradientOperations operations{
      [](const void* x, const Tile& tile, NormPart& part) {
        TileNorm<Scalar>(static_cast<const Scalar*>(x), tile, part.type()).add_to(part);
      },
      [](void* x, const Tile& tile, const Wide& factor) { scale_tile(static_cast<Scalar*>(x), tile, factor); },
      [](void* x, const Tile& tile, double limit) { clamp_tile(static_cast<Scalar*>(x), tile, limit); }};
  return operations;
}

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
