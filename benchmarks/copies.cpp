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
  const char *x, *dy;  // dy only where both are read
  char* y;
  std::size_t size;

  Bytes part(std::size_t from, std::size_t bytes) const {
    return {x + from, dy == nullptr ? nullptr : dy + from, y == nullptr ? nullptr : y + from, bytes};
  }
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
  const Bytes whole = b.part(head, body);
  copy(b.part(0, head));
  if (__builtin_cpu_supports("avx512f")) {
    stream_by_64(whole);
  } else if (__builtin_cpu_supports("avx")) {
    stream_by_32(whole);
  } else {
    stream_by_16(whole);
  }
  copy(b.part(tail, b.size - tail));
  _mm_sfence();
}

void sum_by_16(const Bytes& b) {
  for (std::size_t i = 0; i < b.size; i += 16) {
    const __m128i x = _mm_loadu_si128(reinterpret_cast<const __m128i*>(b.x + i));
    const __m128i dy = _mm_loadu_si128(reinterpret_cast<const __m128i*>(b.dy + i));
    _mm_stream_si128(reinterpret_cast<__m128i*>(b.y + i), _mm_add_epi32(x, dy));
  }
}

__attribute__((target("avx512f"))) void sum_by_64(const Bytes& b) {
  for (std::size_t i = 0; i < b.size; i += 64) {
    _mm512_stream_si512(reinterpret_cast<__m512i*>(b.y + i),
                        _mm512_add_epi32(_mm512_loadu_si512(b.x + i), _mm512_loadu_si512(b.dy + i)));
  }
}

/// Whole lines of y past the cache; what is no whole line does not matter.
void sum(const Bytes& b) {
  const std::size_t head = std::min((kLine - reinterpret_cast<std::uintptr_t>(b.y) % kLine) % kLine, b.size);
  const Bytes whole = b.part(head, (b.size - head) / kLine * kLine);
  __builtin_cpu_supports("avx512f") ? sum_by_64(whole) : sum_by_16(whole);
  _mm_sfence();
}
#else
void stream(const Bytes& b) { copy(b); }
void sum(const Bytes& b) {
  for (std::size_t i = 0; i < b.size; ++i) b.y[i] = static_cast<char>(b.x[i] + b.dy[i]);
}
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
  Copy(void (*work)(const Bytes&), int threads, const Bytes& bytes) : work_(work), threads_(threads), bytes_(bytes) {}

  void run() override {
    const auto begin = [&](int i) {
      const std::size_t lines = bytes_.size / kLine, threads = static_cast<std::size_t>(threads_);
      return i == threads_ ? bytes_.size : lines / threads * static_cast<std::size_t>(i) * kLine;
    };
    on_threads(threads_, [&](int i) { work_(bytes_.part(begin(i), begin(i + 1) - begin(i))); });
    benchmark::ClobberMemory();
  }
  const void* result() const override { return nullptr; }

 private:
  void (*work_)(const Bytes&);
  int threads_;
  Bytes bytes_;
};

const char* bytes_of(const void* data) { return static_cast<const char*>(data); }

}  // namespace

ContenderPtr make_memcpy(std::size_t bytes, int threads, const void* x, void* y) {
  return std::make_unique<Copy>(copy, threads, Bytes{bytes_of(x), nullptr, static_cast<char*>(y), bytes});
}
ContenderPtr make_streaming_copy(std::size_t bytes, int threads, const void* x, void* y) {
  return std::make_unique<Copy>(stream, threads, Bytes{bytes_of(x), nullptr, static_cast<char*>(y), bytes});
}
ContenderPtr make_streaming_sum(std::size_t bytes, int threads, const void* x, const void* dy, void* y) {
  return std::make_unique<Copy>(sum, threads, Bytes{bytes_of(x), bytes_of(dy), static_cast<char*>(y), bytes});
}
ContenderPtr make_read(std::size_t bytes, int threads, const void* x) {
  return std::make_unique<Copy>(read, threads, Bytes{bytes_of(x), nullptr, nullptr, bytes});
}

}  // namespace bench
