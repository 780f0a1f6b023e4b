// Compiled by one file of a program that defines TENSORNORM_COMPILED for all of its files: they leave the passes to
// this one, and compile in a fraction of the time. A program of few scalars compiles common.hpp and the scalars'
// headers of tensornorm/instantiate/ instead.
#pragma once

#include "tensornorm/instantiate/bfloat16.hpp"
#include "tensornorm/instantiate/common.hpp"
#include "tensornorm/instantiate/double.hpp"
#include "tensornorm/instantiate/float.hpp"
#include "tensornorm/instantiate/half.hpp"
