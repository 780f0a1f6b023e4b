// Two translation units with every header, built with other flags and hostile macros, in one program.
#include <gtest/gtest.h>

#include <vector>

std::vector<double> odr_a();
std::vector<double> odr_b();

namespace {

TEST(Odr, TranslationUnitsOfOtherFlagsAgree) {
#if defined(__x86_64__)
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) GTEST_SKIP() << "odr_b.cpp needs AVX2";
#endif
  const std::vector<double> a = odr_a(), b = odr_b();
  ASSERT_GT(a.size(), 1000U);
  ASSERT_EQ(a.size(), b.size());
  // The instruction set is chosen at run time: the flags of a translation unit change no bit.
  for (std::size_t i = 0; i < a.size(); ++i) ASSERT_EQ(a[i], b[i]) << "at " << i;
}

}  // namespace
