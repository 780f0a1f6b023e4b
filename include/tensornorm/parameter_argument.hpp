// Arguments of functions besides x and y: parameters that are read, gradients that are written, and what is absent.
#pragma once

#include <type_traits>
#include <vector>

#include "tensornorm/arguments.hpp"
#include "tensornorm/core/pass/function_axes.hpp"
#include "tensornorm/core/staging.hpp"
#include "tensornorm/protocol.hpp"

namespace tensornorm {

/// 1 + scale as a parameter, added in the parameter's precision; made by plus_one().
template <class G>
struct PlusOne {
  const G& scale;  ///< gamma less 1.
};
/// For models whose gamma is stored less 1 (Gemma, adaLN): gamma is 1 + scale. It refers to scale.
template <class G>
PlusOne<G> plus_one(const G& scale) {
  return {scale};
}

namespace core {

template <class G>
struct ScaleOf {
  using Type = G;
  static constexpr bool is_plus_one = false;
  static const G& of(const G& g) { return g; }
};
template <class G>
struct ScaleOf<PlusOne<G>> {
  using Type = G;
  static constexpr bool is_plus_one = true;
  static const G& of(const PlusOne<G>& g) { return g.scale; }
};

// Whether a parameter has the 16 bits of Scalar in the place of Param.
template <class Scalar, class X>
constexpr bool kHas16Bits =
    !std::is_same<Scalar, ParamOf<Scalar>>::value && std::is_same<typename Traits<Bare<X>>::Scalar, Scalar>::value;

template <class Scalar, class X>
constexpr Fault fault_of_values() {
  return fault_of_argument<std::conditional_t<kHas16Bits<Scalar, X>, Scalar, ParamOf<Scalar>>, X>();
}

// What is wrong with a parameter that is read, or absent.
template <class Scalar, class G>
constexpr Fault fault_of_parameter() {
  return kIsNone<G> ? Fault::kNoFault : fault_of_values<Scalar, typename ScaleOf<G>::Type>();
}

// What is wrong with one that is written, or not wanted; for an argument as a forwarding reference has it.
template <class Scalar, class DG>
constexpr Fault fault_of_written() {
  using Type = typename Added<std::remove_reference_t<DG>>::Type;
  if constexpr (!kIsNone<DG>) {
    constexpr Fault fault = fault_of_values<Scalar, Bare<Type>>();
    if constexpr (fault == Fault::kNoFault) return fault_of_output<Type>();
    return fault;
  }
  return Fault::kNoFault;
}

// Parameters that are read: where they lie, or a copy where they have gaps or 16 bits.
template <class Scalar, class G>
class ParamInput {
  using Param = ParamOf<Scalar>;
  using Scale = typename ScaleOf<G>::Type;
  static constexpr bool kMayLieInPlace = !ScaleOf<G>::is_plus_one && !kHas16Bits<Scalar, Scale>;

 public:
  static constexpr bool is_given = true;

  // A copy has the memory of a pass, if it is given.
  ParamInput(const G& g, const char* name, std::vector<Param>* memory = nullptr)
      : in_(ScaleOf<G>::of(g)), shape_{name, in_.shape(), kIsMatrix<Scale> && is_vector_type()} {
    if constexpr (kMayLieInPlace) {
      data_ = in_.data();
      if (lies_alike(in_.shape(), in_.shape())) return;
    }
    shape_.shape = packed_shape(in_.shape());
    std::vector<Param>& copy = memory == nullptr ? copy_ : *memory;
    copy.resize(static_cast<std::size_t>(shape_.shape.count()));
    copy_strided(in_.data(), in_.shape(), copy.data(), shape_.shape);
    if (ScaleOf<G>::is_plus_one) {
      for (Param& value : copy) value += Param(1);
    }
    data_ = copy.data();
  }
  ParamInput(const ParamInput&) = delete;
  ParamInput& operator=(const ParamInput&) = delete;

  const Param* data() const { return data_; }
  const ParamShape& shape() const { return shape_; }

 private:
  static constexpr bool is_vector_type() {
    if constexpr (kIsMatrix<Scale>) return EigenType<Scale>::IsVectorAtCompileTime;
    return false;
  }

