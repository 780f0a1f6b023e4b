// How much stack a call takes: it runs on a thread whose stack was painted before, and what lost its colour counts.
#pragma once

#include <cstddef>
#include <functional>

namespace tensornorm_test {

/// Bytes of stack that `body` takes beyond those of an empty one; rethrows what it throws. Run `body` once before: the
/// first call of a function resolves symbols, on the stack.
std::size_t stack_used(const std::function<void()>& body);

}  // namespace tensornorm_test
