// Staging: copies of tensors that a pass cannot walk where they lie, side by side. Whole tensors are copied. The other
// way was measured on Sapphire Rapids: each tile gathered in squares of 2 KB when the pass reads it. Inputs of another
// layout: matrices take 1.2 to 3 times as long, images 5 to 15 times, because their rows become short. Only the output
// of another layout: 0.5 to 0.97 of the time, but 5 times where a block has few rows.
#pragma once

#include <algorithm>
#include <array>
#include <vector>

#include "tensornorm/core/copy_memory.hpp"
#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/scalar.hpp"
#include "tensornorm/core/target.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

// An axis of two tensors.
struct PairedAxis {
  Index extent = 1, from_step = 0, to_step = 0;
};

// Calls use(from, to) for each element of two axes. Where there are two, they are taken in squares, of which the
// first-level cache holds the lines of both tensors (measured on Zen 5: a float matrix of 4096 x 1024 is transposed 13
// times as fast as row by row).
template <class From, class To, class Use>
void for_each_in_squares(const From* from, To* to, const PairedAxis& row, const PairedAxis& column, const Use& use) {
  const Index side = column.extent == 1 ? row.extent : 16;
  for (Index i0 = 0; i0 < row.extent; i0 += side) {
    const Index n = (std::min)(side, row.extent - i0);
    for (Index j0 = 0; j0 < column.extent; j0 += side) {
      for (Index j = j0; j < (std::min)(column.extent, j0 + side); ++j) {
        const From* const f = from + i0 * row.from_step + j * column.from_step;
        To* const t = to + i0 * row.to_step + j * column.to_step;
        if (row.to_step == 1) {
          for (Index i = 0; i < n; ++i) use(f[i * row.from_step], t[i]);
        } else {
          for (Index i = 0; i < n; ++i) use(f[i * row.from_step], t[i * row.to_step]);
        }
      }
    }
  }
}

// Calls use(from, to) for each element of two tensors of the same extents: the axes with the least strides of either
// in squares, the others outside.
template <class From, class To, class Use>
void for_each_pair(const From* from, const Shape& from_shape, To* to, const Shape& to_shape, const Use& use) {
  if (to_shape.count() == 0) return;
  const StridedAxes order(to_shape);
  if (order.count == 0) return use(*from, *to);
  const int inner = order.axis(order.count - 1), across = StridedAxes(from_shape).axis(order.count - 1);
  const auto paired = [&](int d) { return PairedAxis{to_shape.extent(d), from_shape.stride(d), to_shape.stride(d)}; };
  const PairedAxis row = paired(inner), column = inner == across ? PairedAxis() : paired(across);
  std::array<Index, Axes::kCapacity> at{};
  for (int i = 0; i >= 0;) {
    for_each_in_squares(from, to, row, column, use);
    for (i = order.count - 1; i >= 0; --i) {
      const int d = order.axis(i);
      if (d == inner || d == across) continue;
      Index& k = at[static_cast<std::size_t>(i)];
      from += from_shape.stride(d);
      to += to_shape.stride(d);
      if (++k < to_shape.extent(d)) break;
      from -= k * from_shape.stride(d);
      to -= k * to_shape.stride(d);
      k = 0;
    }
  }
}

template <class From, class To>
void copy_strided(const From* from, const Shape& from_shape, To* to, const Shape& to_shape) {
  for_each_pair(from, from_shape, to, to_shape, [](const From& value, To& place) { place = static_cast<To>(value); });
}

// Rounds each sum once.
template <class From, class To>
void add_strided(const From* from, const Shape& from_shape, To* to, const Shape& to_shape) {
  using T = ParamOf<To>;
  for_each_pair(from, from_shape, to, to_shape, [](const From& value, To& place) {
    place = static_cast<To>(static_cast<T>(place) + static_cast<T>(value));
  });
}

// An input in a layout: where it is, if it lies so, or a copy.
template <class Scalar>
const Scalar* staged_input(const Scalar* x, const Shape& from, const Shape& to, CopyMemory<Scalar>& memory) {
  if (from == to) return x;
  Scalar* const copy = memory.take(span_of(to));
  copy_strided(x, from, copy, to);
  return copy;
}

// An output in another layout than its tensor's, which `finish` writes. The tensor gets its memory when the output
// does.
template <class Scalar>
class StagedTarget final : public Target<Scalar> {
 public:
  // @pre the tensor took its shape
  __attribute__((cold)) StagedTarget(Target<Scalar>& tensor, const Shape& layout, CopyMemory<Scalar>& memory)
      : Target<Scalar>(tensor.name()), tensor_(tensor), values_(memory.take(layout.count())) {
    if (tensor.post_op() == nullptr) return;
    post_op_copy_ = *tensor.post_op();
    const Scalar*& z = post_op_copy_.z;
    if (z != nullptr) z = staged_input(z, tensor.shape(), layout, memory);
    this->post_op_ = &post_op_copy_;
  }
  // Returns where it wrote.
  const Scalar* finish() {
    const auto write = tensor_.add_gradient() == nullptr ? &copy_strided<Scalar, Scalar> : &add_strided<Scalar, Scalar>;
    write(values_, this->shape_, to_, tensor_.shape());
    return to_;
  }

 private:
  void check_extents() override {
    this->data_ = values_;
    this->shape_ = this->wanted();
  }
  Scalar* resized() override {
    to_ = tensor_.prepare();
    return values_;
  }

  Target<Scalar>& tensor_;
  Scalar* values_;
  PostOp<Scalar> post_op_copy_;
  Scalar* to_ = nullptr;
};

// What a layer computes in memory of its own and adds to a tensor.
template <class Scalar>
class AddedTarget final : public Target<Scalar> {
 public:
  AddedTarget(Target<Scalar>& tensor, std::vector<Scalar>& memory)
      : Target<Scalar>(tensor.name()), tensor_(tensor), memory_(memory) {}
  void finish() { add_strided(memory_.data(), this->shape_, tensor_.prepare(), tensor_.shape()); }

 private:
  void check_extents() override {
    tensor_.take_shape(this->wanted());
    this->shape_ = packed_shape(this->wanted());
    const auto n = static_cast<std::size_t>(this->shape_.count());
    if (memory_.size() < n) memory_.resize(n);
    this->data_ = memory_.data();
    this->fits_ = true;
  }
  Scalar* resized() override { return memory_.data(); }

  Target<Scalar>& tensor_;
  std::vector<Scalar>& memory_;
};

// The layout in which tensors are staged: without gaps, in the order of x's memory, which decides the bits.
inline Shape staged_layout(const Shape& x) {
  bool has_order = true;
  for (int d = 0; d < x.rank; ++d) has_order = has_order && (x.extent(d) == 1 || x.stride(d) > 0);
  return has_order ? packed_shape(x) : dense_shape(x, true);
}

// Calls run(layout, x, y) with a copy of x, and with y itself if it `fits` that, else with memory that becomes y.
// @pre y took its shape
template <class Scalar, class Run>
__attribute__((cold, noinline)) void run_staged(const Scalar* x, const Shape& shape, Target<Scalar>& y,
                                                bool (*fits)(const Shape& x, const Shape& y),
                                                CopyMemory<Scalar>& memory, const Run& run) {
  y.check_overlap(x, shape, "x");
  const Shape layout = staged_layout(shape);
  const Scalar* const input = staged_input(x, shape, layout, memory);
  if (fits(layout, y.shape())) return run(layout, input, y);
  StagedTarget<Scalar> target(y, layout, memory);
  run(layout, input, target);
  target.finish();
}

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