  Input<Scale> in_;
  ParamShape shape_;
  const Param* data_ = nullptr;
  std::vector<Param> copy_;
};

template <class Scalar>
class ParamInput<Scalar, None> {
  using Param = ParamOf<Scalar>;

 public:
  static constexpr bool is_given = false;

  ParamInput(None, const char*, std::vector<Param>* = nullptr) {}
  const Param* data() const { return nullptr; }
};

// The extents that a gradient of these parameters takes, in the order of their memory. The gradient of a vector is any
// vector.
template <class DG>
Shape gradient_shape(const DG& gradient, const Shape& params) {
  using Type = EigenType<DG>;
  int longer = 0;
  for (int d = 0; d < params.rank; ++d) longer += params.extent(d) == 1 ? 0 : 1;
  if (longer > 1) return params;
  Shape result;
  result.rank = 1;
  result.extents[0] = params.count();
  if constexpr (kIsMatrix<DG>) {
    result.rank = 2;
    const bool is_row = Type::RowsAtCompileTime == 1 && Type::ColsAtCompileTime != 1;
    result.extents[is_row ? 0 : 1] = 1;
    result.extents[is_row ? 1 : 0] = params.count();
    if (!Type::IsVectorAtCompileTime && params.rank == 2) return params;
  } else if (extents_of(core::as_eigen(gradient)).rank != 1) {
    return params;
  }
  return dense_shape(result, true);
}

// A gradient that is written, or added to: in its memory where that lies as the parameters do and is of Param, else by
// way of a copy.
template <class Scalar, class DG>
class ParamOutput {
  using Param = ParamOf<Scalar>;
  using Type = typename Added<DG>::Type;
  static constexpr bool kIsShort = kHas16Bits<Scalar, Type>;

 public:
  static constexpr bool is_given = true;

  // A copy has the memory of a pass.
  ParamOutput(std::remove_reference_t<DG>& gradient, const char* name, std::vector<Param>& memory)
      : gradient_(Added<DG>::of(gradient)), out_(gradient_, name), values_(memory) {}

  // @throws std::invalid_argument where it cannot have the parameters' extents
  void take_shape(const Shape& params) {
    layout_ = gradient_shape(gradient_, params);
    out_.take_shape(layout_);
    if (Added<DG>::adds) out_.check_fits();
    is_copied_ = kIsShort || Added<DG>::adds || out_.shape() != layout_;
    if (is_copied_) values_.resize(static_cast<std::size_t>(params.count()));
  }
  // Where it is to keep what it holds.
  void check_fits() const { out_.check_fits(); }
  Param* prepare() {
    to_ = out_.prepare();
    if constexpr (!kIsShort) {
      if (!is_copied_) return to_;
    }
    return values_.data();
  }
  // The same, with the values that it holds.
  Param* prepare_loaded() {
    Param* const result = prepare();
    if (is_copied_) copy_strided(to_, out_.shape(), values_.data(), layout_);
    return result;
  }
  void finish() {
    if (!is_copied_) return;
    Added<DG>::adds ? add_strided(values_.data(), layout_, to_, out_.shape())
                    : copy_strided(values_.data(), layout_, to_, out_.shape());
  }

 private:
  Type& gradient_;
  Output<Type> out_;
  Shape layout_;  // its extents, in the order of the parameters' memory
  bool is_copied_ = false;
  std::vector<Param>& values_;
  std::conditional_t<kIsShort, Scalar, Param>* to_ = nullptr;
};

template <class Scalar>
class ParamOutput<Scalar, None> {
  using Param = ParamOf<Scalar>;

 public:
  static constexpr bool is_given = false;

  ParamOutput(const None&, const char*, std::vector<Param>&) {}
  void take_shape(const Shape&) {}
  void check_fits() const {}
  Param* prepare() { return nullptr; }
  Param* prepare_loaded() { return nullptr; }
  void finish() {}
};

// For an argument as a forwarding reference has it.
template <class Scalar, class DG>
using ParamOutputOf = ParamOutput<Scalar, std::conditional_t<kIsNone<DG>, None, std::remove_reference_t<DG>>>;

}  // namespace core
}  // namespace tensornorm
