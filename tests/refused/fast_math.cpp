// expect: tensornorm is wrong under -ffast-math
// flags: -Ofast
#ifdef TENSORNORM_EXPECT_OK
#define TENSORNORM_ALLOW_FAST_MATH
#endif
#include <tensornorm/tensornorm.hpp>
