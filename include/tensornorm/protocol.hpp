// Protocol: the calls that every layer takes, its learnable scale and shift, its mode, and the rule that a backward
// pass follows its forward pass. What the passes compute is the layer's.
#pragma once

#include <cstdint>
#include <cstring>

#include "tensornorm/checked_call.hpp"
#include "tensornorm/core/kernel/packet.hpp"

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

}  // namespace core

// Derived provides, for arguments without a fault that the compiler sees,
//   void run_forward(device, x, y)
//   void run_infer(device, x, y) const
//   void run_backward(device, x, dy, dx)
// and may provide
//   void mode_changed()  called after train and eval
template <class Derived, class Scalar_>
class Protocol {
 public:
  using Scalar = Scalar_;
  using Param = ParamOf<Scalar>;
  using Array = Eigen::Array<Param, Eigen::Dynamic, 1>;

  static_assert(std::is_same<Scalar, float>::value || std::is_same<Scalar, double>::value ||
                    std::is_same<Scalar, Eigen::half>::value || std::is_same<Scalar, Eigen::bfloat16>::value,
                "tensornorm: a layer's scalar is float, double, Eigen::half or Eigen::bfloat16");

  Protocol(const Protocol&) = default;
  Protocol(Protocol&&) noexcept = default;
  Protocol& operator=(Protocol&&) noexcept = default;
  /// Throws std::bad_alloc with the layer as it was.
  // Eigen's assignment gives memory away before it has other: all of Derived becomes a copy made before. Derived's own
  // assignment then goes on with its members, which have the right sizes.
  Protocol& operator=(const Protocol& other) {
    derived() = Derived(other.derived());
    return *this;
  }

  /// y of x by the layer's formula in the current mode, into y.
  /// x: a tensor, map, matrix or expression, or a class derived from one (expressions, index lists and blocks with gaps
  /// are copied once); y: a tensor of x's rank and layout with memory of its own, resized when it owns its memory and
  /// has other extents; it may be x itself, never overlap it otherwise. Throws std::invalid_argument when shapes or
  /// parameter sizes disagree, and std::bad_alloc, with the layer and y as they were. Allocates nothing from the second
  /// call on with one shape and one device, but for the decompositions of Whitening. Takes less than 32 KB of the
  /// stack. Not for two threads at once: see infer.
  template <class X, class Y>
  void forward(const X& x, Y&& y) {
    forward(Eigen::DefaultDevice(), x, y);
  }
  /// The same on an Eigen::DefaultDevice or Eigen::ThreadPoolDevice: the same bits on any number of threads.
  template <class Device, class X, class Y>
  void forward(const Device& device, const X& x, Y&& y) {
    if constexpr (core::accepted<core::fault_of_call<Scalar, Device, Y, X>(), Device, X, Y>())
      derived().run_forward(device, x, y);
  }

  /// forward into a new tensor of x's rank, layout and index type (for a matrix or array, its plain type).
  template <class X>
  core::Result<Scalar, X> operator()(const X& x) {
    return (*this)(Eigen::DefaultDevice(), x);
  }
  template <class Device, class X>
  core::Result<Scalar, X> operator()(const Device& device, const X& x) {
    core::Result<Scalar, X> y;
    forward(device, x, y);
    return y;
  }

  /// y as forward in eval mode gives it, without changing the layer: one layer may serve many threads at once. Takes
  /// and throws what forward does. Never allocates or locks on one thread, but to copy an expression or a block with
  /// gaps, to resize y, and for Whitening in place with more than 512 channels to a group. On a pool it also allocates
  /// its threads' memory, which the calling thread keeps for its next calls. Takes less than 16 KB of the stack.
  template <class X, class Y>
  void infer(const X& x, Y&& y) const {
    infer(Eigen::DefaultDevice(), x, y);
  }
  template <class Device, class X, class Y>
  void infer(const Device& device, const X& x, Y&& y) const {
    if constexpr (core::accepted<core::fault_of_call<Scalar, Device, Y, X>(), Device, X, Y>())
      derived().run_infer(device, x, y);
  }
  /// infer into a new tensor, as operator() makes one.
  template <class X>
  core::Result<Scalar, X> infer(const X& x) const {
    core::Result<Scalar, X> y;
    infer(x, y);
    return y;
  }

