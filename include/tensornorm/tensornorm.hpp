// tensornorm: normalization layers over Eigen tensors. This header brings all of them.
#pragma once

#include "tensornorm/batch_norm.hpp"
#include "tensornorm/group_norm.hpp"
#include "tensornorm/instance_norm.hpp"
#include "tensornorm/layer_norm.hpp"
#include "tensornorm/rms_norm.hpp"
#include "tensornorm/version.hpp"
#include "tensornorm/whitening.hpp"
