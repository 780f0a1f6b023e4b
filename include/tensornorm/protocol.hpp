// Protocol: the calls that every layer takes, checked as far as the compiler sees.
#pragma once

#include <ostream>
#include <vector>

#include "tensornorm/arguments.hpp"
#include "tensornorm/checked_call.hpp"
#include "tensornorm/checked_infer.hpp"
#include "tensornorm/core/pass/add_gradient.hpp"
#include "tensornorm/core/staging.hpp"
#include "tensornorm/core/thread/device.hpp"
#include "tensornorm/named_parameters.hpp"
#include "tensornorm/pass.hpp"
#include "tensornorm/post_op_arguments.hpp"
#include "tensornorm/repeated_call.hpp"
#include "tensornorm/tensor_view.hpp"
#include "tensornorm/view.hpp"

namespace tensornorm {

namespace core {

template <class Scalar, class Norm>
class HeldNorm;

// Whether a call with these arguments has a device first, and neither a pass nor a kept sum.
template <class Device, class X, class Y>
constexpr bool kIsPlainCall = !kIsPass<Y> && !kIsKeptSum<Device> && !kIsKeptSum<X>;

}  // namespace core

// From tensors of any type to an engine, which knows pointers and shapes. Derived or Engine provides
//   Index work(shape) const          what a call costs, in elements of a layer that scales
//   void run_forward(runner, x, shape, y)
//   void run_infer(runner, x, shape, y) const
//   void run_check(shape) const      throws where run_infer would refuse such an x
//   void run_backward(runner, x, shape, dy, dx)
//   kRepeats                         whether it has repeated_shape, repeat_forward, repeat_infer and repeat_backward
template <class Derived, class Engine>
class Protocol : public Engine {
 public:
  using typename Engine::Array;
  using typename Engine::Param;
  using Scalar = typename Engine::Scalar;

