#include "support/memory.h"

#include <cstdint>
#include <cstdlib>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace kinema {

Buffer::~Buffer() { std::free(data_); }

void Buffer::reserve(std::size_t floats) {
  if (floats <= floats_) return;
  constexpr std::size_t kLargePage = 2u << 20;
  if (floats > PTRDIFF_MAX / sizeof(float)) throw std::bad_alloc();
  const std::size_t bytes = floats * sizeof(float);
  const std::size_t alignment = bytes >= kLargePage ? kLargePage : kCacheLine;
  std::free(data_);
  data_ = nullptr;
  floats_ = 0;
  void* data = nullptr;
  if (posix_memalign(&data, alignment, bytes) != 0) throw std::bad_alloc();
#if defined(__linux__)
  if (alignment == kLargePage) madvise(data, bytes, MADV_HUGEPAGE);
#endif
  data_ = static_cast<float*>(data);
  floats_ = floats;
}

}  // namespace kinema
