// Contender: one way to do a cell's work, ready to run: this library's, a peer's, a copy of the same bytes.
#pragma once

#include <memory>

#include "cell.hpp"

namespace bench {

/// What every contender of a cell works on, in the cell's scalar and order of memory; gamma, beta and the running
/// statistics as float or, for double, double.
struct Operands {
  const void *x, *dy;
  void* y;  // or dx
  const void *gamma, *beta, *running_mean, *running_var;
};

/// What a run leaves in a layer, by channel, as float or, for double, double; null where there is no such thing.
struct Parameters {
  const void *dgamma = nullptr, *dbeta = nullptr, *running_mean = nullptr, *running_var = nullptr;
};

class Contender {
 public:
  Contender() = default;
  Contender(const Contender&) = delete;
  Contender& operator=(const Contender&) = delete;
  virtual ~Contender() = default;

  /// Does the work once.
  virtual void run() = 0;
  /// y or dx of the last run in the cell's order of memory; null where the contender keeps another.
  virtual const void* result() const = 0;
  virtual Parameters parameters() const { return {}; }
};

using ContenderPtr = std::unique_ptr<Contender>;

constexpr double kEps = 1e-5;
constexpr double kMomentum = 0.1;

/// tensornorm. T is the scalar; one translation unit for each.
template <class T>
ContenderPtr make_ours(const Cell& cell, const Operands& operands);
ContenderPtr make_ours(const Cell& cell, const Operands& operands);

/// Its functions, which own nothing; float only, null otherwise.
ContenderPtr make_functions(const Cell& cell, const Operands& operands);

/// Eigen tensor expressions, as a user writes them; float only, null otherwise.
ContenderPtr make_eigen(const Cell& cell, const Operands& operands);

/// The copies: memcpy of x to y, a copy that writes past the cache, x + dy written past it, and x read but not written.
ContenderPtr make_memcpy(std::size_t bytes, int threads, const void* x, void* y);
ContenderPtr make_streaming_copy(std::size_t bytes, int threads, const void* x, void* y);
ContenderPtr make_streaming_sum(std::size_t bytes, int threads, const void* x, const void* dy, void* y);
ContenderPtr make_read(std::size_t bytes, int threads, const void* x);

/// Peers live in modules of their own, loaded only where they are: libtorch brings a oneDNN that must not meet the
/// other. Null where the peer is not there or has no entry for the cell. Two are compiled with -march=native: kNative
/// is this library, kHand lines of Eigen for matrices.
enum class PeerKind { kOneDnn, kOneDnnBlocked, kTorch, kNative, kHand };
ContenderPtr make_peer(PeerKind peer, const Cell& cell, const Operands& operands);
/// Its version, or empty where it is not there.
std::string peer_version(PeerKind peer);

/// What a module exports, by these names.
extern "C" {
using MakePeer = Contender*(PeerKind peer, const Cell& cell, const Operands& operands);
using PeerVersion = const char*();
}

}  // namespace bench
