// Bodies of plan_cache.hpp.
#pragma once

#include <array>
#include <atomic>
#include <optional>

#include "tensornorm/core/compiled.hpp"
#include "tensornorm/core/plan/plan.hpp"
#include "tensornorm/core/plan/plan_cache.hpp"

namespace tensornorm {
namespace core {

// A plan and its key. Any number of threads may `find` and `offer` at once: the first offer is kept, nobody waits.
class PlanSlot {
 public:
  // The plan of this key; null if another, or none, is here.
  const Plan* find(const PlanKey& key) const {
    const bool is_ready = state_.load(std::memory_order_acquire) == State::kReady;
    return is_ready && batch_ == key.batch && shape_ == key.shape ? &*plan_ : nullptr;
  }

  // Whether it was kept.
  bool offer(const PlanKey& key, const Plan& plan) {
    State empty = State::kEmpty;
    if (!state_.compare_exchange_strong(empty, State::kBusy, std::memory_order_relaxed)) return false;
    shape_ = key.shape;
    batch_ = key.batch;
    plan_ = plan;
    state_.store(State::kReady, std::memory_order_release);
    return true;
  }

  // For the one thread that may change the layer.
  void clear() { state_.store(State::kEmpty, std::memory_order_relaxed); }

 private:
  enum class State { kEmpty, kBusy, kReady };
  std::atomic<State> state_{State::kEmpty};
  Shape shape_;
  bool batch_ = false;
  std::optional<Plan> plan_;
};

struct InferPlans::Slots : std::array<PlanSlot, 3> {};

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

TENSORNORM_BODY void InferPlans::offer(const PlanKey& key, const Plan& plan) const {
  // To plan takes about a quarter of a microsecond, less than a hundredth of what more elements take.
  constexpr Index kMostElements = 256 << 10;
  if (slots_ == nullptr || plan.elements > kMostElements) return;
  for (PlanSlot& slot : *slots_) {
    if (slot.offer(key, plan)) return;
  }
}

TENSORNORM_BODY void InferPlans::clear() {
  if (slots_ == nullptr) return;
  for (PlanSlot& slot : *slots_) slot.clear();
}

struct KeptPlan::Parts {
  Shape shape;
  bool batch = false;
  std::optional<Binning> binning;
  std::optional<Plan> plan;
  std::optional<BackwardPlan> gradient;
};

TENSORNORM_BODY KeptPlan::KeptPlan() = default;
TENSORNORM_BODY KeptPlan::KeptPlan(const KeptPlan&) noexcept : KeptPlan() {}
TENSORNORM_BODY KeptPlan::KeptPlan(KeptPlan&&) noexcept = default;
TENSORNORM_BODY KeptPlan& KeptPlan::operator=(KeptPlan&&) noexcept = default;
TENSORNORM_BODY KeptPlan::~KeptPlan() = default;

TENSORNORM_BODY bool KeptPlan::is_of(const PlanKey& key) const {
  return parts_ != nullptr && parts_->plan && parts_->batch == key.batch && parts_->shape == key.shape;
}

TENSORNORM_BODY void KeptPlan::set(const PlanKey& key, const Axes& full_axes, const Uses& uses,
                                   void (*complete)(Plan&)) {
  if (parts_ == nullptr) parts_ = std::make_unique<Parts>();
  parts_->gradient.reset();
  parts_->binning.emplace(full_axes, uses);
  complete(parts_->plan.emplace(*parts_->binning, uses));
  parts_->shape = key.shape;
  parts_->batch = key.batch;
}

TENSORNORM_BODY const Plan& KeptPlan::plan() const { return *parts_->plan; }

TENSORNORM_BODY const BackwardPlan& KeptPlan::gradient(const Uses& uses, void (*complete)(BackwardPlan&, const Plan&)) {
  if (!parts_->gradient) {
    complete(parts_->gradient.emplace(*parts_->binning, *parts_->plan, uses), *parts_->plan);
  }
  return *parts_->gradient;
}

}  // namespace core
}  // namespace tensornorm
