// Plans kept from call to call: a call on a shape that was seen before plans nothing.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <optional>

#include "tensornorm/core/traversal.hpp"

namespace tensornorm {
namespace core {

// What a traversal depends on: the shape of x, which outlives this, and whether statistics are the batch's or frozen.
struct PlanKey {
  const Shape& shape;
  bool batch;
};

// A traversal and its key. Any number of threads may `find` and `offer` at once: the first offer is kept, nobody waits.
class PlanSlot {
 public:
  // The traversal of this key; null if another, or none, is here.
  const Traversal* find(const PlanKey& key) const {
    const bool is_ready = state_.load(std::memory_order_acquire) == State::kReady;
    return is_ready && batch_ == key.batch && shape_ == key.shape ? &*traversal_ : nullptr;
  }

  // Whether it was kept.
  bool offer(const PlanKey& key, const Traversal& traversal) {
    State empty = State::kEmpty;
    if (!state_.compare_exchange_strong(empty, State::kBusy, std::memory_order_relaxed)) return false;
    shape_ = key.shape;
    batch_ = key.batch;
    traversal_ = traversal;
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
  std::optional<Traversal> traversal_;
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

  const Traversal* find(const PlanKey& key) const {
    for (const PlanSlot& slot : slots_) {
      if (const Traversal* const known = slot.find(key)) return known;
    }
    return nullptr;
  }

  void offer(const PlanKey& key, const Traversal& traversal) const {
    if (traversal.elements > kMostElements) return;
    for (PlanSlot& slot : slots_) {
      if (slot.offer(key, traversal)) return;
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
class TrainPlan {
 public:
  TrainPlan() = default;
  TrainPlan(const TrainPlan&) noexcept {}
  TrainPlan(TrainPlan&&) noexcept = default;
  TrainPlan& operator=(const TrainPlan&) noexcept {
    parts_.reset();
    return *this;
  }
  TrainPlan& operator=(TrainPlan&&) noexcept = default;
  ~TrainPlan() = default;

  bool is_of(const PlanKey& key) const {
    return parts_ != nullptr && parts_->traversal && parts_->batch == key.batch && parts_->shape == key.shape;
  }
  // Throws std::bad_alloc, the first time.
  void set(const PlanKey& key, const Axes& full_plan, const Uses& uses, void (*complete)(Traversal&)) {
    if (parts_ == nullptr) parts_ = std::make_unique<Parts>();
    parts_->gradient.reset();
    parts_->cells.emplace(full_plan, uses);
    complete(parts_->traversal.emplace(*parts_->cells, uses));
    parts_->shape = key.shape;
    parts_->batch = key.batch;
  }

  const Traversal& traversal() const { return *parts_->traversal; }
  const GradientCells& gradient(const Uses& uses, void (*complete)(GradientCells&, const Traversal&)) {
    if (!parts_->gradient) {
      complete(parts_->gradient.emplace(*parts_->cells, *parts_->traversal, uses), *parts_->traversal);
    }
    return *parts_->gradient;
  }

 private:
  struct Parts {
    Shape shape;
    bool batch = false;
    std::optional<CellPlan> cells;
    std::optional<Traversal> traversal;
    std::optional<GradientCells> gradient;
  };
  std::unique_ptr<Parts> parts_;
};

}  // namespace core
}  // namespace tensornorm
