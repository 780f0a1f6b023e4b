// PlanCache: the traversal of a shape, kept so that the next call on that shape plans nothing.
#pragma once

#include <atomic>
#include <optional>

#include "tensornorm/core/traversal.hpp"

namespace tensornorm {
namespace core {

// What a traversal depends on: the shape of x, which outlives this, and whether statistics are the batch's or frozen.
struct PlanKey {
  const Shape& shape;
  bool batch;
};

// Holds one plan. Any number of threads may `find` and `offer` at once: the first offer is kept, nobody waits. `clear`
// is for the one thread that may change the layer. A copy is empty.
class PlanCache {
 public:
  PlanCache() = default;
  PlanCache(const PlanCache&) noexcept {}
  PlanCache& operator=(const PlanCache&) noexcept {
    clear();
    return *this;
  }

  // The traversal of this key; null if another, or none, is here.
  const Traversal* find(const PlanKey& key) const {
    const bool is_ready = state_.load(std::memory_order_acquire) == State::kReady;
    return is_ready && batch_ == key.batch && shape_ == key.shape ? &*traversal_ : nullptr;
  }

  void offer(const PlanKey& key, const Traversal& traversal) const {
    State empty = State::kEmpty;
    if (!state_.compare_exchange_strong(empty, State::kBusy, std::memory_order_relaxed)) return;
    shape_ = key.shape;
    batch_ = key.batch;
    traversal_ = traversal;
    state_.store(State::kReady, std::memory_order_release);
  }

  void clear() { state_.store(State::kEmpty, std::memory_order_relaxed); }

 private:
  enum class State { kEmpty, kBusy, kReady };
  mutable std::atomic<State> state_{State::kEmpty};
  mutable Shape shape_;
  mutable bool batch_ = false;
  mutable std::optional<Traversal> traversal_;
};

}  // namespace core
}  // namespace tensornorm
