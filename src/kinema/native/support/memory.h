// Memory for arrays of floats.
#pragma once

#include <cstddef>
#include <utility>

namespace kinema {

constexpr int kCacheLine = 64;  // bytes

// Memory that is aligned, not initialised, and lies on large pages where the system has them.
class Buffer {
 public:
  Buffer() = default;
  Buffer(Buffer&& other) noexcept { swap(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    swap(other);
    return *this;
  }
  ~Buffer();

  float* data() const { return data_; }
  // At least this large afterwards; what it held is lost if it grows.
  void reserve(std::size_t floats);

 private:
  void swap(Buffer& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(floats_, other.floats_);
  }
  float* data_ = nullptr;
  std::size_t floats_ = 0;
};

constexpr int kLineFloats = kCacheLine / int(sizeof(float));

// Whole cache lines.
constexpr std::size_t rounded(std::size_t floats) {
  return (floats + kLineFloats - 1) / kLineFloats * kLineFloats;
}

// An odd number of cache lines: arrays that lie a power of two apart meet in the same few places of
// a cache.
constexpr std::ptrdiff_t odd_lines(std::size_t floats) {
  return std::ptrdiff_t((floats + kLineFloats - 1) / kLineFloats | 1) * kLineFloats;
}

}  // namespace kinema
