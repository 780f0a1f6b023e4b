// The map of a tile of columns by running statistics and a scale that was made before: one kernel that also compares
// what the scale was made of.
#pragma once

#include <cstdint>
#include <cstring>

#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/kernel/finish_sums.hpp"
#include "tensornorm/core/kernel/map.hpp"
#include "tensornorm/core/kernel/map_arithmetic.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

// By column. `mean`, `scale`, `beta`: y = (mean - x) * scale + beta. `gamma`, `var`: as they are. `prepared_gamma`,
// `prepared_var`: those that `scale` was made of.
template <class T>
struct FrozenArrays {
  const T *mean, *scale, *beta;
  const T *gamma, *var, *prepared_gamma, *prepared_var;
};

// Where gamma or var differ in any bit from the prepared ones, nothing is written.
template <class Scalar>
struct FrozenColumns {
  using T = ParamOf<Scalar>;
  Rows<Scalar> x;
  Index rows, cols;
  const FrozenArrays<T>& arrays;
  Scalar* y;
  Index stride;  // of y's rows
  bool& is_same;

  template <class Isa>
  bool fills() const {
    return fill_vectors<Isa, T>(cols);
  }

  template <class Isa>
  TENSORNORM_INLINE void run() const {
    is_same = are_same<Isa>();
    if (is_same) put<Isa>();
  }

 private:
  // The last vector overlaps what was done.
  template <class Isa>
  TENSORNORM_INLINE bool are_same() const {
    constexpr int lanes = kLanes<Isa, T>;
    const FrozenArrays<T> a = arrays;
    const Index n = cols;
    Vec<std::uint64_t, kLanes<Isa, double>> differ{};
    Index j = 0;
    for (; j + lanes <= n; j += lanes) compare(a, j, differ);
    if (j < n) compare(a, n - lanes, differ);
    return !has_bits<kLanes<Isa, double>>(differ);
  }

  template <class Bits>
  static TENSORNORM_INLINE void compare(const FrozenArrays<T>& a, Index j, Bits& differ) {
    Bits gamma, prepared_gamma, var, prepared_var;
    std::memcpy(&gamma, a.gamma + j, sizeof gamma);
    std::memcpy(&prepared_gamma, a.prepared_gamma + j, sizeof prepared_gamma);
    std::memcpy(&var, a.var + j, sizeof var);
    std::memcpy(&prepared_var, a.prepared_var + j, sizeof prepared_var);
    differ |= (gamma ^ prepared_gamma) | (var ^ prepared_var);
  }

  static constexpr Index kRowsWorthCopies = 16;

  // Where arrays and y begin at different places in a line, each vector of an array lies in two lines. Many rows
  // therefore read copies that begin where y does. (Measured on Zen 5: 16 to 64 rows of 256 floats take 0.6 to 1.0 of
  // the time so.)
  template <class Isa>
  TENSORNORM_INLINE void put() const {
    using Values = Xhat<Scalar, PerColumn<T>>;
    constexpr Index size = sizeof(T), most = kLongRun / size, line = kCacheLine / size;
    constexpr bool is_float = sizeof(Scalar) == sizeof(T);  // rows of 16 bits are not long with so few columns
    alignas(kCacheLine) T copies[is_float ? static_cast<std::size_t>(3 * (most + line)) : 1];
    StoreMode to;
    to.in_place = x.p == y;
    const T* of[] = {arrays.mean, arrays.scale, arrays.beta};
    if (is_float && !to.in_place && is_long_row<Scalar>(cols) && cols <= most && rows >= kRowsWorthCopies) {
      T* copy = copies + begin_beside(y) / size;
      for (const T*& array : of) {
        std::memcpy(copy, array, static_cast<std::size_t>(cols * size));
        array = copy;
        copy += most + line;
      }
    }
    const Values values{{x, {of[0]}, {of[1]}}, {of[2]}};
    Map<Values>{values, rows, cols, y, stride, to}.template run<Isa>();
  }
};

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
