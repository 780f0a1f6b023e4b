// Protocol: the calls that every layer takes, checked as far as the compiler sees.
#pragma once

#include "tensornorm/checked_call.hpp"
#include "tensornorm/core/thread/device.hpp"

namespace tensornorm {

// Derived provides, for arguments without a fault that the compiler sees,
//   void run_forward(device, x, y)
//   void run_infer(device, x, y) const
//   void run_backward(device, x, dy, dx)
template <class Derived, class Engine>
class Protocol : public Engine {
 public:
  using typename Engine::Array;
  using typename Engine::Param;
  using Scalar = typename Engine::Scalar;

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
    forward(core::CallingThread(), x, y);
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
    return (*this)(core::CallingThread(), x);
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
    infer(core::CallingThread(), x, y);
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
    backward(core::CallingThread(), x, dy, dx);
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

 protected:
  using Shape = core::Shape;

  using Engine::Engine;

 private:
  Derived& derived() { return static_cast<Derived&>(*this); }
  const Derived& derived() const { return static_cast<const Derived&>(*this); }
};

}  // namespace tensornorm
