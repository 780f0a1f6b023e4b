// Pass: what a forward pass leaves for its backward, in the caller's hands.
#pragma once

#include <type_traits>

#include "tensornorm/core/pass/pass_state.hpp"

namespace tensornorm {

namespace core {
struct PassAccess;
}

/// What one forward pass leaves for its backward: the statistics of x, and which x it was; of a function behind a
/// post-op, also beta. With it a layer, or the functions of functional.hpp, serve many passes: shared weights,
/// recurrent steps, checkpointing.
///
/// Scalar is that of x. A new Pass is empty; its first use makes its memory, and later ones with the same shapes
/// allocate nothing. A forward pass overwrites what the one before left. One thread at a time may use it.
template <class Scalar>
class Pass {
 public:
  /// The type of its arrays: float, or double for double.
  using Array = typename core::PassState<Scalar>::Array;

  /// The mean that the forward pass subtracted, rounded, and 1 / sqrt(var + eps): as the layers have them.
  const Array& mean() const { return state_.mean; }
  const Array& rstd() const { return state_.rstd; }

 private:
  friend struct core::PassAccess;
  core::FunctionState<Scalar> state_;
};

namespace core {

struct PassAccess {
  template <class Scalar>
  static FunctionState<Scalar>& state(Pass<Scalar>& pass) {
    return pass.state_;
  }
};

template <class T>
struct IsPass : std::false_type {};
template <class Scalar>
struct IsPass<Pass<Scalar>> : std::true_type {};
template <class T>
constexpr bool kIsPass = IsPass<std::remove_cv_t<std::remove_reference_t<T>>>::value;

}  // namespace core
}  // namespace tensornorm
