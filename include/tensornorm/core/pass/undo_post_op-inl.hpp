// Bodies of undo_post_op.hpp.
#pragma once

#include <optional>

#include "tensornorm/core/pass/call_plan.hpp"
#include "tensornorm/core/pass/forward.hpp"
#include "tensornorm/core/pass/pass_record.hpp"
#include "tensornorm/core/pass/undo_post_op.hpp"
#include "tensornorm/core/staging.hpp"

namespace tensornorm {
namespace core {

// A plan for x of this shape and a result in the layout of the gradient, by the statistics that were found.
template <class Scalar>
const Plan& plan_of(const UndoArguments<Scalar>& a, const Shape& x, std::optional<Plan>& plan) {
  const Uses uses{sizeof(Scalar), a.parameters.is_affine(), /*frozen=*/false};
  return make_plan<Scalar>(a.call, forward_key(a.call.in(x), a.layout), uses, plan);
}

template <class Scalar>
void multiply_in_parts(const UndoArguments<Scalar>& a, const Scalar* dy, const Scalar* z) {
  const Index n = static_cast<Index>(a.gradient.size());
  const Index parts = (std::max)(Index{1}, (std::min)(n / Partition::kSharedSize, Partition::kUnits));
  a.runner(parts, n, [&](Index part, Index) {
    const Index begin = part_begin(n, part, parts), size = part_begin(n, part + 1, parts) - begin;
    a.dy.post_op->multiply(dy + begin, z + begin, size, a.gradient.data() + begin);
  });
}

// Whether the gradient of the result may be written to dx, part by part: all tensors lie as it would, and dx is memory
// that nobody reads afterwards.
template <class Scalar>
bool can_go_in_parts(const UndoArguments<Scalar>& a) {
  const PostOpGradient<Scalar>& gradient = *a.dy.post_op;
  const Shape& shape = a.call.shape;
  if (a.dx == nullptr || a.dx->add_gradient() != nullptr || a.dx->data_before() == a.x) return false;
  if (!(shape == a.layout && a.dy.shape == shape && a.dx->shape() == shape)) return false;
  if (gradient.multiply == nullptr) return true;
  // The product is written first, then dz, which is of dy.
  const Scalar* const dx = a.dx->data_before();
  return gradient.dz != nullptr && gradient.dz->shape() == shape && *gradient.z_shape == shape && dx != a.dy.data &&
         are_same_or_apart(gradient.z, dx, shape.count());
}

// As BackwardArguments has it.
template <class Scalar>
void put_part(const ForwardArguments<Scalar>& pass, const UndonePart<Scalar>& part) {
  using Arrays = typename Normalizer<Scalar>::CoefficientArrays;
  using T = ParamOf<Scalar>;
  const Normalizer<Scalar> normalizer(pass, part.plan, /*may_stream=*/false);
  const BinRange& bins = part.bins;
  if (part.hi != nullptr) {
    const Index params = (std::min)(part.plan.walk.line(), Partition::kBlockBins);
    return normalizer.put_params_apart(bins, {part.hi, part.scale, part.shift}, part.begin, part.end, 0, params,
                                       part.memory);
  }
  Arena memory = part.memory;
  const Arrays c{memory.take<T>(bins.size()), memory.take<T>(bins.size()), memory.take<T>(bins.size())};
  for_each_bin_run(part.map_bins, part.first, bins.size(),
                   [&](const BinRun& run) { normalizer.fold(pass.found.hi, pass.found.lo, pass.found.rstd, run, c); });
  normalizer.put_map_bins(bins, bins.k0, bins.k1, part.begin, part.end, c, 0);
}

template <class Scalar>
void undo_post_op(const UndoArguments<Scalar>& a, const UndoneBackward<Scalar>& backward) {
  const Shape& shape = a.call.shape;
  const PostOpGradient<Scalar>& gradient = *a.dy.post_op;
  // Everything that can be refused, so that the backward that follows refuses nothing once dz is written.
  a.record.check_backward(shape, a.dy.shape, a.training);
  a.record.check_same(shape, core::fingerprint(a.x, shape));
  check_gradients(a.x, shape, a.dy, a.dx);
  const Index n = shape.count();
  a.layout = staged_layout(shape);
  const auto take_memory = [&] {
    a.gradient.resize(static_cast<std::size_t>(n));
    return a.gradient.data();
  };
  if (n == 0) {
    const auto write = [&] {
      if (gradient.dz != nullptr) gradient.dz->prepare();
    };
    return backward({take_memory, write});
  }
  // x where it lies, or as the gradient does.
  const Shape& from = walks_beside(shape, a.layout) ? shape : a.layout;
  CopyMemory<Scalar>& copies = a.copies;
  copies.restart();
  const Scalar* const x = staged_input(a.x, shape, from, copies);
  const Scalar* const dy = staged_input(a.dy.data, a.dy.shape, a.layout, copies);
  std::optional<Plan> made;
  const bool is_known = a.plan != nullptr && shape == a.layout;
  const Plan& plan = is_known ? *a.plan : plan_of(a, from, made);
  check_that(a.stats == plan.statistics.count(), "the pass has ", a.stats, " statistics but ", plan.statistics.count(),
             " are needed: it is of another forward");
  const Index size = ForwardMemory<ParamOf<Scalar>>::workspace_size(plan, a.runner.threads());
  if (static_cast<Index>(a.workspace.size()) < size) a.workspace.resize(static_cast<std::size_t>(size));
  PostOp<Scalar> op = gradient.op;
  op.z = dy;
  ForwardArguments<Scalar> pass{a.parameters, x, nullptr, {}};
  pass.frozen_mean = pass.frozen_var = nullptr;
  pass.found = a.found;
  pass.post_op = &op;
  const auto put = [&](Scalar* to) {
    pass.y = to;
    Forward<Scalar>(pass, plan).run(a.runner, {a.workspace.data(), static_cast<Index>(a.workspace.size())});
  };
  const auto write_part = [&](const UndonePart<Scalar>& part) { put_part(pass, part); };
  const FunctionRef<void(const UndonePart<Scalar>& part)> in_parts(write_part);
  const bool goes_in_parts = can_go_in_parts(a);
  if (gradient.multiply == nullptr) {
    const auto write = [&] { put(a.gradient.data()); };
    const auto begin = [&](Scalar* dx) { pass.y = dx; };
    const FunctionRef<void(Scalar * dx)> begun(begin);
    return backward({take_memory, write, goes_in_parts ? &in_parts : nullptr, &begun});
  }

  const Scalar* const z = staged_input(gradient.z, *gradient.z_shape, a.layout, copies);
  if (gradient.dz == nullptr) {
    const auto write = [&] { multiply_in_parts(a, dy, z); };
    return backward({take_memory, write});
  }
  op.factor = z;
  std::optional<StagedTarget<Scalar>> staged;
  if (gradient.dz->shape() != a.layout) {
    staged.emplace(*gradient.dz, a.layout, copies);
    staged->take_shape(a.layout);
  }
  const auto write = [&] {
    op.product = a.gradient.data();
    put(staged ? staged->prepare() : gradient.dz->prepare());
    if (staged) staged->finish();
  };
  const auto begin = [&](Scalar* dx) {
    op.product = dx;
    pass.y = gradient.dz->prepare();
  };
  const FunctionRef<void(Scalar * dx)> begun(begin);
  backward({take_memory, write, goes_in_parts ? &in_parts : nullptr, &begun});
}

}  // namespace core
}  // namespace tensornorm
