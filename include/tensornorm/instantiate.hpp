// Compiled by one file of a program that defines TENSORNORM_COMPILED for all of its files: they leave the passes to
// this one, and compile in a fraction of the time. A program of one scalar, or without Whitening, says so instead:
//
//   #include <tensornorm/instantiate/common.hpp>
//   #include <tensornorm/instantiate/layers.hpp>
//   TENSORNORM_INSTANTIATE_LAYERS(float);
#pragma once

#include "tensornorm/instantiate/common.hpp"
#include "tensornorm/instantiate/layers.hpp"
#include "tensornorm/instantiate/whitening.hpp"

TENSORNORM_INSTANTIATE_LAYERS(float);
TENSORNORM_INSTANTIATE_LAYERS(double);
TENSORNORM_INSTANTIATE_LAYERS(Eigen::half);
TENSORNORM_INSTANTIATE_LAYERS(Eigen::bfloat16);
TENSORNORM_INSTANTIATE_WHITENING(float);
TENSORNORM_INSTANTIATE_WHITENING(double);
TENSORNORM_INSTANTIATE_WHITENING(Eigen::half);
TENSORNORM_INSTANTIATE_WHITENING(Eigen::bfloat16);
