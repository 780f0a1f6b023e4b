#include "painted_stack.hpp"

#include <pthread.h>

#include <algorithm>
#include <cstring>
#include <exception>
#include <memory>
#include <stdexcept>

namespace tensornorm_test {
namespace {

constexpr std::size_t kBytes = std::size_t{1} << 20;
constexpr unsigned char kPaint = 0x5a;

struct Call {
  const std::function<void()>& body;
  std::exception_ptr error;
};

extern "C" void* run_painted_stack_call(void* argument) {
  Call& call = *static_cast<Call*>(argument);
  try {
    call.body();
  } catch (...) {
    call.error = std::current_exception();
  }
  return nullptr;
}

// Bytes from the deepest one that was written to the stack's top, the thread's own part included.
std::size_t depth_of(const std::function<void()>& body) {
  constexpr std::size_t page = 4096;
  const std::unique_ptr<unsigned char[]> memory(new unsigned char[kBytes + page]);
  void* first = memory.get();
  std::size_t room = kBytes + page;
  unsigned char* const stack = static_cast<unsigned char*>(std::align(page, kBytes, first, room));
  std::memset(stack, kPaint, kBytes);
  Call call{body, nullptr};
  pthread_attr_t attributes;
  pthread_t thread;
  if (pthread_attr_init(&attributes) != 0 || pthread_attr_setstack(&attributes, stack, kBytes) != 0 ||
      pthread_create(&thread, &attributes, run_painted_stack_call, &call) != 0) {
    throw std::runtime_error("no thread on a stack of the test's own");
  }
  pthread_join(thread, nullptr);
  pthread_attr_destroy(&attributes);
  if (call.error != nullptr) std::rethrow_exception(call.error);
  const unsigned char* const written =
      std::find_if(stack, stack + kBytes, [](unsigned char byte) { return byte != kPaint; });
  return static_cast<std::size_t>(stack + kBytes - written);
}

}  // namespace

std::size_t stack_used(const std::function<void()>& body) {
  static const std::size_t empty = depth_of([] {});
  const std::size_t used = depth_of(body);
  return used - (std::min)(used, empty);
}

}  // namespace tensornorm_test
