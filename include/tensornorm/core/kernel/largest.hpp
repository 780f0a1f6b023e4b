// The largest magnitude of a tile's rows: what an infinity norm is made of.
#pragma once

#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/kernel/operand.hpp"
#include "tensornorm/core/plan/walk.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

// Compares magnitudes by their bits: NaN is the largest of all and none gets lost, and no order or grouping of the
// numbers changes the result. A number may be looked at twice, so the last vector of a row overlaps the one before.
template <class Scalar>
struct RowLargest {
  using T = ParamOf<Scalar>;
  using Int = typename LaneMasks<T, 1>::Int;
  Rows<Scalar> x;
  Index rows, cols;
  Int* largest;

  template <class Isa>
  bool fills() const {
    return fill_vectors<Isa, T>(cols);
  }

  template <class Isa>
  TENSORNORM_INLINE void run() const {
    constexpr int lanes = kLanes<Isa, T>;
    const RowLargest k = *this;
    Vec<Int, lanes> m0{}, m1{}, m2{}, m3{};
    for (Index r = 0; r < k.rows; ++r) {
      const Scalar* const row = k.x.p + r * k.x.stride;
      if constexpr (Isa::is_baseline) {
        if (k.cols < lanes) {
          look<lanes>(row, PartialVector<Isa>{0, static_cast<int>(k.cols)}, m0);
          continue;
        }
      }
      Index j = 0;
      if constexpr (Isa::unrolls) {
        for (; j + 4 * lanes <= k.cols; j += 4 * lanes) {
          look<lanes>(row, FullVector<Isa>{j}, m0);
          look<lanes>(row, FullVector<Isa>{j, 1}, m1);
          look<lanes>(row, FullVector<Isa>{j, 2}, m2);
          look<lanes>(row, FullVector<Isa>{j, 3}, m3);
        }
      }
      for (; j < k.cols; j += lanes) look<lanes>(row, FullVector<Isa>{(std::min)(j, k.cols - lanes)}, m0);
    }
    const Vec<Int, lanes> all[] = {m0, m1, m2, m3};
    Int values[static_cast<std::size_t>(4 * lanes)];
    std::memcpy(values, all, sizeof values);
    for (const Int v : values) *k.largest = (std::max)(*k.largest, v);
  }

 private:
  template <int lanes, class At>
  static TENSORNORM_INLINE void look(const Scalar* row, const At& at, Vec<Int, lanes>& most) {
    Vec<T, lanes> v;
    Vec<Int, lanes> bits;
    at.load(row, v);
    magnitude_bits<T, lanes>(v, bits);
    most = most > bits ? most : bits;
  }
};

// The largest |x| over a tile; NaN where one x is.
// @pre the tile is not empty
template <class Scalar>
ParamOf<Scalar> largest_magnitude(const Scalar* x, const Tile& tile) {
  typename RowLargest<Scalar>::Int bits = 0;
  dispatch(RowLargest<Scalar>{{x + tile.offset, tile.stride}, tile.rows, tile.cols, &bits});
  ParamOf<Scalar> result;
  copy_bits(bits, result);
  return result;
}

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
