// The thread pools of the process.
#pragma once

#define EIGEN_USE_THREADS
#include <unsupported/Eigen/CXX11/Tensor>

#include <functional>

namespace bench {

/// `threads` with the caller, which works beside the pool's own.
const Eigen::ThreadPoolDevice& pool_device(int threads);
/// `threads` without the caller: Eigen's own expressions leave it waiting.
const Eigen::ThreadPoolDevice& full_pool_device(int threads);

/// Runs work(0) ... work(threads - 1), each on a thread of its own, the first on the calling one.
void on_threads(int threads, const std::function<void(int)>& work);

}  // namespace bench
