// Protocol: the calls that every layer takes, checked as far as the compiler sees.
#pragma once

#include "tensornorm/checked_call.hpp"
#include "tensornorm/core/thread/device.hpp"
#include "tensornorm/tensor_view.hpp"

namespace tensornorm {

// From tensors of any type to an engine, which knows pointers and shapes. Derived or Engine provides
//   Index work(shape) const          what a call costs, in elements of a layer that scales
//   void run_forward(runner, x, shape, y)
//   void run_infer(runner, x, shape, y) const
//   void run_backward(runner, x, shape, dy, shape of dy, dx)
template <class Derived, class Engine>
class Protocol : public Engine {
 public:
  using typename Engine::Array;
  using typename Engine::Param;
  using Scalar = typename Engine::Scalar;

  static_assert(std::is_same<Scalar, float>::value || std::is_same<Scalar, double>::value ||
                    std::is_same<Scalar, Eigen::half>::value || std::is_same<Scalar, Eigen::bfloat16>::value,
                "tensornorm: a layer's scalar is float, double, Eigen::half or Eigen::bfloat16");

  /// A copy has the parameters, the statistics and the mode. Throws std::bad_alloc.
  Protocol(const Protocol&) = default;
  /// The layer moved from can only be assigned to or destroyed.
  Protocol(Protocol&&) noexcept = default;
  /// The layer moved from can only be assigned to or destroyed.
  Protocol& operator=(Protocol&&) noexcept = default;
  /// As the copy constructor. Throws std::bad_alloc with the layer as it was.
  // Eigen's assignment gives memory away before it has other: all of Derived becomes a copy made before. Derived's own
  // assignment then goes on with its members, which have the right sizes.
  Protocol& operator=(const Protocol& other) {
    derived() = Derived(other.derived());
    return *this;
  }

  /// Computes y from x by the layer's formula, in the current mode, on the calling thread.
  ///
  /// x is a tensor, map, matrix, array, block or expression of Eigen, of the layer's Scalar and of rank 1 to 15. A
  /// matrix has rank 2 and its rows are axis 0. Expressions and blocks with gaps are copied once. y has the rank and
  /// layout of x and memory of its own without gaps; it is resized if it has other extents and owns its memory. y may
  /// be x. No other overlap of y and x is allowed.
  ///
  /// Errors: std::invalid_argument when x does not have the layer's shape or too few values for statistics, when an
  /// array of the layer was assigned another size, or when y cannot have the extents of x or overlaps x;
  /// std::bad_alloc. The layer and y are then as before the call. An error that the compiler can see is a
  /// static_assert.
  ///
  /// Edges: an empty x gives an empty y. The statistics of the last forward are then empty too; running statistics and
  /// their counter stay.
  ///
  /// Memory: the second and later calls with one shape allocate nothing, but to copy x, to resize y, and for the
  /// matrices of Whitening. With optimization a call takes less than 16 KB of the stack. Threads: one at a time may
  /// call forward, and none may call another member of the layer meanwhile.
  template <class X, class Y>
  void forward(const X& x, Y&& y) {
    forward(core::CallingThread(), x, y);
  }
  /// The same on a device: an Eigen::DefaultDevice, or an Eigen::ThreadPoolDevice, whose threads then help the calling
  /// one if x is large. The bits are the same on any number of threads. Eigen::ThreadPoolDevice needs
  /// EIGEN_USE_THREADS, defined before the first include. Handing work to a pool may allocate.
  template <class Device, class X, class Y>
  void forward(const Device& device, const X& x, Y&& y) {
    if constexpr (core::accepted<core::fault_of_call<Scalar, Device, Y, X>(), Device, X, Y>()) {
      const core::Input<X> in(x);
      core::Output<Y> out(y, "y");
      auto runner = core::runner_on(device, this->work(in.shape()));
      derived().run_forward(runner, in.data(), in.shape(), out);
    }
  }

  /// Calls forward with a new y and returns it: a tensor of the rank, layout and index type of x; for a matrix or
  /// array, the plain type of x.
  template <class X>
  core::Result<Scalar, X> operator()(const X& x) {
    return (*this)(core::CallingThread(), x);
  }
  /// The same on a device, as forward.
  template <class Device, class X>
  core::Result<Scalar, X> operator()(const Device& device, const X& x) {
    core::Result<Scalar, X> y;
    forward(device, x, y);
    return y;
  }

  /// Computes y as forward does in eval mode, and does not change the layer. Arguments and errors are those of forward.
  ///
  /// Threads: many may call infer on one layer at once, while none changes the layer.
  ///
  /// Memory: nothing is allocated and no lock is taken, from the first call on, but to copy an expression or a block
  /// with gaps, to resize y, and for Whitening in place with more than 512 channels in a group. With optimization a
  /// call takes less than 8 KB of the stack; less than 12 KB if more than four threads call infer on one layer at
  /// once.
  template <class X, class Y>
  void infer(const X& x, Y&& y) const {
    infer(core::CallingThread(), x, y);
  }
  /// The same on a device, as forward. On a pool, memory for its threads is allocated, which the calling thread keeps
  /// for its next calls.
  template <class Device, class X, class Y>
  void infer(const Device& device, const X& x, Y&& y) const {
    if constexpr (core::accepted<core::fault_of_call<Scalar, Device, Y, X>(), Device, X, Y>()) {
      const core::Input<X> in(x);
      core::Output<Y> out(y, "y");
      auto runner = core::runner_on(device, this->work(in.shape()));
      derived().run_infer(runner, in.data(), in.shape(), out);
    }
  }
  /// Calls infer with a new y and returns it. The type of y is that of operator().
  template <class X>
  core::Result<Scalar, X> infer(const X& x) const {
    core::Result<Scalar, X> y;
    infer(x, y);
    return y;
  }

  /// Computes the gradients of x, gamma and beta from the gradient dy of y: dx, dgamma() and dbeta(). They are
  /// overwritten, not accumulated. Running statistics that the last forward used are constants.
  ///
  /// The last forward must have been in the same mode and with the same x. If it was in place, x is a copy made before
  /// it. x and dy are as x of forward, dx is as y of forward. dx may be x or dy. No other overlap is allowed.
  ///
  /// Errors: as forward; and std::invalid_argument when there was no such forward, or when x or dy has another shape
  /// than its x. Another x of the same shape is found only if one of sixteen elements spread over it differs.
  ///
  /// Edges: an empty x gives an empty dx, and dgamma and dbeta of 0. Memory and threads: as forward.
  template <class X, class DY, class DX>
  void backward(const X& x, const DY& dy, DX&& dx) {
    backward(core::CallingThread(), x, dy, dx);
  }
  /// The same on a device, as forward.
  template <class Device, class X, class DY, class DX>
  void backward(const Device& device, const X& x, const DY& dy, DX&& dx) {
    if constexpr (core::accepted<core::fault_of_call<Scalar, Device, DX, X, DY>(), Device, X, DY, DX>()) {
      const core::Input<X> in(x);
      const core::Input<DY> gradient(dy);
      core::Output<DX> out(dx, "dx");
      auto runner = core::runner_on(device, this->work(in.shape()));
      derived().run_backward(runner, in.data(), in.shape(), gradient.data(), gradient.shape(), &out);
    }
  }

  // Two tensors are no call of backward.
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
