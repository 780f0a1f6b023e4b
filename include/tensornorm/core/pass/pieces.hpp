// Virtual batches: a call takes neighbouring samples a piece at a time, each with statistics of its own.
#pragma once

#include <optional>

#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/pass/pass_state.hpp"
#include "tensornorm/core/pass/residual.hpp"
#include "tensornorm/core/pass/undo_post_op.hpp"
#include "tensornorm/core/target.hpp"

TENSORNORM_IEEE_MATH_BEGIN
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

// A piece of a sum that is kept.
template <class Scalar>
class PieceSum {
 public:
  // @pre the memory of h is `h`
  PieceSum(const ResidualArguments<Scalar>& whole, Scalar* h, const Piece& piece)
      : a_shape_(piece.of(whole.a_shape)), b_shape_(piece.of(whole.b_shape)),
        h_(whole.h, h, piece), arguments_{whole.a + piece.offset(whole.a_shape),
                                          whole.b + piece.offset(whole.b_shape),
                                          a_shape_,
                                          b_shape_,
                                          h_,
                                          whole.add} {}
  PieceSum(const PieceSum&) = delete;
  PieceSum& operator=(const PieceSum&) = delete;
  ResidualArguments<Scalar>& arguments() { return arguments_; }

 private:
  Shape a_shape_, b_shape_;
  PieceTarget<Scalar> h_;
  ResidualArguments<Scalar> arguments_;
};

// A piece of dy, with what undoes its post-op.
template <class Scalar>
class PieceGradient {
 public:
  // @pre the memory of dz, if it is wanted, is `dz`
  PieceGradient(const OutputGradient<Scalar>& whole, Scalar* dz, const Piece& piece)
      : data_(whole.data + piece.offset(whole.shape)), shape_(piece.of(whole.shape)) {
    if (whole.post_op == nullptr) return;
    gradient_ = *whole.post_op;
    post_op_ = &gradient_;
    if (gradient_.z == nullptr) return;
    z_shape_ = piece.of(*whole.post_op->z_shape);
    gradient_.z += piece.offset(*whole.post_op->z_shape);
    gradient_.z_shape = &z_shape_;
    if (gradient_.dz != nullptr) gradient_.dz = &dz_.emplace(*gradient_.dz, dz, piece);
  }
  PieceGradient(const PieceGradient&) = delete;
  PieceGradient& operator=(const PieceGradient&) = delete;
  OutputGradient<Scalar> get() const { return {data_, shape_, post_op_}; }

 private:
  const Scalar* data_;
  Shape shape_, z_shape_;
  std::optional<PieceTarget<Scalar>> dz_;
  PostOpGradient<Scalar> gradient_;
  const PostOpGradient<Scalar>* post_op_ = nullptr;
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

// Calls run(x, shape, y, state, sum) for each piece, once refuse(shape) let the first and the last pass. Of a sum that
// is kept, which has the shape, x is null; else the sum is.
template <class Scalar, class Refuse, class Run>
__attribute__((noinline)) void forward_pieces(int axis, Index most, const Scalar* x, const Shape& shape,
                                              Target<Scalar>& y, PassState<Scalar>& state,
                                              const ResidualArguments<Scalar>* sum, const Refuse& refuse,
                                              const Run& run) {
  const Index n = count_pieces(shape, axis, most);
  for (const Index i : {Index{0}, n - 1}) refuse(piece_of(shape, axis, most, i).of(shape));
  y.take_shape(shape);
  sum == nullptr ? y.check_overlap(x, shape, "x") : sum->check_overlap(y);
  std::uint64_t fingerprint = sum == nullptr ? core::fingerprint(x, shape) : 0;  // y may be x
  if (static_cast<Index>(state.pieces.size()) < n) state.pieces.resize(static_cast<std::size_t>(n));
  Scalar* const h_data = sum == nullptr ? nullptr : sum->h.prepare();
  Scalar* const y_data = y.prepare();
  for (Index i = 0; i < n; ++i) {
    const Piece piece = piece_of(shape, axis, most, i);
    const Shape of_x = piece.of(shape);
    PieceTarget<Scalar> target(y, y_data, piece);
    PassState<Scalar>& its = state.pieces[static_cast<std::size_t>(i)];
    if (sum == nullptr) {
      run(x + piece.offset(shape), of_x, target, its, nullptr);
    } else {
      PieceSum<Scalar> its_sum(*sum, h_data, piece);
      run(nullptr, of_x, target, its, &its_sum.arguments());
    }
  }
  if (sum != nullptr) fingerprint = core::fingerprint(static_cast<const Scalar*>(h_data), shape);
  const PassState<Scalar>& first = state.pieces.front();
  const Index stats = first.mean.size();
  for (auto* const all : {&state.mean, &state.rstd}) all->resize(n * stats);
  for (Index i = 0; i < n; ++i) {
    const PassState<Scalar>& piece = state.pieces[static_cast<std::size_t>(i)];
    state.mean.segment(i * stats, stats) = piece.mean;
    state.rstd.segment(i * stats, stats) = piece.rstd;
  }
  state.record.set(shape, fingerprint, first.record.training, first.record.batch, first.record.kind);
  state.record.used_pieces = n;
}

// Calls run(x, shape, dy, dx, state) for each piece of the forward pass.
// @pre the shapes are that pass's
template <class Scalar, class Run>
__attribute__((noinline)) void backward_pieces(int axis, Index most, const Scalar* x, const Shape& shape,
                                               const OutputGradient<Scalar>& dy, Target<Scalar>* dx,
                                               PassState<Scalar>& state, const Run& run) {
  state.record.check_same(shape, core::fingerprint(x, shape));
  for (Index i = 0; i < state.record.used_pieces; ++i) {
    const Piece piece = piece_of(shape, axis, most, i);
    const Shape of_x = piece.of(shape);
    const Scalar* const its_x = x + piece.offset(shape);
    state.pieces[static_cast<std::size_t>(i)].record.check_same(of_x, core::fingerprint(its_x, of_x));
  }
  check_gradients(x, shape, dy, dx);
  Target<Scalar>* const dz = dy.post_op == nullptr ? nullptr : dy.post_op->dz;
  Scalar* const dx_data = dx == nullptr ? nullptr : dx->prepare();
  Scalar* const dz_data = dz == nullptr ? nullptr : dz->prepare();
  for (Index i = 0; i < state.record.used_pieces; ++i) {
    const Piece piece = piece_of(shape, axis, most, i);
    const Shape of_x = piece.of(shape);
    const PieceGradient<Scalar> gradient(dy, dz_data, piece);
    std::optional<PieceTarget<Scalar>> target;
    if (dx != nullptr) target.emplace(*dx, dx_data, piece);
    run(x + piece.offset(shape), of_x, gradient.get(), target ? &*target : nullptr,
        state.pieces[static_cast<std::size_t>(i)]);
  }
}

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
