// The layers for programs of Eigen's matrices and arrays alone: without Eigen's Tensor header, which takes longer to
// compile than this library does. A file that has tensors too includes that header, before or after this one.
#pragma once

#ifndef TENSORNORM_NO_TENSOR
#define TENSORNORM_NO_TENSOR
#define TENSORNORM_NO_TENSOR_HERE
#endif
#include "tensornorm/any_norm.hpp"
#include "tensornorm/batch_norm.hpp"
#include "tensornorm/clip_grad.hpp"
#include "tensornorm/conventions.hpp"
#include "tensornorm/functional.hpp"
#include "tensornorm/group_norm.hpp"
#include "tensornorm/instance_norm.hpp"
#include "tensornorm/layer_norm.hpp"
#include "tensornorm/moments.hpp"
#include "tensornorm/normalization.hpp"
#include "tensornorm/rms_norm.hpp"
#include "tensornorm/standardizer.hpp"
#include "tensornorm/sync_batch_norm.hpp"
#include "tensornorm/sync_whitening.hpp"
#include "tensornorm/unit_norm.hpp"
#include "tensornorm/version.hpp"
#include "tensornorm/whitening.hpp"
#ifdef TENSORNORM_NO_TENSOR_HERE
#undef TENSORNORM_NO_TENSOR
#undef TENSORNORM_NO_TENSOR_HERE
#endif
