// infer makes no system call and takes no lock, from the first call on. (That it allocates nothing: allocation_test.)
// It runs in a process that the kernel kills at any system call but exit, read and write.
#include <gtest/gtest.h>

#ifdef __linux__
#include <dlfcn.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <mutex>
#include <shared_mutex>

#include "every_layer.hpp"

namespace {

long locks = 0;

template <class Function>
Function* next(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

}  // namespace

extern "C" {
int pthread_mutex_lock(pthread_mutex_t* mutex) noexcept {
  static const auto lock = next<int(pthread_mutex_t*)>("pthread_mutex_lock");
  ++locks;
  return lock(mutex);
}
int pthread_rwlock_rdlock(pthread_rwlock_t* rwlock) noexcept {
  static const auto lock = next<int(pthread_rwlock_t*)>("pthread_rwlock_rdlock");
  ++locks;
  return lock(rwlock);
}
int pthread_rwlock_wrlock(pthread_rwlock_t* rwlock) noexcept {
  static const auto lock = next<int(pthread_rwlock_t*)>("pthread_rwlock_wrlock");
  ++locks;
  return lock(rwlock);
}
}

namespace tensornorm_test {
namespace {

using namespace tensornorm;

enum Verdict { kQuiet, kLocked, kSystemCall, kUnknown };

/// What action does in a process of its own.
template <class Action>
Verdict verdict_on(const Action& action) {
  const pid_t child = fork();
  if (child == 0) {
    const long before = locks;
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) != 0) _exit(kUnknown);
    action();
    syscall(SYS_exit, locks == before ? kQuiet : kLocked);
  }
  int status = 0;
  if (child < 0 || waitpid(child, &status, 0) != child) return kUnknown;
  if (WIFSIGNALED(status)) return WTERMSIG(status) == SIGKILL ? kSystemCall : kUnknown;
  return Verdict(WEXITSTATUS(status));
}

class Realtime : public testing::Test {
  void SetUp() override {
    if (verdict_on([] {}) == kUnknown) GTEST_SKIP() << "system calls cannot be refused here";
  }
};

TEST_F(Realtime, NoiseIsNoticed) {
  EXPECT_EQ(verdict_on([] {}), kQuiet);
  EXPECT_EQ(verdict_on([] { syscall(SYS_getpid); }), kSystemCall);
  EXPECT_EQ(verdict_on([] { usleep(1); }), kSystemCall);
  EXPECT_EQ(verdict_on([] {
              std::mutex mutex;
              const std::lock_guard lock(mutex);
            }),
            kLocked);
  EXPECT_EQ(verdict_on([] {
              std::shared_mutex mutex;
              const std::shared_lock lock(mutex);
            }),
            kLocked);
}

template <class Scalar, int Rank, int Layout>
void infers_quietly(const Extents& extents, int channel_axis) {
  using T = Guarded<Scalar, Rank, Layout>;
  T x(extents, normal(count(extents), 1)), y(extents);
  const auto xm = x.map();
  auto ym = y.map();
  for_each_layer<Scalar>(extents, channel_axis, [&](const Kind& kind, auto layer) {
    for (const bool training : {true, false}) {
      training ? layer.train() : layer.eval();
      EXPECT_EQ(verdict_on([&] {
                  for (int i = 0; i < 3; ++i) {
                    layer.infer(xm, ym);
                    layer.infer(Eigen::DefaultDevice(), xm, ym);
                  }
                }),
                kQuiet)
          << kind.name << " " << layout_name(Layout);
    }
  });
}

TEST_F(Realtime, Infer) {
  infers_quietly<float, 2, kRow>({1, 64}, 1);
  infers_quietly<float, 2, kCol>({16, 64}, 1);
  infers_quietly<Eigen::half, 4, kRow>({2, 12, 7, 5}, 1);
  infers_quietly<double, 4, kRow>({2, 7, 5, 12}, -1);
  infers_quietly<float, 4, kRow>({2, 16, 100, 100}, 1);  // more than a block, and past the cache's share
}

TEST_F(Realtime, InferOfWhitening) {
  for (const Index groups : {1, 4, 16}) {
    WhiteningOptions options;
    options.groups = groups;
    Whitening<float> layer(16, options);
    Guarded<float, 2, kRow> x({40, 16}, normal(640, 1)), y({40, 16});
    const auto xm = x.map();
    auto ym = y.map();
    layer.fit(xm);
    EXPECT_EQ(verdict_on([&] { layer.infer(xm, ym); }), kQuiet) << groups << " groups";
  }
}

}  // namespace
}  // namespace tensornorm_test
#endif
