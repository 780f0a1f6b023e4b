// Plans kept from call to call: a call on a shape that was seen before plans nothing.
#pragma once

#include <memory>

#include "tensornorm/core/plan/plan_key.hpp"

namespace tensornorm {
namespace core {

struct Plan;
struct BackwardPlan;
struct Uses;
class PlanSlot;

// The plans of infer, which may be called by many threads at once: of the first few shapes so small that planning one
// again would be felt. A copy is empty; one that was moved from keeps none.
class InferPlans {
 public:
  InferPlans();
  InferPlans(const InferPlans&);
  InferPlans(InferPlans&&) noexcept;
  InferPlans& operator=(const InferPlans&) = delete;
  InferPlans& operator=(InferPlans&&) noexcept;
  ~InferPlans();

  // Null where there is none.
  const Plan* find(const PlanKey& key) const;
  // Memory for one plan more, for this call; null where other threads have it all.
  PlanSlot* take() const;
  // Whether the plan that was made there stays, as one of so many elements; else the slot is to be cleared after the
  // call.
  bool keep(PlanSlot& slot, Index elements) const;
  void clear();

 private:
  struct Slots;
  std::unique_ptr<Slots> slots_;
};

// The plan of forward and backward, which one thread calls at a time. A copy is empty.
class KeptPlan {
 public:
  KeptPlan();
  KeptPlan(const KeptPlan& other) noexcept;
  KeptPlan(KeptPlan&&) noexcept;
  KeptPlan& operator=(const KeptPlan&) = delete;
  KeptPlan& operator=(KeptPlan&&) noexcept;
  ~KeptPlan();

  bool is_of(const PlanKey& key) const;
  bool is_of(const Axes& full_axes, const Uses& uses) const;
  // Throws std::bad_alloc, the first time.
  void set(const PlanKey& key, const Axes& full_axes, const Uses& uses, void (*complete)(Plan&));

  // Counts the plans that were set, in this and in what it was copied from: no later plan of either has a number that
  // was noted before. 0: there is none.
  Index number() const { return parts_ == nullptr ? 0 : number_; }
  const Plan& plan() const;
  bool has_backward_plan() const;
  const BackwardPlan& backward_plan(const Uses& uses, void (*complete)(BackwardPlan&, const Plan&));

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
  Index number_ = 0;
};

}  // namespace core
}  // namespace tensornorm

#ifndef TENSORNORM_COMPILED
#include "tensornorm/core/plan/plan_cache-inl.hpp"
#endif
