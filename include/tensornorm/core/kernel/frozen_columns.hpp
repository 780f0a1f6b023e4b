// The map of a tile of columns by running statistics and a scale that was made before: one kernel that also compares
// what the scale was made of.
#pragma once

#include "tensornorm/core/kernel/finish_sums.hpp"
#include "tensornorm/core/kernel/operand.hpp"

namespace tensornorm {
namespace core {

// By column: the coefficients of y = (mean - x) * scale + beta; and what the scale is to be made of, as it is and as it
// was when the scale was made.
template <class T>
struct FrozenArrays {
  const T *mean, *scale, *beta;
  const T *gamma, *var, *gamma_then, *var_then;
};

// Has the bits of Map. Where a bit of gamma or of var is another than then, y is not written.
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
    Bits gamma, gamma_then, var, var_then;
    std::memcpy(&gamma, a.gamma + j, sizeof gamma);
    std::memcpy(&gamma_then, a.gamma_then + j, sizeof gamma_then);
    std::memcpy(&var, a.var + j, sizeof var);
    std::memcpy(&var_then, a.var_then + j, sizeof var_then);
    differ |= (gamma ^ gamma_then) | (var ^ var_then);
  }

  template <class Isa>
  TENSORNORM_INLINE void put() const {
    constexpr int lanes = kLanes<Isa, T>;
    const FrozenArrays<T> a = arrays;  // in registers: what is stored below cannot change it
    const Index n = cols, x_stride = x.stride, y_stride = stride;
    const Scalar* from = x.p;
    Scalar* to = y;
    for (Index i = rows; i > 0; --i, from += x_stride, to += y_stride) {
      Index j = 0;
      for (; j + lanes <= n; j += lanes) put_vector<Isa>(a, {j}, from, to);
      if (j < n) put_vector<Isa>(a, {n - lanes}, from, to);
    }
  }

  template <class Isa>
  static TENSORNORM_INLINE void put_vector(const FrozenArrays<T>& a, const FullVector<Isa>& at, const Scalar* from,
                                           Scalar* to) {
    Vec<T, kLanes<Isa, T>> v, mean, scale, beta;
    at.load(from, v);
    at.load(a.mean, mean);
    at.load(a.scale, scale);
    at.load(a.beta, beta);
    v = mean - v;
    multiply(v, scale, v);
    v += beta;
    at.store(to, v);
  }
};

}  // namespace core
}  // namespace tensornorm
