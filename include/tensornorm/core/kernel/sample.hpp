// Estimates of means, from a few points spread over a bin's line so that no order of its numbers misleads them. An
// estimate need only lie within a standard deviation of the mean.
#pragma once

#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/kernel/packet.hpp"
#include "tensornorm/core/plan/sample_points.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

// estimate[r] = the mean of eight neighbours, or four doubles, at each point of row r; of half as many, or of all,
// where `width` is less.
template <class Scalar>
struct SampleRows {
  using T = ParamOf<Scalar>;
  const Scalar* x;
  Index stride, rows, width;
  const SamplePoints& points;
  T* estimate;

  template <class Isa>
  bool fills() const {
    return fill_vectors<Isa, T>(width);
  }

  template <class Isa>
  TENSORNORM_INLINE void run() const {
    constexpr int lanes = kLanes<Isa, T>;
    if constexpr (Isa::is_baseline) {
      if (width < lanes) return sample<lanes>(PartialVector<Isa>{0, static_cast<int>(width)}, width);
      if (width >= 2 * lanes) return sample_two<Isa>();
    }
    sample<lanes>(FullVector<Isa>{0}, lanes);
  }

 private:
  template <int lanes, class At>
  TENSORNORM_INLINE void sample(const At& at, Index n) const {
    for (Index r = 0; r < rows; ++r) {
      Vec<T, lanes> sum{};
      add_points(at, r, sum);
      estimate[r] = sum_lanes<T, lanes>(sum) * share_of(n);  // an overflow is found when the deviations are summed
    }
  }
  // What is a vector of AVX2 are two.
  template <class Isa>
  TENSORNORM_INLINE void sample_two() const {
    constexpr int lanes = kLanes<Isa, T>;
    for (Index r = 0; r < rows; ++r) {
      Vec<T, lanes> low{}, high{};
      add_points(FullVector<Isa>{0}, r, low);
      add_points(FullVector<Isa>{lanes}, r, high);
      low += high;
      estimate[r] = sum_lanes<T, lanes>(low) * share_of(2 * lanes);
    }
  }
  T share_of(Index n) const { return T(1) / static_cast<T>(points.count * n); }

  template <class At, class V>
  TENSORNORM_INLINE void add_points(const At& at, Index r, V& sum) const {
    V v;
    for (int i = 0; i < points.count; ++i) {
      at.load(x + r * stride + points.offsets[i], v);
      sum += v;
    }
  }
};

// estimate[c] = the mean of column c over the points, which are its rows.
template <class Scalar>
struct SampleColumns {
  using T = ParamOf<Scalar>;
  const Scalar* x;
  Index cols;
  const SamplePoints& points;
  T* estimate;

  template <class Isa>
  bool fills() const {
    return fill_vectors<Isa, T>(cols);
  }

  template <class Isa>
  TENSORNORM_INLINE void run() const {
    constexpr int lanes = kLanes<Isa, T>;
    if constexpr (Isa::is_baseline) {
      if (cols < lanes) return sample<Vec<T, lanes>>(PartialVector<Isa>{0, static_cast<int>(cols)});
    }
    Index j = 0;
    if constexpr (Isa::unrolls) {
      for (; j + 4 * lanes <= cols; j += 4 * lanes) sample_four<Isa>(j);
    }
    for (; j < cols; j += lanes) sample<Vec<T, lanes>>(FullVector<Isa>{(std::min)(j, cols - lanes)});
  }

 private:
  // Four vectors of a row are read together. Rows a power of two apart share few sets of the first-level cache, so a
  // line may be gone before its next vector is read.
  template <class Isa>
  TENSORNORM_INLINE void sample_four(Index j) const {
    const T share = T(1) / static_cast<T>(points.count);
    using V = Vec<T, kLanes<Isa, T>>;
    V s0{}, s1{}, s2{}, s3{};
    for (int i = 0; i < points.count; ++i) {
      const Scalar* const row = x + points.offsets[i];
      add(row, FullVector<Isa>{j}, s0);
      add(row, FullVector<Isa>{j, 1}, s1);
      add(row, FullVector<Isa>{j, 2}, s2);
      add(row, FullVector<Isa>{j, 3}, s3);
    }
    put(FullVector<Isa>{j}, s0, share);
    put(FullVector<Isa>{j, 1}, s1, share);
    put(FullVector<Isa>{j, 2}, s2, share);
    put(FullVector<Isa>{j, 3}, s3, share);
  }

  template <class V, class At>
  TENSORNORM_INLINE void sample(const At& at) const {
    const T share = T(1) / static_cast<T>(points.count);
    V sum{};
    for (int i = 0; i < points.count; ++i) add(x + points.offsets[i], at, sum);
    put(at, sum, share);
  }

  template <class At, class V>
  static TENSORNORM_INLINE void add(const Scalar* row, const At& at, V& sum) {
    V v;
    at.load(row, v);
    sum += v;
  }
  template <class At, class V>
  TENSORNORM_INLINE void put(const At& at, V& sum, T share) const {
    sum *= share;
    at.store(estimate, sum);
  }
};

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
