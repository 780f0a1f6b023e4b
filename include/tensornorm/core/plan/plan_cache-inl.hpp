// Bodies of plan_cache.hpp.
#pragma once

#include <array>
#include <optional>

#include "tensornorm/core/compiled.hpp"
#include "tensornorm/core/plan/plan_cache.hpp"
#include "tensornorm/core/plan/plan_slot.hpp"

namespace tensornorm {
namespace core {

// The last one keeps no plan: there is room for the plan of one call more.
struct InferPlans::Slots : std::array<PlanSlot, 4> {};

TENSORNORM_BODY InferPlans::InferPlans() : slots_(std::make_unique<Slots>()) {}
TENSORNORM_BODY InferPlans::InferPlans(const InferPlans&) : InferPlans() {}
TENSORNORM_BODY InferPlans::InferPlans(InferPlans&&) noexcept = default;
TENSORNORM_BODY InferPlans& InferPlans::operator=(InferPlans&&) noexcept = default;
TENSORNORM_BODY InferPlans::~InferPlans() = default;

TENSORNORM_BODY const Plan* InferPlans::find(const PlanKey& key) const {
  if (slots_ == nullptr) return nullptr;
  for (const PlanSlot& slot : *slots_) {
    if (const Plan* const known = slot.find(key)) return known;
  }
  return nullptr;
}

TENSORNORM_BODY PlanSlot* InferPlans::take() const {
  if (slots_ == nullptr) return nullptr;
  for (PlanSlot& slot : *slots_) {
    if (slot.take()) return &slot;
  }
  return nullptr;
}

TENSORNORM_BODY bool InferPlans::keep(PlanSlot& slot, Index elements) const {
  // To plan takes about a quarter of a microsecond, less than a hundredth of what more elements take.
  constexpr Index kMostElements = 256 << 10;
  const bool keeps = elements <= kMostElements && &slot != &slots_->back();
  if (keeps) slot.keep();
  return keeps;
}

TENSORNORM_BODY void InferPlans::clear() {
  if (slots_ == nullptr) return;
  for (PlanSlot& slot : *slots_) slot.clear();
}

struct KeptPlan::Parts {
  KeptPlanKey key;
  Axes full_axes;
  Uses uses;
  std::optional<Binning> binning;
  std::optional<Plan> plan;
  std::optional<BackwardPlan> backward_plan;
};

TENSORNORM_BODY KeptPlan::KeptPlan() = default;
TENSORNORM_BODY KeptPlan::KeptPlan(const KeptPlan& other) noexcept : number_(other.number_) {}
TENSORNORM_BODY KeptPlan::KeptPlan(KeptPlan&&) noexcept = default;
TENSORNORM_BODY KeptPlan& KeptPlan::operator=(KeptPlan&&) noexcept = default;
TENSORNORM_BODY KeptPlan::~KeptPlan() = default;

__attribute__((noinline)) TENSORNORM_BODY bool KeptPlan::is_of(const PlanKey& key) const {
  return parts_ != nullptr && parts_->plan && parts_->key.is_of(key);
}

TENSORNORM_BODY bool KeptPlan::is_of(const Axes& full_axes, const Uses& uses) const {
  if (parts_ == nullptr || !parts_->plan || !(parts_->uses == uses)) return false;
  return std::equal(full_axes.begin(), full_axes.end(), parts_->full_axes.begin(), parts_->full_axes.end());
}

__attribute__((cold, noinline)) TENSORNORM_BODY void KeptPlan::set(const PlanKey& key, const Axes& full_axes,
                                                                   const Uses& uses, void (*complete)(Plan&)) {
  ++number_;
  if (parts_ == nullptr) parts_ = std::make_unique<Parts>();
  parts_->backward_plan.reset();
  parts_->binning.emplace(full_axes, uses);
  complete(parts_->plan.emplace(*parts_->binning, uses));
  parts_->key.set(key);
  parts_->full_axes = full_axes;
  parts_->uses = uses;
}

TENSORNORM_BODY const Plan& KeptPlan::plan() const { return *parts_->plan; }

TENSORNORM_BODY bool KeptPlan::has_backward_plan() const { return parts_->backward_plan.has_value(); }

TENSORNORM_BODY const BackwardPlan& KeptPlan::backward_plan(const Uses& uses,
                                                            void (*complete)(BackwardPlan&, const Plan&)) {
  if (!parts_->backward_plan) {
    complete(parts_->backward_plan.emplace(*parts_->binning, *parts_->plan, uses), *parts_->plan);
  }
  return *parts_->backward_plan;
}

}  // namespace core
}  // namespace tensornorm