  /// dx, and the gradients of the parameters (overwritten, not accumulated), from x and the gradient dy of y, by the
  /// layer's formula; in eval mode running statistics are constants.
  /// Comes after a forward pass of the same mode, with the x that pass read or a copy of it (as after a forward in
  /// place): another x is an error where sixteen elements spread over it tell; x and dy as forward takes x, dx as it
  /// takes y: it may be x or dy. An empty x gives dgamma = dbeta = 0. Throws as forward does, and without such a pass.
  /// Allocates nothing once warm, but for Whitening's small matrices. One thread at a time.
  template <class X, class DY, class DX>
  void backward(const X& x, const DY& dy, DX&& dx) {
    backward(Eigen::DefaultDevice(), x, dy, dx);
  }
  template <class Device, class X, class DY, class DX>
  void backward(const Device& device, const X& x, const DY& dy, DX&& dx) {
    if constexpr (core::accepted<core::fault_of_call<Scalar, Device, DX, X, DY>(), Device, X, DY, DX>())
      derived().run_backward(device, x, dy, dx);
  }

  /// Two tensors are no call of backward.
  template <class X, class DY>
  void backward(const X&, const DY&) {
    core::refuse<core::Fault::kNoDx, X, DY>();
  }

  /// Batch statistics, or running statistics where the layer tracks them.
  void train() { set_training(true); }
  void eval() { set_training(false); }
  bool training() const { return training_; }

  /// The learnable scale; of size 0 without affine.
  Array& gamma() { return gamma_; }
  const Array& gamma() const { return gamma_; }
  /// The gradient of gamma from the last backward.
  Array& dgamma() { return dgamma_; }
  const Array& dgamma() const { return dgamma_; }

 protected:
  using Shape = core::Shape;

  Protocol(double eps, Index gamma_size, Index beta_size)
      : gamma_(Array::Ones(gamma_size)), dgamma_(Array::Zero(gamma_size)), beta_(Array::Zero(beta_size)),
        dbeta_(Array::Zero(beta_size)), gamma_size_(gamma_size), beta_size_(beta_size), eps_(eps) {
    core::check_that(std::isfinite(eps) && eps >= 0, "eps is ", eps, " but must be finite and not negative");
  }

  // The forward pass that backward follows.
  struct Pass {
    Shape shape;
    std::uint64_t fingerprint = 0;  // of x
    bool done = false, training = false, batch = false;
  };

  void mode_changed() {}

  template <class Values>
  static void check_size(const Values& values, Index size, const char* name) {
    core::check_that(values.size() == size, name, " has ", values.size(), " values but the layer needs ", size);
  }
  void check_affine() const {
    check_size(gamma_, gamma_size_, "gamma");
    check_size(beta_, beta_size_, "beta");
    check_size(dgamma_, gamma_size_, "dgamma");
    check_size(dbeta_, beta_size_, "dbeta");
  }
  void passed(const Shape& x, std::uint64_t fingerprint, bool batch) {
    pass_.shape = x;
    pass_.fingerprint = fingerprint;
    pass_.done = true;
    pass_.training = training_;
    pass_.batch = batch;
  }
  void check_pass(const Shape& x, const Shape& dy) const;
  void check_same_x(const Shape& x, const Scalar* data) const;

  Array gamma_, dgamma_, beta_, dbeta_;
  Index gamma_size_, beta_size_;
  double eps_;
  bool training_ = true;
  Pass pass_;

 private:
  void set_training(bool training) {
    training_ = training;
    derived().mode_changed();
  }

  Derived& derived() { return static_cast<Derived&>(*this); }
  const Derived& derived() const { return static_cast<const Derived&>(*this); }
};

template <class Derived, class Scalar>
void Protocol<Derived, Scalar>::check_pass(const Shape& x, const Shape& dy) const {
  using core::check_that;
  check_that(pass_.done, "backward follows a forward pass, but there was none");
  check_that(core::same_extents(dy, x), "dy has extents ", dy, " but x has ", x);
  check_that(core::same_extents(x, pass_.shape), "x has extents ", x, " but the forward pass had ", pass_.shape);
  check_that(x == pass_.shape, "x of extents ", x,
             " has another layout than in the forward pass: its first axis has stride ", x.stride(0), ", then ",
             pass_.shape.stride(0));
  check_that(training_ == pass_.training, "backward in ", training_ ? "train" : "eval", " mode (", training_,
             ") follows a forward pass in ", pass_.training ? "train" : "eval", " mode (", pass_.training, ")");
}

template <class Derived, class Scalar>
void Protocol<Derived, Scalar>::check_same_x(const Shape& x, const Scalar* data) const {
  const std::uint64_t fingerprint = core::fingerprint(data, x.count());
  core::check_that(fingerprint == pass_.fingerprint, "x of extents ", x,
                   " is not what the last forward pass read: some of its elements differ (their sums are ", fingerprint,
                   " and ", pass_.fingerprint, "). After a forward in place backward needs a copy of the x before it");
}

}  // namespace tensornorm
