// expect: tensornorm is wrong under -ffast-math
// flags: -ffinite-math-only
#ifdef TENSORNORM_EXPECT_OK
#define TENSORNORM_ALLOW_FAST_MATH
#endif
#include <tensornorm/clip_grad.hpp>
