// The other translation unit of odr_test: the same program, and where the machine is x86 with other flags.
#define ODR_FUNCTION odr_b
#include "odr_a.cpp"
