// The names of the layers, for headers that hold or hand on one.
#pragma once

namespace tensornorm {

template <class Scalar>
class AnyNorm;
template <class Scalar>
class BatchNorm;
template <class Scalar>
class GroupNorm;
template <class Scalar>
class InstanceNorm;
template <class Scalar>
class LayerNorm;
template <class Scalar>
class Normalization;
template <class Scalar>
class RMSNorm;
template <class Scalar>
class Standardizer;
template <class Scalar, class Communicator>
class SyncBatchNorm;
template <class Scalar, class Communicator>
class SyncWhitening;
template <class Scalar>
class UnitNorm;
template <class Scalar>
class Whitening;
class GradientRef;
template <class Scalar>
class Pass;
template <class T>
class View;

struct BatchNormOptions;
struct ClipGradNormOptions;
struct GroupNormOptions;
struct InstanceNormOptions;
struct LayerNormOptions;
struct Moments;
struct NormalizationOptions;
struct RMSNormOptions;
struct UnitNormOptions;
struct WhiteningOptions;

}  // namespace tensornorm
