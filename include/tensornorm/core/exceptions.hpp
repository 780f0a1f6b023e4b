// How errors reach a program: as exceptions or, where it is compiled without them, through a handler.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <string>

namespace tensornorm {

#ifndef __cpp_exceptions
/// Compiled with -fno-exceptions: what is called where an exception would be thrown, with its message. The program ends
/// by std::abort() when the handler returns. A handler may end it otherwise, restart the device, or leave by longjmp:
/// the layer and y are then as they were, and what the call allocated is lost. Without a handler of the program's own
/// the message goes to stderr. Set it before the first call, in one thread: calls only read it. All files of a program
/// that include tensornorm are compiled alike, with exceptions or without. Memory that runs out is no error of this
/// kind: operator new and Eigen end the program by themselves.
using ErrorHandler = void (*)(const char* message);

namespace core {
inline ErrorHandler error_handler = [](const char* message) { std::fprintf(stderr, "%s\n", message); };
}

/// Null sets nothing. Returns the handler before.
inline ErrorHandler set_error_handler(ErrorHandler handler) {
  const ErrorHandler before = core::error_handler;
  if (handler != nullptr) core::error_handler = handler;
  return before;
}
#endif

namespace core {

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
