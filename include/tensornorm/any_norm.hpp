// AnyNorm: a layer of any kind, for containers of mixed layers.
#pragma once

#include "tensornorm/requirements.hpp"

#include <memory>
#include <ostream>
#include <sstream>
#include <type_traits>
#include <utility>

#include "tensornorm/pass_protocol.hpp"

namespace tensornorm {

namespace core {

// What AnyNorm asks of the layer that it holds. A pass or a sum is null where there is none.
template <class Scalar>
class AnyHeldNorm {
 public:
  using Array = Eigen::Array<ParamOf<Scalar>, Eigen::Dynamic, 1>;
  using State = PassState<Scalar>;
  using Sum = ResidualArguments<Scalar>;

  AnyHeldNorm() = default;
  AnyHeldNorm(const AnyHeldNorm&) = delete;
  AnyHeldNorm& operator=(const AnyHeldNorm&) = delete;
  virtual ~AnyHeldNorm() = default;

  virtual std::unique_ptr<AnyHeldNorm> copy() const = 0;
  virtual Index work(const Shape& x) const = 0;
  virtual void forward(Runner& runner, const Scalar* x, const Shape& shape, Target<Scalar>& y, State* pass,
                       Sum* sum) = 0;
  virtual void infer(Runner& runner, const Scalar* x, const Shape& shape, Target<Scalar>& y, Sum* sum) const = 0;
  virtual void backward(Runner& runner, const Scalar* x, const Shape& shape, const OutputGradient<Scalar>& dy,
                        Target<Scalar>* dx, State* pass) = 0;
  virtual void run_check(const Shape& x) const = 0;
  virtual void train(bool is_training) = 0;
  virtual bool training() const = 0;
  virtual NamedParameters<Array> parameters() = 0;
  virtual void accumulate_gradients(bool accumulates) = 0;
  virtual void zero_grad() = 0;
  virtual void freeze(bool is_frozen) = 0;
  virtual void write(std::ostream& out) const = 0;
  // The layer, if it is of the type that has this mark; else null.
  virtual void* layer_of(const void* mark) = 0;
};

template <class Norm>
struct NormMark {
  static constexpr char kMark = 0;
};

// Whether a layer has the calls with a Pass and of a kept sum.
template <class Derived, class Engine>
std::true_type has_passes(const PassProtocol<Derived, Engine>*);
std::false_type has_passes(const void*);

template <class Scalar, class Norm>
class HeldNorm final : public AnyHeldNorm<Scalar> {
  using Base = AnyHeldNorm<Scalar>;
  using typename Base::State, typename Base::Sum;
  static constexpr bool kHasPasses = decltype(core::has_passes(std::declval<const Norm*>()))::value;

 public:
  explicit HeldNorm(Norm norm) : norm_(std::move(norm)) {}

  std::unique_ptr<Base> copy() const override { return std::make_unique<HeldNorm>(norm_); }
  Index work(const Shape& x) const override { return norm_.work_of(x); }
  void forward(Runner& runner, const Scalar* x, const Shape& shape, Target<Scalar>& y, State* pass, Sum* sum) override {
    if constexpr (kHasPasses) {
      norm_.call_forward(runner, x, shape, y, pass, sum);
    } else {
      refuse_passes(pass, sum);
      norm_.call_forward(runner, x, shape, y);
    }
  }
  void infer(Runner& runner, const Scalar* x, const Shape& shape, Target<Scalar>& y, Sum* sum) const override {
    if constexpr (kHasPasses) {
      norm_.call_infer(runner, x, shape, y, sum);
    } else {
      refuse_passes(nullptr, sum);
      norm_.call_infer(runner, x, shape, y);
    }
  }
  void backward(Runner& runner, const Scalar* x, const Shape& shape, const OutputGradient<Scalar>& dy,
                Target<Scalar>* dx, State* pass) override {
    if constexpr (kHasPasses) {
      norm_.call_backward(runner, x, shape, dy, dx, pass);
    } else {
      refuse_passes(pass, nullptr);
      norm_.call_backward(runner, x, shape, dy, dx);
    }
  }
  void run_check(const Shape& x) const override { norm_.call_check(x); }
  void train(bool is_training) override { norm_.train(is_training); }
  bool training() const override { return norm_.training(); }
  NamedParameters<typename Base::Array> parameters() override { return norm_.parameters(); }
  void accumulate_gradients(bool accumulates) override { norm_.accumulate_gradients(accumulates); }
  void zero_grad() override { norm_.zero_grad(); }
  void freeze(bool is_frozen) override { norm_.freeze(is_frozen); }
  void write(std::ostream& out) const override { out << norm_; }
  void* layer_of(const void* mark) override { return mark == &NormMark<Norm>::kMark ? &norm_ : nullptr; }

 private:
  void refuse_passes(const State* pass, const Sum* sum) const {
    if (pass == nullptr && sum == nullptr) return;
    std::ostringstream name;
    write(name);
    fail("the layer held, ", name.str().c_str(), ", takes ", sum == nullptr ? "no Pass" : "no add(): give the sum");
  }

  Norm norm_;
};

// The layer that AnyNorm holds, as an engine of Protocol's.
template <class Scalar_>
class AnyEngine {
  using Held = AnyHeldNorm<Scalar_>;

 public:
  /// The type of the elements of x and y.
  using Scalar = Scalar_;
  /// The type of parameters.
  using Param = ParamOf<Scalar>;
  /// The type of an array of parameters.
  using Array = typename Held::Array;

