// Plans kept from call to call: a call on a shape that was seen before plans nothing.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <optional>

#include "tensornorm/core/plan/plan.hpp"

namespace tensornorm {
namespace core {

// What a plan depends on: the shape of x, which outlives this, and whether statistics are the batch's or frozen.
struct PlanKey {
  const Shape& shape;
  bool batch;
};

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

// The plans of infer, which may be called by many threads at once: of the first few shapes so small that planning one
// again would be felt. A copy is empty.
class InferPlans {
 public:
  InferPlans() = default;
  InferPlans(const InferPlans&) noexcept {}
  InferPlans& operator=(const InferPlans&) noexcept {
    clear();
    return *this;
  }

  const Plan* find(const PlanKey& key) const {
    for (const PlanSlot& slot : slots_) {
      if (const Plan* const known = slot.find(key)) return known;
    }
    return nullptr;
  }

  void offer(const PlanKey& key, const Plan& plan) const {
    if (plan.elements > kMostElements) return;
    for (PlanSlot& slot : slots_) {
      if (slot.offer(key, plan)) return;
    }
  }

  void clear() {
    for (PlanSlot& slot : slots_) slot.clear();
  }

 private:
  // To plan takes about a quarter of a microsecond, less than a hundredth of what more elements take.
  static constexpr Index kMostElements = 256 << 10;
  mutable std::array<PlanSlot, 3> slots_;
};

// The plan of forward and backward, which one thread calls at a time. A copy is empty.
class KeptPlan {
 public:
  KeptPlan() = default;
  KeptPlan(const KeptPlan&) noexcept {}
  KeptPlan(KeptPlan&&) noexcept = default;
  KeptPlan& operator=(const KeptPlan&) noexcept {
    parts_.reset();
    return *this;
  }
  KeptPlan& operator=(KeptPlan&&) noexcept = default;
  ~KeptPlan() = default;

  bool is_of(const PlanKey& key) const {
    return parts_ != nullptr && parts_->plan && parts_->batch == key.batch && parts_->shape == key.shape;
  }
  // Throws std::bad_alloc, the first time.
  void set(const PlanKey& key, const Axes& full_axes, const Uses& uses, void (*complete)(Plan&)) {
    if (parts_ == nullptr) parts_ = std::make_unique<Parts>();
    parts_->gradient.reset();
    parts_->binning.emplace(full_axes, uses);
    complete(parts_->plan.emplace(*parts_->binning, uses));
    parts_->shape = key.shape;
    parts_->batch = key.batch;
  }

  const Plan& plan() const { return *parts_->plan; }
  const BackwardPlan& gradient(const Uses& uses, void (*complete)(BackwardPlan&, const Plan&)) {
    if (!parts_->gradient) {
      complete(parts_->gradient.emplace(*parts_->binning, *parts_->plan, uses), *parts_->plan);
    }
    return *parts_->gradient;
  }

 private:
  struct Parts {
    Shape shape;
    bool batch = false;
    std::optional<Binning> binning;
    std::optional<Plan> plan;
    std::optional<BackwardPlan> gradient;
  };
  std::unique_ptr<Parts> parts_;
};

}  // namespace core
}  // namespace tensornorm