  static_assert(core::kIsScalar<Scalar>,
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
  /// matrix has rank 2 and its rows are axis 0. It may be raw memory as view() makes a tensor of. y has the rank of x
  /// and memory of its own; it is resized if it has other extents and owns its memory, through transpose() too. x and y
  /// may each have any strides: blocks, transposes, other layouts. y may be x. No element of y may lie where another
  /// one of x does.
  ///
  /// Expressions are evaluated once. Tensors are copied where no axis has neighbouring elements in both.
  ///
  /// Errors: std::invalid_argument when x does not have the layer's shape or too few values for statistics, when an
  /// array of the layer was assigned another size, or when y cannot have the extents of x or overlaps x;
  /// std::bad_alloc. The layer and y are then as before the call. An error that the compiler can see is a
  /// static_assert.
  ///
  /// Edges: an empty x gives an empty y. The statistics of the last forward are then empty too; running statistics and
  /// their counter stay.
  ///
  /// Memory: the second and later calls with one shape allocate nothing, but to evaluate an expression, to copy the
  /// z of a post-op, to resize y, and for the matrices of Whitening. With optimization a call takes less than 16 KB of
  /// the stack. Threads: one at a time may call forward, and none may call another member of the layer meanwhile.
  template <class X, class Y>
  void forward(const X& x, Y&& y) {
    forward(core::CallingThread(), x, y);
  }
  /// The same on a device: an Eigen::DefaultDevice, or an Eigen::ThreadPoolDevice, whose threads then help the calling
  /// one if x is large. The bits are the same on any number of threads. Eigen::ThreadPoolDevice needs
  /// EIGEN_USE_THREADS, defined before the first include. Handing work to a pool may allocate.
  template <class Device, class X, class Y, class = std::enable_if_t<core::kIsPlainCall<Device, X, Y>>>
  void forward(const Device& device, const X& x, Y&& y) {
    if constexpr (core::accepted<core::fault_of_call<Scalar, Device, Y, X>(), Device, X, Y>()) {
      if (try_repeat_forward(x, y)) return;
      const core::Input<X> in(x);
      core::OutputOf<Y> out(y, "y");
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
    if constexpr (core::kIsView<X>) core::refuse<core::Fault::kResultOfView, X>();
    core::Result<Scalar, X> y;
    forward(device, x, y);
    return y;
  }

  /// Computes y as forward does in eval mode, and does not change the layer. Arguments and errors are those of forward.
  ///
  /// Threads: many may call infer on one layer at once, while none changes the layer.
  ///
  /// Memory: nothing is allocated and no lock is taken, from the first call on, but to evaluate an expression, to copy
  /// more than 24 KB of tensors that no axis has neighbours in (Whitening: any), to resize y, and for Whitening in
  /// place with more than 512 channels in a group. With optimization a call takes less than 8 KB of the stack; less
  /// than 20 KB if several threads call infer on one layer at once.
  template <class X, class Y>
  void infer(const X& x, Y&& y) const {
    infer(core::CallingThread(), x, y);
  }
  /// The same on a device, as forward. On a pool, memory for its threads is allocated, which the calling thread keeps
  /// for its next calls.
  template <class Device, class X, class Y>
  void infer(const Device& device, const X& x, Y&& y) const {
    if constexpr (core::accepted<core::fault_of_call<Scalar, Device, Y, X>(), Device, X, Y>()) {
      if (try_repeat_infer(x, y)) return;
      const core::Input<X> in(x);
      core::OutputOf<Y> out(y, "y");
      auto runner = core::runner_on(device, this->work(in.shape()));
      derived().run_infer(runner, in.data(), in.shape(), out);
    }
  }
  /// Calls infer with a new y and returns it. The type of y is that of operator().
  template <class X>
  core::Result<Scalar, X> infer(const X& x) const {
    if constexpr (core::kIsView<X>) core::refuse<core::Fault::kResultOfView, X>();
    core::Result<Scalar, X> y;
    infer(x, y);
    return y;
  }

  /// Throws std::invalid_argument where infer of an x of these extents would, but computes nothing. Returns calls of
  /// infer that are noexcept, for a thread that must not throw:
  ///
  ///     const auto frame = norm.check({1, 64});  // once, where errors are handled
  ///     frame.infer(x, y);                       // in the callback
  ///
  /// The layer must outlive what is returned, and keep its parameters' sizes. A Normalization must have its parameters.
  CheckedInfer<Derived>(check)(std::initializer_list<Index> extents) const {
    return (check)(std::vector<Index>(extents));
  }
  /// The same with an array or a vector of extents.
  template <class Extents, class = std::enable_if_t<std::is_class<Extents>::value>>
  CheckedInfer<Derived>(check)(const Extents& extents) const {
    derived().run_check(view(static_cast<const Scalar*>(nullptr), extents).shape());
    return CheckedInfer<Derived>(derived());
  }

  /// Computes the gradients of x, gamma and beta from the gradient dy of y: dx, dgamma() and dbeta(). They are
  /// overwritten; dgamma() and dbeta() are added to after accumulate_gradients(true), and left after freeze(). Running
  /// statistics that the last forward used are constants.
  ///
  /// The last forward must have been in the same mode and with the same x. If it was in place, x is a copy made before
  /// it. x and dy are as x of forward, dx is as y of forward. dx may be x or dy. No other overlap is allowed, but with
  /// z of then_times. kNone in the place of dx spares its work; add_to(dx) is added to.
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
  template <class Device, class X, class DY, class DX, class = std::enable_if_t<!core::kIsPass<DX>>>
  void backward(const Device& device, const X& x, const DY& dy, DX&& dx) {
    if (try_repeat_backward(x, dy, dx)) return;
    run_backward_call(device, x, dy, dx, [this](auto& runner, const auto& in, const auto& gradient, auto* out) {
      derived().run_backward(runner, in.data(), in.shape(), gradient, out);
    });
  }

  /// Calls backward with a new dx and returns it. Its type is that of operator().
  template <class X, class DY>
  core::Result<Scalar, X> backward(const X& x, const DY& dy) {
    if constexpr (core::kIsView<X>) core::refuse<core::Fault::kResultOfView, X>();
    core::Result<Scalar, X> dx;
    backward(x, dy, dx);
    return dx;
  }

  using Engine::train;
  /// train() or eval().
  void train(bool is_training) { is_training ? this->train() : this->eval(); }

  /// gamma and beta with their gradients, as far as the layer has them: `for (auto& [name, value, gradient] :
  /// norm.parameters())`.
  NamedParameters<Array> parameters() {
    const int count = (this->gamma().size() > 0 ? 1 : 0) + (this->beta().size() > 0 ? 1 : 0);
    return {{"gamma", this->gamma(), this->dgamma()}, {"beta", this->beta(), this->dbeta()}, count};
  }

  /// Writes the layer as PyTorch prints it: `LayerNorm((768,), eps=1e-05, affine=True)`.
  friend std::ostream& operator<<(std::ostream& out, const Derived& layer) {
    static_cast<const Protocol&>(layer).write(out);
    return out;
  }

 protected:
  using Shape = core::Shape;

  using Engine::Engine;

  // Calls run(runner, x, dy, dx) where the compiler sees nothing wrong; a dx that is not wanted is null.
  template <class Device, class X, class DY, class DX, class Run>
  void run_backward_call(const Device& device, const X& x, const DY& dy, DX& dx, const Run& run) {
    using Type = typename core::Added<DX>::Type;
    using Gradient = std::remove_const_t<core::TensorOf<DY>>;
    constexpr core::Fault fault =
        core::first_of({core::fault_of_inputs<Scalar, Device, X, Gradient>(), core::fault_of_wanted<Scalar, Type, X>(),
                        core::fault_of_post_op<Scalar, DY, X, true>()});
    if constexpr (core::accepted<core::fault_of_backward<fault, X, Gradient>(), Device, X, Gradient, Type>()) {
      const core::Input<X> in(x);
      core::GradientInput<DY> dy_input(dy);
      const core::OutputGradient<Scalar> gradient = dy_input.get();
      auto runner = core::runner_on(device, this->work(in.shape()));
      if constexpr (core::kIsNone<DX>) {
        run(runner, in, gradient, static_cast<core::Target<Scalar>*>(nullptr));
      } else {
        core::Output<Type> out(core::Added<DX>::of(dx), "dx");
        if constexpr (core::Added<DX>::adds) out.set_add_gradient(&core::add_gradient<Scalar>);
        run(runner, in, gradient, &out);
      }
    }
  }

  // Make the call if it is small and repeats one before; else do nothing and return false. Throw what then_clip throws.
  template <class X, class Y>
  bool try_repeat_forward(const X& x, Y& y) {
    using In = core::RepeatedInput<Scalar, X>;
    using Out = core::RepeatedOutputOf<Scalar, Y>;
    if constexpr (Engine::kRepeats && In::kMayRepeat && Out::kMayRepeat) {
      const Shape* const shape = this->repeated_shape();
      if (shape == nullptr) return false;
      const In in(x);
      const Out out(y);
      return in.has_shape(*shape) && out.has_shape(*shape) &&
             this->repeat_forward({in.data(), out.data(), out.post_op(), in.residual()});
    }
    return false;
  }
  template <class X, class Y>
  bool try_repeat_infer(const X& x, Y& y) const {
    using In = core::RepeatedInput<Scalar, X>;
    using Out = core::RepeatedOutputOf<Scalar, Y>;
    if constexpr (Engine::kRepeats && In::kMayRepeat && Out::kMayRepeat) {
      const In in(x);
      const Out out(y);
      const Shape shape = in.shape();
      return in.others_have_shape(shape) && out.has_shape(shape) &&
             this->repeat_infer({in.data(), out.data(), out.post_op(), in.residual()}, shape);
    }
    return false;
  }
  template <class X, class DY, class DX>
  bool try_repeat_backward(const X& x, const DY& dy, DX& dx) {
    using Type = typename core::Added<DX>::Type;
    if constexpr (Engine::kRepeats && core::kHaveMemory<Scalar, X, DY, Type> && core::is_writable<Type>()) {
      const Shape* const shape = this->repeated_shape();
      Type& to = core::Added<DX>::of(dx);
      if (shape == nullptr || !core::have_shape(*shape, x, dy, to)) return false;
      typename core::Target<Scalar>::AddGradient add = nullptr;
      if constexpr (core::Added<DX>::adds) add = &core::add_gradient<Scalar>;
      return this->repeat_backward(core::as_eigen(x).data(), core::as_eigen(dy).data(), core::as_eigen(to).data(), add);
    }
    return false;
  }

  // The calls with pointers and shapes, and with what else the layer takes.
  template <class... More>
  void call_forward(core::Runner& runner, const Scalar* x, const Shape& shape, core::Target<Scalar>& y, More... more) {
    derived().run_forward(runner, x, shape, y, more...);
  }
  template <class... More>
  void call_infer(core::Runner& runner, const Scalar* x, const Shape& shape, core::Target<Scalar>& y,
                  More... more) const {
    derived().run_infer(runner, x, shape, y, more...);
  }
  template <class... More>
  void call_backward(core::Runner& runner, const Scalar* x, const Shape& shape, const core::OutputGradient<Scalar>& dy,
                     core::Target<Scalar>* dx, More... more) {
    derived().run_backward(runner, x, shape, dy, dx, more...);
  }

 private:
  template <class, class>
  friend class core::HeldNorm;

  Index work_of(const Shape& shape) const { return this->work(shape); }
  void call_check(const Shape& shape) const { derived().run_check(shape); }
  void write(std::ostream& out) const { derived().print(out); }
  Derived& derived() { return static_cast<Derived&>(*this); }
  const Derived& derived() const { return static_cast<const Derived&>(*this); }
};

}  // namespace tensornorm
