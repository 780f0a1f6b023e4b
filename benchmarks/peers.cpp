// Loads the modules of the peers: each with the libraries it was built against, invisible to the other.
#include <dlfcn.h>

#include "contender.hpp"

namespace bench {

namespace {

struct Module {
  explicit Module(const char* name) {
    void* const handle = dlopen((std::string(TENSORNORM_PEERS "/") + name + ".so").c_str(), RTLD_NOW | RTLD_LOCAL);
    if (handle == nullptr) return;
    make = reinterpret_cast<MakePeer*>(dlsym(handle, (std::string("make_") + name).c_str()));
    version = reinterpret_cast<PeerVersion*>(dlsym(handle, (std::string(name) + "_version").c_str()));
  }

  MakePeer* make = nullptr;
  PeerVersion* version = nullptr;
};

const Module& module_of(PeerKind peer) {
  static const Module torch("torch"), onednn("onednn"), native("native"), hand("hand");
  switch (peer) {
    case PeerKind::kTorch:
      return torch;
    case PeerKind::kNative:
      return native;
    case PeerKind::kHand:
      return hand;
    default:
      return onednn;
  }
}

}  // namespace

ContenderPtr make_peer(PeerKind peer, const Cell& cell, const Operands& operands) {
  const Module& module = module_of(peer);
  return ContenderPtr(module.make == nullptr ? nullptr : module.make(peer, cell, operands));
}

std::string peer_version(PeerKind peer) {
  const Module& module = module_of(peer);
  return module.version == nullptr ? "" : module.version();
}

}  // namespace bench
