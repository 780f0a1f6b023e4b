// What a test is linked with that also runs with fewer instruction sets than the processor has: with
// TENSORNORM_TEST_ISA=avx2 in the environment without AVX-512, with `baseline` without AVX2 too. Clears what
// __builtin_cpu_supports reads, the features that the compiler's runtime library found before main().
#include <cstdlib>
#include <string>

#if defined(__x86_64__)
extern "C" {
extern struct {
  unsigned vendor, type, subtype, features[1];
} __cpu_model;  // NOLINT(bugprone-reserved-identifier): GCC's name, and clang's
}

namespace {

// Numbers of the features, of both compilers.
constexpr unsigned kAvx2 = 1U << 10U;
constexpr unsigned kAvx512 = 1U << 15U | 1U << 20U | 1U << 21U | 1U << 22U;  // F, VL, BW, DQ

const bool is_told = [] {
  const char* const told = std::getenv("TENSORNORM_TEST_ISA");
  const std::string isa = told == nullptr ? "" : told;
  if (!isa.empty()) __cpu_model.features[0] &= ~kAvx512;
  if (isa == "baseline") __cpu_model.features[0] &= ~kAvx2;
  return !isa.empty();
}();

}  // namespace
#endif
