// How errors reach a program: as exceptions or, where it is compiled without them, through a handler.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <string>

namespace tensornorm {

#ifndef __cpp_exceptions
/// What is called with the message of an error, in a program compiled with -fno-exceptions. Such a program throws no
/// exception; std::abort() ends it when the handler returns.
///
/// A handler may also end the program otherwise, or leave by longjmp: the layer and the outputs are then as before the
/// call, and what the call allocated is lost. The default handler writes the message to stderr. All files of a program
/// that include tensornorm are compiled alike, with exceptions or without. Memory that runs out calls no handler:
/// operator new and Eigen end the program.
using ErrorHandler = void (*)(const char* message);

namespace core {
inline ErrorHandler error_handler = [](const char* message) { std::fprintf(stderr, "%s\n", message); };
}  // namespace core

/// Sets the handler of errors, and returns the one before. Null sets none. To be called before the first call of the
/// library, by one thread: there is no lock. Only with -fno-exceptions.
inline ErrorHandler set_error_handler(ErrorHandler handler) {
  const ErrorHandler before = core::error_handler;
  if (handler != nullptr) core::error_handler = handler;
  return before;
}
#endif

namespace core {

// Whether errors are exceptions.
#ifdef __cpp_exceptions
constexpr bool kThrows = true;
#else
constexpr bool kThrows = false;
#endif

template <class Error>
[[noreturn]] __attribute__((cold, noinline)) void raise(const std::string& message) {
#ifdef __cpp_exceptions
  throw Error(message);
#else
  error_handler(message.c_str());
  std::abort();
#endif
}

// Whether attempt() ended without an exception.
template <class Function>
bool succeeds(const Function& attempt) {
#ifdef __cpp_exceptions
  try {
    attempt();
  } catch (...) {
    return false;
  }
#else
  attempt();
#endif
  return true;
}

}  // namespace core
}  // namespace tensornorm