  /// Sets train mode of the layer.
  void train() { held().train(true); }
  /// Sets eval mode of the layer.
  void eval() { held().train(false); }
  /// Whether the mode is train mode.
  bool training() const { return held().training(); }
  /// gamma and beta with their gradients, as far as the layer has them.
  NamedParameters<Array> parameters() { return held().parameters(); }
  /// Whether backward adds to the gradients of parameters.
  void accumulate_gradients(bool accumulates) { held().accumulate_gradients(accumulates); }
  /// Sets the gradients of the parameters to 0.
  void zero_grad() { held().zero_grad(); }
  /// Whether backward leaves the gradients of parameters as they are.
  void freeze(bool is_frozen = true) { held().freeze(is_frozen); }

  AnyEngine& operator=(const AnyEngine&) = delete;

 protected:
  AnyEngine() = default;
  explicit AnyEngine(std::unique_ptr<Held> held) : held_(std::move(held)) {}
  AnyEngine(const AnyEngine& other) : held_(other.held_ == nullptr ? nullptr : other.held_->copy()) {}
  AnyEngine(AnyEngine&&) noexcept = default;
  AnyEngine& operator=(AnyEngine&&) noexcept = default;
  ~AnyEngine() = default;

  bool is_empty() const { return held_ == nullptr; }
  // @throws std::invalid_argument when there is none
  Held& held() const {
    check_that(held_ != nullptr, "a call of an AnyNorm that holds no layer");
    return *held_;
  }

  static constexpr bool kRepeats = false;
  Index work(const Shape& x) const { return held().work(x); }
  void run_forward(Runner& runner, const Scalar* x, const Shape& shape, Target<Scalar>& y,
                   typename Held::State* pass = nullptr, typename Held::Sum* sum = nullptr) {
    held().forward(runner, x, shape, y, pass, sum);
  }
  void run_infer(Runner& runner, const Scalar* x, const Shape& shape, Target<Scalar>& y,
                 typename Held::Sum* sum = nullptr) const {
    static_cast<const Held&>(held()).infer(runner, x, shape, y, sum);
  }
  void run_check(const Shape& shape) const { held().run_check(shape); }
  void run_backward(Runner& runner, const Scalar* x, const Shape& shape, const OutputGradient<Scalar>& dy,
                    Target<Scalar>* dx, typename Held::State* pass = nullptr) {
    held().backward(runner, x, shape, dy, dx, pass);
  }

 private:
  std::unique_ptr<Held> held_;
};

// Whether a type is a layer of this scalar.
template <class Derived, class Engine>
std::true_type is_layer(const Protocol<Derived, Engine>*);
std::false_type is_layer(const void*);
template <class Norm, class Scalar, class = void>
struct IsLayerOf : std::false_type {};
template <class Norm, class Scalar>
struct IsLayerOf<Norm, Scalar, std::enable_if_t<std::is_same<typename Norm::Scalar, Scalar>::value>>
    : std::integral_constant<bool, decltype(core::is_layer(std::declval<const Norm*>()))::value> {};

}  // namespace core

/// A layer of any kind. forward, infer and backward are those of the layer, with a Pass, a kept sum and post-ops too:
/// the same bits, errors and devices. A Pass or add() where the layer has no such call, as Whitening, throws
/// std::invalid_argument. target() gives the layer itself, for what else it has.
///
///     std::vector<AnyNorm<float>> norms;
///     norms.push_back(BatchNorm<float>(64));
///     norms.push_back(LayerNorm<float>(64));
///     for (AnyNorm<float>& norm : norms) norm.forward(view(x, {32, 64}), view(y, {32, 64}));
///
/// A copy has a copy of the layer. One that holds none, or was moved from, throws std::invalid_argument where it is
/// called.
template <class Scalar>
class AnyNorm : public PassProtocol<AnyNorm<Scalar>, core::AnyEngine<Scalar>> {
  using Base = PassProtocol<AnyNorm<Scalar>, core::AnyEngine<Scalar>>;
  friend Protocol<AnyNorm<Scalar>, core::AnyEngine<Scalar>>;

 public:
  /// Holds no layer.
  AnyNorm() = default;
  /// Holds the layer. Throws std::bad_alloc.
  template <class Norm, class = std::enable_if_t<core::IsLayerOf<Norm, Scalar>::value>>
  AnyNorm(Norm norm) : Base(held_norm(std::move(norm))) {}  // NOLINT(google-explicit-constructor): any layer is one

  using core::AnyEngine<Scalar>::parameters;

  /// The layer, if it is of this type; else null: `any.target<BatchNorm<float>>()`.
  template <class Norm>
  Norm* target() {
    return this->is_empty() ? nullptr : static_cast<Norm*>(this->held().layer_of(&core::NormMark<Norm>::kMark));
  }
  /// The same of a const one.
  template <class Norm>
  const Norm* target() const {
    return const_cast<AnyNorm*>(this)->template target<Norm>();
  }

 private:
  template <class Norm>
  static std::unique_ptr<core::AnyHeldNorm<Scalar>> held_norm(Norm norm) {
    return std::make_unique<core::HeldNorm<Scalar, Norm>>(std::move(norm));
  }

  void print(std::ostream& out) const { this->is_empty() ? void(out << "AnyNorm()") : this->held().write(out); }
};

}  // namespace tensornorm
