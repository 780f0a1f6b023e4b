// Bodies of undo_post_op.hpp.
#pragma once

#include <optional>

#include "tensornorm/core/ieee_math.hpp"
#include "tensornorm/core/pass/call_plan.hpp"
#include "tensornorm/core/pass/forward.hpp"
#include "tensornorm/core/pass/pass_record.hpp"
#include "tensornorm/core/pass/undo_post_op.hpp"
#include "tensornorm/core/staging.hpp"

TENSORNORM_IEEE_MATH_BEGIN
namespace tensornorm {
namespace core {

template <class Scalar>
void multiply_in_parts(const UndoArguments<Scalar>& a, const Scalar* dy, const Scalar* z) {
  const Index n = static_cast<Index>(a.gradient.size());
  const Index parts = (std::max)(Index{1}, (std::min)(n / Partition::kSharedSize, Partition::kUnits));
  a.runner(parts, n, [&](Index part, Index) {
    const Index begin = part_begin(n, part, parts), size = part_begin(n, part + 1, parts) - begin;
    a.dy.post_op->multiply(dy + begin, z + begin, size, a.gradient.data() + begin);
  });
}

// Whether dx can hold the gradient of the result until it is read: all tensors lie in one layout without gaps, and dx
// is neither read later, as x is, nor added to. A product writes z * dy to dx first, then reads dy again for dz: dx
// must not be dy. It may be z.
template <class Scalar>
bool fits_dx(const UndoArguments<Scalar>& a) {
  const PostOpGradient<Scalar>& gradient = *a.dy.post_op;
  const Shape& shape = a.call.shape;
  if (a.dx == nullptr || a.dx->add_gradient() != nullptr || a.dx->data_before() == a.x) return false;
  if (!(shape == a.layout && a.dy.shape == shape && a.dx->shape() == shape)) return false;
  if (gradient.multiply == nullptr) return true;
  return gradient.dz != nullptr && gradient.dz->shape() == shape && *gradient.z_shape == shape &&
         a.dx->data_before() != a.dy.data;
}

// As BackwardArguments has it.
template <class Scalar>
void put_range(const ForwardArguments<Scalar>& pass, const ResultGradientRange<Scalar>& range) {
  using Arrays = typename Normalizer<Scalar>::CoefficientArrays;
  using T = ParamOf<Scalar>;
  const Normalizer<Scalar> normalizer(pass, range.plan, /*may_stream=*/false);
  const BinRange& bins = range.bins;
  if (range.map_bins == nullptr) {
    const Index params = (std::min)(range.plan.walk.line(), Partition::kBlockBins);
    return normalizer.put_params_apart(bins, {range.hi, range.scale, range.shift}, range.part, range.parts, 0, params,
                                       range.memory);
  }
  Arena memory = range.memory;
  const Arrays c{memory.take<T>(bins.size()), memory.take<T>(bins.size()), memory.take<T>(bins.size())};
  for_each_bin_run(*range.map_bins, range.first, bins.size(),
                   [&](const BinRun& run) { normalizer.fold(pass.found.hi, pass.found.lo, pass.found.rstd, run, c); });
  normalizer.put_map_bins(bins, bins.k0, bins.k1, range.p0, range.p1, c, 0);
}

// The forward pass again, by the statistics that were found, which writes by the post-op's gradient.
template <class Scalar>
class ForwardAgain {
 public:
  // All outlive this.
  ForwardAgain(const UndoArguments<Scalar>& arguments, const PostOp<Scalar>& op)
      : a_(arguments), pass_{a_.parameters, nullptr, nullptr, {}} {
    pass_.frozen_mean = pass_.frozen_var = nullptr;
    pass_.found = a_.found;
    pass_.post_op = &op;
    pass_.x = a_.x;
  }

  // What `put` needs: x where it lies, or as the gradient does, and a plan. Throws std::bad_alloc.
  void prepare() {
    const Shape& from = walks_beside(a_.call.shape, a_.layout) ? a_.call.shape : a_.layout;
    pass_.x = staged_input(a_.x, a_.call.shape, from, a_.copies);
    const Uses uses{sizeof(Scalar), a_.parameters.is_affine(), /*frozen=*/false};
    const bool is_known = a_.plan != nullptr && a_.call.shape == a_.layout;
    plan_ = is_known ? a_.plan : &make_plan<Scalar>(a_.call, forward_key(a_.call.in(from), a_.layout), uses, made_);
    const Index size = ForwardMemory<ParamOf<Scalar>>::workspace_size(*plan_, a_.runner.threads());
    if (static_cast<Index>(a_.workspace.size()) < size) a_.workspace.resize(static_cast<std::size_t>(size));
  }
  void put(Scalar* y) {
    pass_.y = y;
    Forward<Scalar>(pass_, *plan_).run(a_.runner, {a_.workspace.data(), static_cast<Index>(a_.workspace.size())});
  }

