// Communicators of MPI, for layers whose statistics span ranks. The one header that includes <mpi.h>; link
// tensornorm::mpi, or compile with mpicxx.
#pragma once

#include "tensornorm/requirements.hpp"

// The C interface alone.
// NOLINTBEGIN(readability-identifier-naming): MPI's names
#ifndef OMPI_SKIP_MPICXX
#define OMPI_SKIP_MPICXX 1
#endif
#ifndef MPICH_SKIP_MPICXX
#define MPICH_SKIP_MPICXX 1
#endif
// NOLINTEND(readability-identifier-naming)
#include <mpi.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "tensornorm/core/check.hpp"
#include "tensornorm/core/exceptions.hpp"

namespace tensornorm {
namespace core {

inline void check_mpi(int result, const char* call) {
  if (result == MPI_SUCCESS) return;
  raise<std::runtime_error>("tensornorm: " + std::string(call) + " returned the error " + std::to_string(result));
}

// As MPI counts.
inline int mpi_count(Index n, Index times) {
  constexpr Index most = (std::numeric_limits<int>::max)();
  check_that(n <= most / times, "a gather of ", n, " numbers from each of ", times, " ranks: MPI counts to ", most);
  return static_cast<int>(n);
}

inline int mpi_size(MPI_Comm comm) {
  int size = 0;
  check_mpi(MPI_Comm_size(comm, &size), "MPI_Comm_size");
  return size;
}
inline int mpi_rank(MPI_Comm comm) {
  int rank = 0;
  check_mpi(MPI_Comm_rank(comm, &rank), "MPI_Comm_rank");
  return rank;
}

}  // namespace core

/// The ranks of an MPI communicator, for SyncBatchNorm. A gather is one MPI_Allgather of doubles, which adds nothing:
/// MPI may order the additions of MPI_Allreduce as it likes, and so its bits may differ from run to run.
///
///     MPI_Init(&argc, &argv);
///     SyncBatchNorm<float, MpiCommunicator> norm(64, MpiCommunicator(MPI_COMM_WORLD));
///
/// It refers to the MPI_Comm, which must outlive it, and to nothing else. MPI must have been initialized, so that the
/// calling thread may call it. Throws std::runtime_error where MPI returns an error; MPI ends the program by default.
class MpiCommunicator {
 public:
  /// Refers to the communicator.
  explicit MpiCommunicator(MPI_Comm comm = MPI_COMM_WORLD)
      : comm_(comm), size_(core::mpi_size(comm)), rank_(core::mpi_rank(comm)) {}

  /// The number of ranks.
  int size() const { return size_; }
  /// The number of this one.
  int rank() const { return rank_; }
  /// Makes `all` the n doubles of every rank, in rank order. Throws std::invalid_argument when these are more than
  /// 2^31 - 1.
  void all_gather(const double* mine, Index n, double* all) const {
    const int count = core::mpi_count(n, size_);
    core::check_mpi(MPI_Allgather(mine, count, MPI_DOUBLE, all, count, MPI_DOUBLE, comm_), "MPI_Allgather");
  }

 private:
  MPI_Comm comm_;
  int size_, rank_;
};

/// The same in two levels, for many ranks on many nodes: a gather on each node, then one between a rank of each, then a
/// broadcast on each node. A message between nodes is a node's, not a rank's. The ranks' order is that of the
/// communicator, so the bits are those of MpiCommunicator.
///
/// All ranks construct it together. Copies share its communicators, which the last one frees.
class MpiNodeCommunicator {
 public:
  /// Nodes are the ranks that share memory, as MPI says.
  explicit MpiNodeCommunicator(MPI_Comm comm = MPI_COMM_WORLD) : MpiNodeCommunicator(comm, node_of(comm)) {}
  /// Nodes are the ranks that give the same number: racks, sockets.
  MpiNodeCommunicator(MPI_Comm comm, int node)
      : size_(core::mpi_size(comm)), rank_(core::mpi_rank(comm)), node_(split(comm, node)),
        leaders_(split(comm, core::mpi_rank(*node_) == 0 ? 0 : MPI_UNDEFINED)) {
    const int on_node = core::mpi_size(*node_);
    std::vector<int> ranks(static_cast<std::size_t>(on_node));
    core::check_mpi(MPI_Gather(&rank_, 1, MPI_INT, ranks.data(), 1, MPI_INT, 0, *node_), "MPI_Gather");
    if (!is_leader()) return;
    ranks_of_nodes_.resize(static_cast<std::size_t>(core::mpi_size(*leaders_)));
    core::check_mpi(MPI_Allgather(&on_node, 1, MPI_INT, ranks_of_nodes_.data(), 1, MPI_INT, *leaders_),
                    "MPI_Allgather");
    counts_ = ranks_of_nodes_;
    offsets_ = ranks_of_nodes_;
    order_.resize(static_cast<std::size_t>(size_));
    set_counts(1);
    core::check_mpi(MPI_Allgatherv(ranks.data(), on_node, MPI_INT, order_.data(), counts_.data(), offsets_.data(),
                                   MPI_INT, *leaders_),
                    "MPI_Allgatherv");
  }

