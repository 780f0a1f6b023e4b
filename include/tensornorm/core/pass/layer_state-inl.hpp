// Bodies of layer_state.hpp.
#pragma once

#include <cmath>
#include <cstring>

#include "tensornorm/core/pass/layer_state.hpp"

namespace tensornorm {
namespace core {

// Tells one x from another by the bits of sixteen elements spread over it; all of them where there are fewer.
template <class Scalar>
std::uint64_t fingerprint(const Scalar* x, Index n) {
  using Bits = std::conditional_t<sizeof(Scalar) == 8, std::uint64_t,
                                  std::conditional_t<sizeof(Scalar) == 4, std::uint32_t, std::uint16_t>>;
  constexpr int kElements = 16;
  std::uint64_t sum = 0;
  // Each element has an odd factor of its own, so that two that change places change the sum.
  const auto add = [&](int i, Index at) {
    Bits bits;
    std::memcpy(&bits, x + at, sizeof bits);
    sum += static_cast<std::uint64_t>(bits) * static_cast<std::uint64_t>(0x1b873593 + 0x2000102 * i);
  };
  if (n < kElements) {
    for (int i = 0; i < static_cast<int>(n); ++i) add(i, i);
    return sum;
  }
  // A little more than a sixteenth apart, so that not all of them are in the same column.
  const Index step = n / kElements + n / kElements / kElements;
  for (int i = 0; i < kElements; i += 4) {
    add(i, i * step);
    add(i + 1, (i + 1) * step);
    add(i + 2, (i + 2) * step);
    add(i + 3, (i + 3) * step);
  }
  return sum;
}

template <class Scalar, unsigned settings>
LayerState<Scalar, settings>::LayerState(double eps, Index gamma_size, Index beta_size)
    : gamma_(Array::Ones(gamma_size)), dgamma_(Array::Zero(gamma_size)), beta_(Array::Zero(beta_size)),
      dbeta_(Array::Zero(beta_size)), gamma_size_(gamma_size), beta_size_(beta_size), eps_(eps) {
  check_that(std::isfinite(eps) && eps >= 0, "eps is ", eps, " but must be finite and not negative");
}

template <class Scalar, unsigned settings>
void LayerState<Scalar, settings>::check_affine() const {
  check_size(gamma_, gamma_size_, "gamma");
  check_size(beta_, beta_size_, "beta");
  check_size(dgamma_, gamma_size_, "dgamma");
  check_size(dbeta_, beta_size_, "dbeta");
}

template <class Scalar, unsigned settings>
void LayerState<Scalar, settings>::passed(const Shape& x, std::uint64_t fingerprint, bool batch) {
  pass_.shape = x;
  pass_.fingerprint = fingerprint;
  pass_.done = true;
  pass_.training = training_;
  pass_.batch = batch;
}

template <class Scalar, unsigned settings>
void LayerState<Scalar, settings>::check_pass(const Shape& x, const Shape& dy) const {
  check_that(pass_.done, "backward follows a forward pass, but there was none");
  check_that(same_extents(dy, x), "dy has extents ", dy, " but x has ", x);
  check_that(same_extents(x, pass_.shape), "x has extents ", x, " but the forward pass had ", pass_.shape);
  check_that(x == pass_.shape, "x of extents ", x,
             " has another layout than in the forward pass: its first axis has stride ", x.stride(0), ", then ",
             pass_.shape.stride(0));
  check_that(training_ == pass_.training, "backward in ", training_ ? "train" : "eval", " mode (", training_,
             ") follows a forward pass in ", pass_.training ? "train" : "eval", " mode (", pass_.training, ")");
}

template <class Scalar, unsigned settings>
void LayerState<Scalar, settings>::check_same_x(const Shape& x, const Scalar* data) const {
  const std::uint64_t fingerprint = core::fingerprint(data, x.count());
  check_that(fingerprint == pass_.fingerprint, "x of extents ", x,
             " is not what the last forward pass read: some of its elements differ (their sums are ", fingerprint,
             " and ", pass_.fingerprint, "). After a forward in place backward needs a copy of the x before it");
}

}  // namespace core
}  // namespace tensornorm
