// Threads that run one function together.
#pragma once

#include <atomic>
#include <exception>
#include <thread>
#include <vector>

namespace kinema {

inline void pause_thread() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Every thread of the team calls the same functions in the same order. The threads live as long
// as one `run`: nothing is left behind that a fork could break or that could stand in the way of
// another library's threads.
class Team {
 public:
  // Calls work(thread) on `threads` threads, the caller's among them; on fewer if the system
  // gives no more. `work` must not throw.
  template <class Work>
  static void run(int threads, Work work) {
    Team team;
    std::atomic<int> size{0};
    std::vector<std::thread> others;
    others.reserve(threads - 1);
    for (int thread = 1; thread < threads; ++thread) {
      try {
        others.emplace_back([&team, &size, &work, thread] {
          size.wait(0);
          work(team, thread);
        });
      } catch (const std::exception&) {  // also for want of memory
        break;
      }
    }
    team.size_ = int(others.size()) + 1;
    size.store(team.size_);
    size.notify_all();
    work(team, 0);
    for (auto& other : others) other.join();
  }

  int size() const { return size_; }

  // item(i) for each i < count, in any order; returns on all threads when all are done.
  template <class Item>
  void for_each(long count, Item item) {
    for (long i = next_.fetch_add(1, std::memory_order_relaxed); i < count;
         i = next_.fetch_add(1, std::memory_order_relaxed))
      item(i);
    wait_for_all();
  }

 private:
  void wait_for_all() {
    const unsigned generation = generation_.load();
    if (arrived_.fetch_add(1) + 1 == size_) {
      next_.store(0);
      arrived_.store(0);
      generation_.fetch_add(1);
      generation_.notify_all();
      return;
    }
    // Most waits are short; a thread that waits long lets another run.
    for (int spin = 0; spin < 2000; ++spin) {
      if (generation_.load() != generation) return;
      pause_thread();
    }
    generation_.wait(generation);
  }

  int size_ = 1;
  std::atomic<long> next_{0};
  std::atomic<int> arrived_{0};
  std::atomic<unsigned> generation_{0};
};

}  // namespace kinema
