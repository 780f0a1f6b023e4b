// GradientTile: a tile of dx, and what it is computed from.
#pragma once

#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/kernel/map.hpp"
#include "tensornorm/core/kernel/map_arithmetic.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

template <class Scalar>
struct GradientTile {
  using T = ParamOf<Scalar>;

  bool columns;
  const Scalar *x, *dy;
  Scalar* dx;
  const T *hi, *minus_rstd, *scale, *slope, *shift;  // by bin of the tile; a null slope: dx = (hi - dy) * scale + shift
  const T* gamma;                                    // along its lines; null: 1
  const Tile& tile;
  StoreMode to;

  // Calls use(functor) with one for any tile.
  template <class Use>
  void visit(const Use& use) const {
    if (columns) {
      visit_as<PerColumn<T>>(gamma == nullptr ? every_row(kOne<T>) : PerRowOrAll<T>{gamma}, use);
    } else {
      visit_as<PerRow<T>>(gamma == nullptr ? every_column(kOne<T>) : PerColumnOrAll<T>{gamma}, use);
    }
  }
  void put() const {
    visit([this](const auto& functor) { this->put(functor); });
  }
  template <class Functor>
  void put(const Functor& functor) const {
    map(functor, tile, dx + tile.z_offset, tile.z_stride, to);
  }
  // What dx held.
  Rows<Scalar> before() const { return {dx + tile.z_offset, tile.z_stride}; }

 private:
  template <class Stat, class Param, class Use>
  void visit_as(const Param& factor, const Use& use) const {
    const Rows<Scalar> gradient{dy + tile.y_offset, tile.y_stride};
    if (slope == nullptr) return use(Xhat<Scalar, Stat>{{gradient, {hi}, {scale}}, {shift}});
    use(InputGradient<Scalar, Stat, Param>{
        {x + tile.offset, tile.stride}, gradient, {hi}, {minus_rstd}, {scale}, {slope}, {shift}, factor});
  }
};

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
