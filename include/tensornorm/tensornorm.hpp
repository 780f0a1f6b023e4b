/// @namespace tensornorm
/// Normalization layers over Eigen tensors, and gradient clipping.
///
/// tensornorm/tensornorm.hpp brings all of it. tensornorm/matrix.hpp brings all of it to programs without tensors, and
/// tensornorm/fwd.hpp the names alone.
#pragma once

#include "tensornorm/requirements.hpp"

#include <unsupported/Eigen/CXX11/Tensor>

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