  /// The number of ranks.
  int size() const { return size_; }
  /// The number of this one.
  int rank() const { return rank_; }
  /// As MpiCommunicator. The first call of a size allocates on the first rank of each node. If that throws
  /// std::bad_alloc, the other ranks wait for ever.
  void all_gather(const double* mine, Index n, double* all) {
    const int count = core::mpi_count(n, size_), whole = count * size_;
    const bool is_in_order = std::is_sorted(order_.begin(), order_.end());
    if (is_leader()) of_nodes_.resize(is_in_order ? 0 : static_cast<std::size_t>(whole));
    const int on_node = core::mpi_size(*node_);
    if (is_leader()) of_node_.resize(static_cast<std::size_t>(count) * static_cast<std::size_t>(on_node));
    core::check_mpi(MPI_Gather(mine, count, MPI_DOUBLE, of_node_.data(), count, MPI_DOUBLE, 0, *node_), "MPI_Gather");
    if (is_leader()) {
      set_counts(count);
      double* const to = is_in_order ? all : of_nodes_.data();
      core::check_mpi(MPI_Allgatherv(of_node_.data(), count * on_node, MPI_DOUBLE, to, counts_.data(), offsets_.data(),
                                     MPI_DOUBLE, *leaders_),
                      "MPI_Allgatherv");
      for (std::size_t i = 0; i < order_.size() && !is_in_order; ++i) {
        std::copy_n(to + static_cast<Index>(i) * n, n, all + order_[i] * n);
      }
    }
    core::check_mpi(MPI_Bcast(all, whole, MPI_DOUBLE, 0, *node_), "MPI_Bcast");
  }

 private:
  struct Free {
    void operator()(MPI_Comm* comm) const {
      int is_over = 0;
      MPI_Finalized(&is_over);
      if (is_over == 0 && *comm != MPI_COMM_NULL) MPI_Comm_free(comm);
      delete comm;
    }
  };
  using Shared = std::shared_ptr<MPI_Comm>;

  static Shared split(MPI_Comm comm, int color) {
    Shared result(new MPI_Comm(MPI_COMM_NULL), Free());
    core::check_mpi(MPI_Comm_split(comm, color, core::mpi_rank(comm), result.get()), "MPI_Comm_split");
    return result;
  }
  // The first rank of those that share memory.
  static int node_of(MPI_Comm comm) {
    const Shared node(new MPI_Comm(MPI_COMM_NULL), Free());
    const int rank = core::mpi_rank(comm);
    core::check_mpi(MPI_Comm_split_type(comm, MPI_COMM_TYPE_SHARED, rank, MPI_INFO_NULL, node.get()),
                    "MPI_Comm_split_type");
    int first = rank;
    core::check_mpi(MPI_Bcast(&first, 1, MPI_INT, 0, *node), "MPI_Bcast");
    return first;
  }

  bool is_leader() const { return *leaders_ != MPI_COMM_NULL; }
  // Of the message of each node, with n numbers a rank.
  void set_counts(int n) {
    for (std::size_t i = 0; i < counts_.size(); ++i) {
      counts_[i] = ranks_of_nodes_[i] * n;
      offsets_[i] = i == 0 ? 0 : offsets_[i - 1] + counts_[i - 1];
    }
  }

  int size_, rank_;
  Shared node_, leaders_;
  std::vector<int> ranks_of_nodes_, counts_, offsets_;  // of a leader: by node
  std::vector<int> order_;                              // the rank of each place, node after node
  std::vector<double> of_node_, of_nodes_;
};

}  // namespace tensornorm
