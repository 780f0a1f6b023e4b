// PlanSlot: room for a plan that many threads may look for.
#pragma once

#include <atomic>
#include <optional>

#include "tensornorm/core/plan/plan.hpp"
#include "tensornorm/core/plan/plan_key.hpp"

namespace tensornorm {
namespace core {

// A plan and its key. Any number of threads may `find` and `take` at once: the first to take an empty slot has it, and
// nobody waits.
class PlanSlot {
 public:
  // The plan of this key; null if another, or none, is here.
  const Plan* find(const PlanKey& key) const {
    const bool is_ready = state_.load(std::memory_order_acquire) == State::kReady;
    return is_ready && key_.is_of(key) ? &*plan_ : nullptr;
  }

  // Whether it was empty, and is now the calling thread's alone until it keeps or clears it.
  bool take() {
    State empty = State::kEmpty;
    return state_.compare_exchange_strong(empty, State::kBusy, std::memory_order_acquire);
  }
  Plan& make(const PlanKey& key, const Binning& binning, const Uses& uses) {
    key_.set(key);
    return plan_.emplace(binning, uses);
  }
  void keep() { state_.store(State::kReady, std::memory_order_release); }
  void clear() { state_.store(State::kEmpty, std::memory_order_release); }

 private:
  enum class State { kEmpty, kBusy, kReady };
  std::atomic<State> state_{State::kEmpty};
  KeptPlanKey key_;
  std::optional<Plan> plan_;
};

}  // namespace core
}  // namespace tensornorm
