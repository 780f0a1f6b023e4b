// Staging: copies of tensors that a pass cannot walk where they lie, side by side.
#pragma once

#include <vector>

#include "tensornorm/core/scalar.hpp"
#include "tensornorm/core/target.hpp"

namespace tensornorm {
namespace core {

// Calls use(from, to) for each element of two tensors of the same extents, in the order of the second.
template <class Scalar, class Use>
void for_each_pair(const Scalar* from, const Shape& from_shape, Scalar* to, const Shape& to_shape, const Use& use) {
  const Index n = to_shape.count();
  if (n == 0) return;
  const StridedAxes order(to_shape);
  std::array<Index, Axes::kCapacity> at{};
  const int inner = order.count - 1;
  const Index run = inner < 0 ? 1 : to_shape.extent(order.axis(inner));
  const Index from_step = inner < 0 ? 0 : from_shape.stride(order.axis(inner)),
              to_step = inner < 0 ? 0 : to_shape.stride(order.axis(inner));
  for (Index done = 0; done < n; done += run) {
    for (Index i = 0; i < run; ++i) use(from[i * from_step], to[i * to_step]);
    for (int i = inner - 1; i >= 0; --i) {
      const int d = order.axis(i);
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

template <class Scalar>
void copy_strided(const Scalar* from, const Shape& from_shape, Scalar* to, const Shape& to_shape) {
  for_each_pair(from, from_shape, to, to_shape, [](const Scalar& value, Scalar& place) { place = value; });
}

// Rounds each sum once.
template <class Scalar>
void add_strided(const Scalar* from, const Shape& from_shape, Scalar* to, const Shape& to_shape) {
  using T = ParamOf<Scalar>;
  for_each_pair(from, from_shape, to, to_shape, [](const Scalar& value, Scalar& place) {
    place = static_cast<Scalar>(static_cast<T>(place) + static_cast<T>(value));
  });
}

// An input in a layout: where it is, if it lies so, or a copy.
template <class Scalar>
class StagedInput {
 public:
  StagedInput(const Scalar* x, const Shape& from, const Shape& to) : data_(x) {
    if (from == to) return;
    values_.resize(static_cast<std::size_t>(span_of(to)));
    copy_strided(x, from, values_.data(), to);
    data_ = values_.data();
  }
  StagedInput(const StagedInput&) = delete;
  StagedInput& operator=(const StagedInput&) = delete;
  const Scalar* data() const { return data_; }

 private:
  std::vector<Scalar> values_;
  const Scalar* data_;
};

// An output in another layout than its tensor's, which `finish` writes. The tensor gets its memory when the output
// does.
template <class Scalar>
class StagedTarget final : public Target<Scalar> {
 public:
  // @pre the tensor took its shape
  __attribute__((cold)) StagedTarget(Target<Scalar>& tensor, const Shape& layout)
      : Target<Scalar>(tensor.name()), tensor_(tensor), values_(static_cast<std::size_t>(layout.count())),
        z_(z_of(tensor), tensor.shape(), z_of(tensor) == nullptr ? tensor.shape() : layout) {
    if (tensor.post_op() == nullptr) return;
    post_op_copy_ = *tensor.post_op();
    post_op_copy_.z = z_.data();
    this->post_op_ = &post_op_copy_;
  }
  // Returns where it wrote.
  const Scalar* finish() {
    const auto write = tensor_.add_gradient() == nullptr ? &copy_strided<Scalar> : &add_strided<Scalar>;
    write(values_.data(), this->shape_, to_, tensor_.shape());
    return to_;
  }

 private:
  void check_extents() override {
    this->data_ = values_.data();
    this->shape_ = this->wanted();
  }
  Scalar* resized() override {
    to_ = tensor_.prepare();
    return values_.data();
  }

  static const Scalar* z_of(const Target<Scalar>& tensor) {
    return tensor.post_op() == nullptr ? nullptr : tensor.post_op()->z;
  }

  Target<Scalar>& tensor_;
  std::vector<Scalar> values_;
  StagedInput<Scalar> z_;
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
                                                bool (*fits)(const Shape& x, const Shape& y), const Run& run) {
  y.check_overlap(x, shape, "x");
  const Shape layout = staged_layout(shape);
  const StagedInput<Scalar> input(x, shape, layout);
  if (fits(layout, y.shape())) return run(layout, input.data(), y);
  StagedTarget<Scalar> target(y, layout);
  run(layout, input.data(), target);
  target.finish();
}

}  // namespace core
}  // namespace tensornorm
