// malloc and its family, which Eigen uses, and with it operator new: counted, and one of them failing where a test asks
// for it. For one source file of a program.
#pragma once

#include <Eigen/Core>  // first, as clang's mm_malloc.h declares posix_memalign without its noexcept
#include <atomic>
#include <cerrno>
#include <cstddef>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define MALLOC_IS_TAKEN
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define MALLOC_IS_TAKEN
#endif
#endif

#if defined(__GLIBC__) && !defined(MALLOC_IS_TAKEN)
#define COUNTS_ALLOCATIONS 1
#else
#define COUNTS_ALLOCATIONS 0
#endif

namespace tensornorm_test {

inline std::atomic<long> allocations{0};
inline std::atomic<long> releases{0};
inline std::atomic<long> until_failure{-1};  // allocations that succeed before one fails; negative: none fails

inline const volatile void* volatile sink;  // what goes there is allocated: compilers leave out what nobody sees

inline void* counted(void* p) noexcept {
  if (p != nullptr) ++allocations;
  return p;
}
inline bool is_to_fail() noexcept { return until_failure >= 0 && until_failure-- == 0; }

}  // namespace tensornorm_test

#if COUNTS_ALLOCATIONS
extern "C" {
void* __libc_malloc(std::size_t size);
void* __libc_calloc(std::size_t count, std::size_t size);
void* __libc_realloc(void* old, std::size_t size);
void* __libc_memalign(std::size_t alignment, std::size_t size);
void __libc_free(void* p);

void* malloc(std::size_t size) noexcept {
  using namespace tensornorm_test;
  return is_to_fail() ? nullptr : counted(__libc_malloc(size));
}
void* calloc(std::size_t count, std::size_t size) noexcept {
  using namespace tensornorm_test;
  return is_to_fail() ? nullptr : counted(__libc_calloc(count, size));
}
void* realloc(void* old, std::size_t size) noexcept {
  using namespace tensornorm_test;
  if (is_to_fail()) return nullptr;
  if (old != nullptr) ++releases;
  return counted(__libc_realloc(old, size));
}
void* memalign(std::size_t alignment, std::size_t size) noexcept {
  using namespace tensornorm_test;
  return is_to_fail() ? nullptr : counted(__libc_memalign(alignment, size));
}
void* aligned_alloc(std::size_t alignment, std::size_t size) noexcept { return memalign(alignment, size); }
int posix_memalign(void** result, std::size_t alignment, std::size_t size) noexcept {
  *result = memalign(alignment, size);
  return *result ? 0 : ENOMEM;
}
void free(void* p) noexcept {
  if (p != nullptr) ++tensornorm_test::releases;
  __libc_free(p);
}
}
#endif
