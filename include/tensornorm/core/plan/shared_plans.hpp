// SharedPlans: plans of the calls of functions, which have no layer to keep them.
#pragma once

#include <algorithm>
#include <atomic>
#include <optional>

#include "tensornorm/core/plan/plan.hpp"

namespace tensornorm {
namespace core {

// The last plans that a program's functions made. Any number of threads may use them at once; nobody waits.
class SharedPlans {
 public:
  // A plan in use, or none.
  class Use {
   public:
    Use() = default;
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;
    ~Use() {
      if (users_ != nullptr) users_->fetch_sub(1, std::memory_order_release);
    }
    const Plan* plan() const { return plan_; }

   private:
    friend class SharedPlans;
    std::atomic<int>* users_ = nullptr;
    const Plan* plan_ = nullptr;
  };

  // The plan of these axes: one that is kept, or a new one in the next place in turn that nobody uses. None where all
  // are in use.
  void find(const Axes& axes, const Uses& uses, void (*complete)(Plan&), Use& use) {
    const std::size_t hash = hash_of(axes);
    for (std::size_t i = 0; i < kPlaces; ++i) {
      if (hashes_[i].load(std::memory_order_relaxed) == hash && take(slots_[i], axes, uses, use)) return;
    }
    for (std::size_t tries = 0; tries < kPlaces; ++tries) {
      const std::size_t place = next_.fetch_add(1, std::memory_order_relaxed) % kPlaces;
      Slot& slot = slots_[place];
      int nobody = 0;
      if (!slot.users.compare_exchange_strong(nobody, kBusy, std::memory_order_acquire)) continue;
      hashes_[place].store(hash, std::memory_order_relaxed);
      slot.axes = axes;
      slot.uses = uses;
      make(slot, complete);
      slot.users.store(1, std::memory_order_release);
      use.users_ = &slot.users;
      use.plan_ = &*slot.plan;
      return;
    }
  }

 private:
  static constexpr int kBusy = -1;  // users of a place whose plan is being made
  static constexpr std::size_t kPlaces = 16;

  struct Slot {
    std::atomic<int> users{0};
    Axes axes;
    Uses uses;
    std::optional<Plan> plan;
  };

  static std::size_t hash_of(const Axes& axes) {
    std::size_t sum = static_cast<std::size_t>(axes.size());
    for (const Axis& a : axes) sum = sum * 31 + static_cast<std::size_t>(a.extent * 3 + a.stat + a.param * 7);
    return sum;
  }

  // If the slot holds the plan of these axes, marks it used and returns true.
  static bool take(Slot& slot, const Axes& axes, const Uses& uses, Use& use) {
    int users = slot.users.load(std::memory_order_relaxed);
    do {
      if (users < 0) return false;
    } while (!slot.users.compare_exchange_weak(users, users + 1, std::memory_order_acquire));
    if (slot.plan && slot.uses == uses && std::equal(axes.begin(), axes.end(), slot.axes.begin(), slot.axes.end())) {
      use.users_ = &slot.users;
      use.plan_ = &*slot.plan;
      return true;
    }
    slot.users.fetch_sub(1, std::memory_order_release);
    return false;
  }

  __attribute__((noinline)) static void make(Slot& slot, void (*complete)(Plan&)) {
    complete(slot.plan.emplace(Binning(slot.axes, slot.uses), slot.uses));
  }

  std::atomic<std::size_t> hashes_[kPlaces] = {};  // of the axes of each slot: where to look
  Slot slots_[kPlaces];
  std::atomic<std::size_t> next_{0};
};

}  // namespace core
}  // namespace tensornorm
