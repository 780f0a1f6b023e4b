// expect: tensornorm does not compile with cl\.exe
#undef __clang__
#define _MSC_VER 1940
#include <tensornorm/whitening.hpp>
