// Times contenders against each other: in one process, in turns, by medians.
#pragma once

#include <string>
#include <vector>

#include "contender.hpp"

namespace bench {

struct Timed {
  std::string name;
  ContenderPtr contender;
  std::vector<double> seconds = {};  // of one run each

  double median() const;
};

/// Gives every contender some samples, in turns, for about `budget` seconds in all, with what goes before each, but at
/// least five each, two of those that take long. A sample is as many runs back to back as last half a millisecond,
/// after some that are not counted. Each turn has another order: what went before leaves the caches as it likes.
/// (Measured: what followed the slowest contender took 1.1 to 1.25 times as long.)
void time_in_turns(std::vector<Timed>& contenders, int threads, double budget);

/// Ends the program where it is not optimized, as its times would mean nothing. Keeps the memory that peers free for
/// their next run: else they would pay for the kernel's zeroed pages.
void prepare_to_measure();

}  // namespace bench
