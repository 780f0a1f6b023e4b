// The thread pools of the process, one for each number of threads; the calling thread works beside a pool's own.
#pragma once

#define EIGEN_USE_THREADS
#include <unsupported/Eigen/CXX11/Tensor>

#include <functional>

namespace bench {

const Eigen::ThreadPoolDevice& pool_device(int threads);

/// Runs work(0) ... work(threads - 1), each on a thread of its own, the first on the calling one.
void on_threads(int threads, const std::function<void(int)>& work);

}  // namespace bench
