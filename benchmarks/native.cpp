// This library as a peer of itself, compiled for this machine alone: whether choosing the instruction set at run time
// costs anything. Float only. A module of its own: see contender.hpp.
#include "ours.hpp"

namespace bench {

extern "C" __attribute__((visibility("default"))) Contender* make_native(PeerKind, const Cell& cell,
                                                                         const Operands& operands) {
  return cell.scalar == Scalar::kFloat ? make_ours<float>(cell, operands).release() : nullptr;
}

extern "C" __attribute__((visibility("default"))) const char* native_version() { return __VERSION__; }

}  // namespace bench
