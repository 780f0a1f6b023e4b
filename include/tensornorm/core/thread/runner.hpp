// Runner: who runs which unit of work. Shape alone decides in what order numbers are added, so every device computes
// the same bits.
#pragma once

#include "tensornorm/core/function_ref.hpp"
#include "tensornorm/core/plan/axis.hpp"

namespace tensornorm {
namespace core {

// One unit of work, and which of the threads at work does it, counted from 0.
using Unit = FunctionRef<void(Index unit, Index worker)>;

// What a round of work is: the last one of its call, or one that takes each thread's units from the last to the first.
struct Round {
  bool is_last = false, is_backwards = false;
};

// Runs every unit on the calling thread.
inline void run_inline(Index units, const Round& round, const Unit& work) {
  for (Index unit = 0; unit < units; ++unit) work(round.is_backwards ? units - 1 - unit : unit, 0);
}

// A device as the passes see it: it runs `units` units of work over `elements` elements in all. A call may have several
// such rounds; `last` says that none follows, and no helper stays for one. `backwards` takes every thread's units in
// the other order, the last first: the round before left them in its cache.
class Runner {
 public:
  // How many threads at most.
  virtual Index threads() const = 0;
  // Memory for all threads. Null where one thread is to do with the stack; where it cannot be allocated one thread does
  // all from then on.
  virtual double* memory(Index doubles) = 0;

  void operator()(Index units, Index elements, const Unit& work) const { run(units, elements, {}, work); }
  void last(Index units, Index elements, const Unit& work) const { run(units, elements, {true, false}, work); }
  void backwards(Index units, Index elements, const Unit& work) const { run(units, elements, {false, true}, work); }

 protected:
  Runner() = default;
  Runner(const Runner&) = default;
  Runner& operator=(const Runner&) = default;
  ~Runner() = default;

 private:
  virtual void run(Index units, Index elements, const Round& round, const Unit& work) const = 0;
};

class InlineRunner final : public Runner {
 public:
  Index threads() const override { return 1; }
  double* memory(Index) override { return nullptr; }

 private:
  void run(Index units, Index, const Round& round, const Unit& work) const override { run_inline(units, round, work); }
};

}  // namespace core
}  // namespace tensornorm
