// Ranks that are threads: a communicator, and a run of each rank's work.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include <tensornorm/core/plan/axis.hpp>

namespace tensornorm_test {

using tensornorm::Index;

/// What the ranks of a gather share. Messages of one gather must have one length: else the program ends, where MPI
/// would be undefined.
class ThreadGroup {
 public:
  explicit ThreadGroup(int size) : size_(size) {}

  int size() const { return size_; }
  Index gathers() const { return gathers_; }

  void all_gather(int rank, const double* mine, Index n, double* all) {
    std::unique_lock<std::mutex> lock(mutex_);
    free_.wait(lock, [&] { return !is_full_; });
    if (arrived_ == 0) {
      n_ = n;
      values_.resize(std::size_t(n * size_));
    }
    if (n != n_) std::terminate();
    for (Index i = 0; i < n; ++i) values_[std::size_t(rank * n + i)] = mine[i];
    if (++arrived_ == size_) {
      is_full_ = true;
      ++gathers_;
      full_.notify_all();
    }
    full_.wait(lock, [&] { return is_full_; });
    for (std::size_t i = 0; i < values_.size(); ++i) all[i] = values_[i];
    if (--arrived_ == 0) {
      is_full_ = false;
      free_.notify_all();
    }
  }

 private:
  const int size_;
  int arrived_ = 0;
  bool is_full_ = false;
  Index n_ = 0, gathers_ = 0;
  std::vector<double> values_;
  std::mutex mutex_;
  std::condition_variable full_, free_;
};

/// One thread's handle.
class ThreadRank {
 public:
  ThreadRank(ThreadGroup& group, int rank) : group_(&group), rank_(rank) {}
  int size() const { return group_->size(); }
  int rank() const { return rank_; }
  void all_gather(const double* mine, Index n, double* all) { group_->all_gather(rank_, mine, n, all); }

 private:
  ThreadGroup* group_;
  int rank_;
};

/// Calls work(rank) on a thread of each rank, and returns how many gathers there were.
template <class Work>
Index on_ranks(int size, const Work& work) {
  ThreadGroup group(size);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < size; ++rank) {
    threads.emplace_back([&work, &group, rank] { work(ThreadRank(group, rank)); });
  }
  for (std::thread& thread : threads) thread.join();
  return group.gathers();
}

}  // namespace tensornorm_test
