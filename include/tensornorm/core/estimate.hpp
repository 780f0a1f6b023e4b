// Estimates of means, from a few places spread over a cell's line so that no order of its numbers misleads them. An
// estimate need only lie within a standard deviation of the mean.
#pragma once

#include "tensornorm/core/packet.hpp"

namespace tensornorm {
namespace core {

// Where samples are taken, as offsets from a cell's first element.
struct Places {
  static constexpr int kMost = 32;
  Index offsets[kMost];
  int count = 0;
};

// estimate[r] = the mean of `width` or a whole vector of neighbours at each place of row r.
template <class Scalar>
struct SampleRows {
  using T = ParamOf<Scalar>;
  const Scalar* x;
  Index stride, rows, width;
  const Places& places;
  T* estimate;

  template <class Isa>
  TENSORNORM_INLINE void run() const {
    constexpr int lanes = kLanes<Isa, T>;
    const int n = width < lanes ? static_cast<int>(width) : lanes;
    const T share = T(1) / static_cast<T>(places.count * n);
    for (Index r = 0; r < rows; ++r) {
      Vec<T, lanes> sum{};
      if (n < lanes) {
        add_places(r, Some<Isa>{0, n}, share, sum);
      } else {
        add_places(r, Whole<Isa>{0}, share, sum);
      }
      T lane[lanes];
      std::memcpy(lane, &sum, sizeof lane);
      T total = 0;
      for (int i = 0; i < lanes; i += 2) total += lane[i] + lane[i + 1];
      estimate[r] = total;
    }
  }

 private:
  template <class At, class V>
  TENSORNORM_INLINE void add_places(Index r, const At& at, T share, V& sum) const {
    for (int i = 0; i < places.count; ++i) {
      V v;
      at.load(x + r * stride + places.offsets[i], v);
      sum += v * share;
    }
  }
};

// estimate[c] = the mean of column c over the places, which are its rows.
template <class Scalar>
struct SampleColumns {
  using T = ParamOf<Scalar>;
  const Scalar* x;
  Index cols;
  const Places& places;
  T* estimate;

  template <class Isa>
  TENSORNORM_INLINE void run() const {
    constexpr int lanes = kLanes<Isa, T>;
    if (cols < lanes) return sample<Vec<T, lanes>>(Some<Isa>{0, static_cast<int>(cols)});
    for (Index j = 0; j < cols; j += lanes) {
      sample<Vec<T, lanes>>(Whole<Isa>{(std::min)(j, cols - lanes)});
    }
  }

 private:
  template <class V, class At>
  TENSORNORM_INLINE void sample(const At& at) const {
    const T share = T(1) / static_cast<T>(places.count);
    V sum{}, v;
    for (int i = 0; i < places.count; ++i) {
      at.load(x + places.offsets[i], v);
      sum += v * share;
    }
    at.store(estimate, sum);
  }
};

}  // namespace core
}  // namespace tensornorm
