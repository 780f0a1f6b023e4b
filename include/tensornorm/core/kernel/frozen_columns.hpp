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

  template <class Isa>
  TENSORNORM_INLINE void put() const {
    using Values = Xhat<Scalar, PerColumn<T>>;
    const Values values{{x, {arrays.mean}, {arrays.scale}}, {arrays.beta}};
    StoreMode to;
    to.in_place = x.p == y;
    Map<Values>{values, rows, cols, y, stride, to}.template run<Isa>();
  }
};

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