  // The same range by range, without preparing.
  void begin(Scalar* y) { pass_.y = y; }
  void put(const ResultGradientRange<Scalar>& range) const { put_range(pass_, range); }

 private:
  const UndoArguments<Scalar>& a_;
  ForwardArguments<Scalar> pass_;
  std::optional<Plan> made_;
  const Plan* plan_ = nullptr;
};

template <class Scalar>
void undo_clip(const UndoArguments<Scalar>& a, const Scalar* dy, const BackwardOfResult<Scalar>& backward) {
  PostOp<Scalar> op = a.dy.post_op->op;
  op.z = dy;
  ForwardAgain<Scalar> again(a, op);
  const auto take_memory = [&] {
    again.prepare();
    return a.take_gradient();
  };
  const auto write = [&] { again.put(a.gradient.data()); };
  const auto begin = [&](Scalar* dx) { again.begin(dx); };
  const auto write_range = [&](const ResultGradientRange<Scalar>& range) { again.put(range); };
  const typename ResultGradient<Scalar>::IntoDx into_dx{begin, write_range};
  backward({take_memory, write, fits_dx(a) ? &into_dx : nullptr});
}

template <class Scalar>
void undo_product(const UndoArguments<Scalar>& a, const Scalar* dy, const BackwardOfResult<Scalar>& backward) {
  const PostOpGradient<Scalar>& gradient = *a.dy.post_op;
  const Scalar* const z = staged_input(gradient.z, *gradient.z_shape, a.layout, a.copies);
  if (gradient.dz == nullptr) {
    const auto take_memory = [&] { return a.take_gradient(); };
    const auto write = [&] { multiply_in_parts(a, dy, z); };
    return backward({take_memory, write});
  }
  PostOp<Scalar> op = gradient.op;
  op.z = dy;
  op.factor = z;
  ForwardAgain<Scalar> again(a, op);
  std::optional<StagedTarget<Scalar>> staged;
  if (gradient.dz->shape() != a.layout) {
    staged.emplace(*gradient.dz, a.layout, a.copies);
    staged->take_shape(a.layout);
  }
  const auto take_memory = [&] {
    again.prepare();
    return a.take_gradient();
  };
  const auto write = [&] {
    op.product = a.gradient.data();
    again.put(staged ? staged->prepare() : gradient.dz->prepare());
    if (staged) staged->finish();
  };
  const auto begin = [&](Scalar* dx) {
    op.product = dx;
    again.begin(gradient.dz->prepare());
  };
  const auto write_range = [&](const ResultGradientRange<Scalar>& range) { again.put(range); };
  const typename ResultGradient<Scalar>::IntoDx into_dx{begin, write_range};
  backward({take_memory, write, fits_dx(a) ? &into_dx : nullptr});
}

template <class Scalar>
void undo_post_op(const UndoArguments<Scalar>& a, const BackwardOfResult<Scalar>& backward) {
  const Shape& shape = a.call.shape;
  // Everything that can be refused, so that the backward that follows refuses nothing once dz is written.
  a.record.check_backward(shape, a.dy.shape, a.training);
  a.record.check_same(shape, core::fingerprint(a.x, shape));
  check_gradients(a.x, shape, a.dy, a.dx);
  a.layout = staged_layout(shape);
  a.copies.restart();
  const PostOpGradient<Scalar>& gradient = *a.dy.post_op;
  if (shape.count() == 0) {
    const auto take_memory = [&] { return a.take_gradient(); };
    const auto write = [&] {
      if (gradient.dz != nullptr) gradient.dz->prepare();
    };
    return backward({take_memory, write});
  }
  const Scalar* const dy = staged_input(a.dy.data, a.dy.shape, a.layout, a.copies);
  gradient.multiply == nullptr ? undo_clip(a, dy, backward) : undo_product(a, dy, backward);
}

}  // namespace core
}  // namespace tensornorm
TENSORNORM_IEEE_MATH_END
