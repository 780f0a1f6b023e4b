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
  bool fills() const {
    return fill_vectors<Isa, T>(width);
  }

  template <class Isa>
  TENSORNORM_INLINE void run() const {
    constexpr int lanes = kLanes<Isa, T>;
    if constexpr (Isa::is_baseline) {
      if (width < lanes) return sample<lanes>(Some<Isa>{0, static_cast<int>(width)}, width);
    }
    sample<lanes>(Whole<Isa>{0}, lanes);
  }

 private:
  template <int lanes, class At>
  TENSORNORM_INLINE void sample(const At& at, Index width_of_one) const {
    const T share = T(1) / static_cast<T>(places.count * width_of_one);
    for (Index r = 0; r < rows; ++r) {
      Vec<T, lanes> sum{}, v;
      for (int i = 0; i < places.count; ++i) {
        at.load(x + r * stride + places.offsets[i], v);
        sum += v;
      }
      estimate[r] = sum_lanes<T, lanes>(sum) * share;  // an overflow is found when the deviations are summed
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
  bool fills() const {
    return fill_vectors<Isa, T>(cols);
  }

  template <class Isa>
  TENSORNORM_INLINE void run() const {
    constexpr int lanes = kLanes<Isa, T>;
    if constexpr (Isa::is_baseline) {
      if (cols < lanes) return sample<Vec<T, lanes>>(Some<Isa>{0, static_cast<int>(cols)});
    }
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
      sum += v;
    }
    sum *= share;
    at.store(estimate, sum);
  }
};

}  // namespace core
}  // namespace tensornorm
