// Compiled by one file of a program that defines TENSORNORM_COMPILED for all: the passes of double.
#pragma once

#include "tensornorm/instantiate/scalar.hpp"

TENSORNORM_INSTANTIATE(double);
