// A thread pool that counts what it is given.
#pragma once

#ifndef EIGEN_USE_THREADS
#define EIGEN_USE_THREADS
#endif
#include <unsupported/Eigen/CXX11/Tensor>
#include <atomic>
#include <functional>
#include <utility>

namespace tensornorm_test {

class CountingPool : public Eigen::ThreadPoolInterface {
 public:
  explicit CountingPool(int threads) : pool_(threads) {}
  void Schedule(std::function<void()> work) override {
    ++scheduled;
    pool_.Schedule(std::move(work));
  }
  int NumThreads() const override { return pool_.NumThreads(); }
  int CurrentThreadId() const override { return pool_.CurrentThreadId(); }

  std::atomic<int> scheduled{0};

 private:
  Eigen::ThreadPool pool_;
};

}  // namespace tensornorm_test
