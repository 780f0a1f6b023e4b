#include "pool.hpp"

#include <atomic>
#include <map>
#include <memory>

namespace bench {

const Eigen::ThreadPoolDevice& pool_device(int threads) {
  struct Pool {
    explicit Pool(int threads) : pool(threads), device(&pool, threads) {}
    Eigen::ThreadPool pool;
    Eigen::ThreadPoolDevice device;
  };
  static std::map<int, std::unique_ptr<Pool>> pools;
  auto& pool = pools[threads];
  if (pool == nullptr) pool = std::make_unique<Pool>(threads);
  return pool->device;
}

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
