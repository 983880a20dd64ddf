// What the bindings of each domain need: arrays as Python hands them over, checks, locks.
//
// The Python side checks what users give; what is checked in the bindings keeps the memory safe.
// Arrays are never converted: results would go to a copy that nobody sees.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <algorithm>
#include <cstddef>
#include <initializer_list>
#include <mutex>
#include <stdexcept>

namespace kinema {

namespace nb = nanobind;

using Input = nb::ndarray<const float, nb::c_contig, nb::device::cpu>;
using Output = nb::ndarray<float, nb::c_contig, nb::device::cpu>;
using InputBytes = nb::ndarray<const unsigned char, nb::c_contig, nb::device::cpu>;
using OutputBytes = nb::ndarray<unsigned char, nb::c_contig, nb::device::cpu>;

constexpr int kMostThreads = 4096;

inline void check(bool right, const char* message) {
  if (!right) throw std::invalid_argument(message);
}
inline void check_threads(int threads) {
  check(threads > 0 && threads <= kMostThreads, "threads must be from 1 to 4096.");
}

template <class Array>
bool has_shape(const Array& array, std::initializer_list<std::size_t> shape) {
  return array.ndim() == shape.size() && std::equal(shape.begin(), shape.end(), array.shape_ptr());
}

// Calls `function` while no other thread uses what `shared` is; other Python threads go on.
template <class Shared, class Function>
auto alone(Shared& shared, Function function) {
  const nb::gil_scoped_release released;
  const std::lock_guard<std::mutex> lock(shared.mutex());
  return function();
}

}  // namespace kinema
