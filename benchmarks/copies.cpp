// The copies a cell is held against. A streaming copy is the least a pass over a large tensor can cost: x read once, y
// written once, past the cache.
#include <benchmark/benchmark.h>

#include <cstdint>
#include <cstring>

#include "contender.hpp"
#include "pool.hpp"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace bench {

namespace {

constexpr std::size_t kLine = 64;

struct Bytes {
  const char* x;
  char* y;
  std::size_t size;
};

void copy(const Bytes& b) { std::memcpy(b.y, b.x, b.size); }

#if defined(__x86_64__)
void stream_by_16(const Bytes& b) {
  for (std::size_t i = 0; i < b.size; i += 16) {
    _mm_stream_si128(reinterpret_cast<__m128i*>(b.y + i), _mm_loadu_si128(reinterpret_cast<const __m128i*>(b.x + i)));
  }
}

__attribute__((target("avx"))) void stream_by_32(const Bytes& b) {
  for (std::size_t i = 0; i < b.size; i += 64) {  // a line at once
    const auto* const from = reinterpret_cast<const __m256i*>(b.x + i);
    const __m256i first = _mm256_loadu_si256(from), second = _mm256_loadu_si256(from + 1);
    _mm256_stream_si256(reinterpret_cast<__m256i*>(b.y + i), first);
    _mm256_stream_si256(reinterpret_cast<__m256i*>(b.y + i) + 1, second);
  }
}

__attribute__((target("avx512f"))) void stream_by_64(const Bytes& b) {
  for (std::size_t i = 0; i < b.size; i += 64) {
    _mm512_stream_si512(reinterpret_cast<__m512i*>(b.y + i), _mm512_loadu_si512(b.x + i));
  }
}

/// Whole lines of y past the cache, its two ends as they come.
void stream(const Bytes& b) {
  const std::size_t head = std::min((kLine - reinterpret_cast<std::uintptr_t>(b.y) % kLine) % kLine, b.size);
  const std::size_t body = (b.size - head) / kLine * kLine, tail = head + body;
  const Bytes whole{b.x + head, b.y + head, body};
  copy({b.x, b.y, head});
  if (__builtin_cpu_supports("avx512f")) {
    stream_by_64(whole);
  } else if (__builtin_cpu_supports("avx")) {
    stream_by_32(whole);
  } else {
    stream_by_16(whole);
  }
  copy({b.x + tail, b.y + tail, b.size - tail});
  _mm_sfence();
}
#else
void stream(const Bytes& b) { copy(b); }
#endif

#if defined(__x86_64__)
void read_by_16(const Bytes& b) {
  __m128i sums[4] = {};
  for (std::size_t i = 0; i + sizeof sums <= b.size; i += sizeof sums) {
    const auto* const from = reinterpret_cast<const __m128i*>(b.x + i);
    for (int k = 0; k < 4; ++k) sums[k] = _mm_add_epi32(sums[k], _mm_loadu_si128(from + k));
  }
  benchmark::DoNotOptimize(sums);
}

__attribute__((target("avx2"))) void read_by_32(const Bytes& b) {
  __m256i sums[4] = {};
  for (std::size_t i = 0; i + sizeof sums <= b.size; i += sizeof sums) {
    const auto* const from = reinterpret_cast<const __m256i*>(b.x + i);
    for (int k = 0; k < 4; ++k) sums[k] = _mm256_add_epi32(sums[k], _mm256_loadu_si256(from + k));
  }
  benchmark::DoNotOptimize(sums);
}

__attribute__((target("avx512f"))) void read_by_64(const Bytes& b) {
  __m512i sums[4] = {};
  for (std::size_t i = 0; i + sizeof sums <= b.size; i += sizeof sums) {
    for (std::size_t k = 0; k < 4; ++k) sums[k] = _mm512_add_epi32(sums[k], _mm512_loadu_si512(b.x + i + 64 * k));
  }
  benchmark::DoNotOptimize(sums);
}

/// What is left over, less than 256 bytes, does not matter.
void read(const Bytes& b) {
  if (__builtin_cpu_supports("avx512f")) {
    read_by_64(b);
  } else if (__builtin_cpu_supports("avx2")) {
    read_by_32(b);
  } else {
    read_by_16(b);
  }
}
#else
void read(const Bytes& b) {
  constexpr int kSums = 64;  // as many as fill the widest registers several times
  std::uint32_t sums[kSums] = {}, lanes[kSums];
  for (std::size_t i = 0; i + sizeof lanes <= b.size; i += sizeof lanes) {
    std::memcpy(lanes, b.x + i, sizeof lanes);
    for (int k = 0; k < kSums; ++k) sums[k] += lanes[k];
  }
  benchmark::DoNotOptimize(sums);
}
#endif

class Copy : public Contender {
 public:
  Copy(void (*work)(const Bytes&), std::size_t bytes, int threads, const void* x, void* y)
      : work_(work), bytes_(bytes), threads_(threads), x_(static_cast<const char*>(x)), y_(static_cast<char*>(y)) {}

  void run() override {
    const auto begin = [&](int i) {
      const std::size_t lines = bytes_ / kLine;
      return i == threads_ ? bytes_ : lines / static_cast<std::size_t>(threads_) * static_cast<std::size_t>(i) * kLine;
    };
    on_threads(threads_, [&](int i) {
      const std::size_t from = begin(i);
      work_({x_ + from, y_ == nullptr ? nullptr : y_ + from, begin(i + 1) - from});
    });
    benchmark::ClobberMemory();
  }
  const void* result() const override { return nullptr; }

 private:
  void (*work_)(const Bytes&);
  std::size_t bytes_;
  int threads_;
  const char* x_;
  char* y_;
};

}  // namespace

ContenderPtr make_memcpy(std::size_t bytes, int threads, const void* x, void* y) {
  return std::make_unique<Copy>(copy, bytes, threads, x, y);
}
ContenderPtr make_streaming_copy(std::size_t bytes, int threads, const void* x, void* y) {
  return std::make_unique<Copy>(stream, bytes, threads, x, y);
}
ContenderPtr make_read(std::size_t bytes, int threads, const void* x) {
  return std::make_unique<Copy>(read, bytes, threads, x, nullptr);
}

}  // namespace bench
