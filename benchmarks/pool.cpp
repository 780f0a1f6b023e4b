#include "pool.hpp"

#include <atomic>
#include <map>
#include <memory>

namespace bench {

namespace {

struct Pool {
  Pool(int workers, int threads) : pool(workers), device(&pool, threads) {}
  Eigen::ThreadPool pool;
  Eigen::ThreadPoolDevice device;
};

const Eigen::ThreadPoolDevice& device_of(int workers, int threads) {
  static std::map<std::pair<int, int>, std::unique_ptr<Pool>> pools;
  auto& pool = pools[{workers, threads}];
  if (pool == nullptr) pool = std::make_unique<Pool>(workers, threads);
  return pool->device;
}

}  // namespace

const Eigen::ThreadPoolDevice& pool_device(int threads) { return device_of(threads - 1, threads); }
const Eigen::ThreadPoolDevice& full_pool_device(int threads) { return device_of(threads, threads); }

void on_threads(int threads, const std::function<void(int)>& work) {
  if (threads == 1) return work(0);
  std::atomic<int> left{threads - 1};
  for (int i = 1; i < threads; ++i) {
    pool_device(threads).getPool()->Schedule([&, i] {
      work(i);
      --left;
    });
  }
  work(0);
  while (left > 0) std::this_thread::yield();
}

}  // namespace bench
