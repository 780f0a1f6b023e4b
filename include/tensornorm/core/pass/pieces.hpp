// Virtual batches: a call takes neighbouring samples a piece at a time, each with statistics of its own.
#pragma once

#include "tensornorm/core/pass/pass_state.hpp"
#include "tensornorm/core/target.hpp"

namespace tensornorm {
namespace core {

// Samples [first, first + count) along an axis.
struct Piece {
  int axis;
  Index first, count;

  Shape of(Shape shape) const {
    shape.extents[static_cast<std::size_t>(axis)] = count;
    return shape;
  }
  Index offset(const Shape& whole) const { return first * whole.stride(axis); }
};

// The pieces of `most` samples of a tensor; the last may be short.
inline Index count_pieces(const Shape& shape, int axis, Index most) { return (shape.extent(axis) + most - 1) / most; }
inline Piece piece_of(const Shape& shape, int axis, Index most, Index i) {
  return {axis, i * most, (std::min)(most, shape.extent(axis) - i * most)};
}

// A piece of an output, with its post-op.
template <class Scalar>
class PieceTarget final : public Target<Scalar> {
 public:
  // @pre the whole has taken its shape and its memory is `data`
  PieceTarget(const Target<Scalar>& whole, Scalar* data, const Piece& piece) : Target<Scalar>(whole.name()) {
    this->shape_ = piece.of(whole.shape());
    this->data_ = data + piece.offset(whole.shape());
    this->fits_ = true;
    this->set_add_gradient(whole.add_gradient());
    if (whole.post_op() == nullptr) return;
    op_ = *whole.post_op();
    if (op_.z != nullptr) op_.z += piece.offset(whole.shape());
    this->post_op_ = &op_;
  }

 private:
  void check_extents() override {}
  Scalar* resized() override { return this->data_; }

  PostOp<Scalar> op_;
};

// Whether a layer adds gradients up: it does from the first piece on, until this goes.
struct PieceSums {
  explicit PieceSums(bool& of_layer) : accumulates(of_layer), of_layer_(of_layer) {}
  PieceSums(const PieceSums&) = delete;
  PieceSums& operator=(const PieceSums&) = delete;
  ~PieceSums() { of_layer_ = accumulates; }
  void begin() { begun = of_layer_ = true; }

  const bool accumulates;
  bool begun = false;

 private:
  bool& of_layer_;
};

// Calls run(x, shape, y, state) for each piece, once refuse(shape) let the first and the last pass.
template <class Scalar, class Refuse, class Run>
__attribute__((noinline)) void forward_pieces(int axis, Index most, const Scalar* x, const Shape& shape,
                                              Target<Scalar>& y, PassState<Scalar>& state, const Refuse& refuse,
                                              const Run& run) {
  const Index n = count_pieces(shape, axis, most);
  for (const Index i : {Index{0}, n - 1}) refuse(piece_of(shape, axis, most, i).of(shape));
  y.take_shape(shape);
  y.check_overlap(x, shape, "x");
  const std::uint64_t fingerprint = core::fingerprint(x, shape);  // y may be x
  if (static_cast<Index>(state.pieces.size()) < n) state.pieces.resize(static_cast<std::size_t>(n));
  Scalar* const y_data = y.prepare();
  for (Index i = 0; i < n; ++i) {
    const Piece piece = piece_of(shape, axis, most, i);
    PieceTarget<Scalar> target(y, y_data, piece);
    run(x + piece.offset(shape), piece.of(shape), target, state.pieces[static_cast<std::size_t>(i)]);
  }
  const PassState<Scalar>& first = state.pieces.front();
  const Index stats = first.mean.size();
  for (auto* const all : {&state.mean, &state.rstd}) all->resize(n * stats);
  for (Index i = 0; i < n; ++i) {
    const PassState<Scalar>& piece = state.pieces[static_cast<std::size_t>(i)];
    state.mean.segment(i * stats, stats) = piece.mean;
    state.rstd.segment(i * stats, stats) = piece.rstd;
  }
  state.record.set(shape, fingerprint, first.record.training, first.record.batch);
  state.used_pieces = n;
}

// Calls run(x, shape, dy, dx, state) for each piece of the forward pass.
// @pre the shapes are that pass's
template <class Scalar, class Run>
__attribute__((noinline)) void backward_pieces(int axis, Index most, const Scalar* x, const Shape& shape,
                                               const OutputGradient<Scalar>& dy, Target<Scalar>* dx,
                                               PassState<Scalar>& state, const Run& run) {
  state.record.check_same(shape, core::fingerprint(x, shape));
  check_that(dy.post_op == nullptr || dy.post_op->multiply == nullptr,
             "backward of virtual batches takes no then_times(): give the gradient of the product's factor");
  for (Index i = 0; i < state.used_pieces; ++i) {
    const Piece piece = piece_of(shape, axis, most, i);
    const Shape of_x = piece.of(shape);
    const Scalar* const its_x = x + piece.offset(shape);
    state.pieces[static_cast<std::size_t>(i)].record.check_same(of_x, core::fingerprint(its_x, of_x));
  }
  Scalar* dx_data = nullptr;
  if (dx != nullptr) {
    dx->take_shape(shape);
    dx->check_overlap(x, shape, "x");
    dx->check_overlap(dy.data, dy.shape, "dy");
    dx_data = dx->prepare();
  }
  for (Index i = 0; i < state.used_pieces; ++i) {
    const Piece piece = piece_of(shape, axis, most, i);
    const Shape of_x = piece.of(shape), of_dy = piece.of(dy.shape);
    const OutputGradient<Scalar> gradient{dy.data + piece.offset(dy.shape), of_dy, dy.post_op};
    PassState<Scalar>& its = state.pieces[static_cast<std::size_t>(i)];
    if (dx == nullptr) {
      run(x + piece.offset(shape), of_x, gradient, nullptr, its);
    } else {
      PieceTarget<Scalar> target(*dx, dx_data, piece);
      run(x + piece.offset(shape), of_x, gradient, &target, its);
    }
  }
}

}  // namespace core
}  // namespace tensornorm
