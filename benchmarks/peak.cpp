// Most multiply-adds a second that all cores together can do, in units of 10^9: a lower bound of
// the time of any algorithm whose number of multiply-adds is known.
#include <chrono>
#include <cstdio>
#include <thread>
#include <vector>

#if defined(__AVX512F__)
constexpr int kWidth = 16;
#elif defined(__AVX2__)
constexpr int kWidth = 8;
#else
constexpr int kWidth = 4;
#endif
using Vector [[gnu::vector_size(4 * kWidth)]] = float;

constexpr long kRounds = 20'000'000;
constexpr int kChains = 12;  // more than latency times throughput, fewer than registers

float work() {
  Vector sums[kChains], factor{}, term{};
  for (int i = 0; i < kChains; ++i) sums[i] = Vector{} + float(i);
  factor += 0.999f;
  term += 0.001f;
  for (long round = 0; round < kRounds; ++round)
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) sums[i] = sums[i] * factor + term;
  float sum = 0;
  for (const Vector& s : sums) sum += s[0];
  return sum;
}

int main() {
  const unsigned cores = std::thread::hardware_concurrency();
  double best = 0;
  volatile float sink = 0;
  for (int repeat = 0; repeat < 5; ++repeat) {
    const auto start = std::chrono::steady_clock::now();
    std::vector<std::thread> threads;
    for (unsigned i = 0; i < cores; ++i) threads.emplace_back([&] { sink = work(); });
    for (auto& thread : threads) thread.join();
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    const double rate = double(kRounds) * kChains * kWidth * cores / seconds.count() / 1e9;
    if (rate > best) best = rate;
  }
  std::printf("%.1f\n", best);
}
