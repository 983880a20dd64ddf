#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <array>
#include <climits>
#include <cstdint>
#include <mutex>
#include <stdexcept>
#include <tuple>

#include "network.h"

namespace nb = nanobind;
using namespace nb::literals;
using kinema::Network;
using kinema::Shape;

namespace {

using Sizes = std::array<int, 3>;
using Input = nb::ndarray<const float, nb::c_contig, nb::device::cpu>;
using Output = nb::ndarray<float, nb::c_contig, nb::device::cpu>;

// Beyond these, sums and products of sizes would no longer fit an int. No network comes near.
constexpr std::size_t kMostSize = 1u << 24;
constexpr std::size_t kMostSamples = 1u << 27;
constexpr int kMostThreads = 4096;

void check(bool right, const char* message) {
  if (!right) throw std::invalid_argument(message);
}

bool is_size(std::size_t size) { return size > 0 && size <= kMostSize; }

void check_layer(const Network& network, int index) {
  check(index >= 0 && index < network.num_layers(), "no such layer.");
}

// Calls `function` while no other thread uses the network; other Python threads go on.
template <class Function>
auto alone(Network& network, Function function) {
  const nb::gil_scoped_release released;
  const std::lock_guard<std::mutex> lock(network.mutex());
  return function();
}

// What `look` sees of one layer.
template <class Look>
auto of_layer(Look look) {
  return [look](Network& self, int index) {
    return alone(self, [&] {
      check_layer(self, index);
      return look(self, index);
    });
  };
}

}  // namespace

// The Python side checks what users give; what is checked here keeps the memory safe. Arrays are
// never converted: results would go to a copy that nobody sees.
NB_MODULE(_native, m) {
  m.def("targets", &kinema::targets, "Builds that this processor can run, the best one first.");

  nb::class_<Network>(m, "Network")
      .def(
          "__init__",
          [](Network* self, const std::string& target, std::array<int, 4> shape, int threads) {
            for (int size : shape)
              check(size > 0 && is_size(size), "sizes of a clip must be from 1 to 2**24.");
            check(std::uint64_t(shape[1]) * shape[2] <= kMostSamples &&
                      std::uint64_t(shape[1]) * shape[2] * shape[3] <= kMostSamples,
                  "a clip must have at most 2**27 samples.");
            check(threads > 0 && threads <= kMostThreads, "threads must be from 1 to 4096.");
            new (self) Network(target, {shape[0], shape[1], shape[2], shape[3]}, threads);
          },
          "target"_a, "shape"_a, "threads"_a)
      .def(
          "add_convolution",
          [](Network& self, Input weight, Input bias, bool relu) {
            alone(self, [&] {
              check(weight.ndim() == 5 && bias.ndim() == 1 && weight.shape(0) == bias.shape(0) &&
                        is_size(weight.shape(0)) &&
                        weight.shape(1) == std::size_t(self.shape().channels),
                    "weight must be (out, channels, time, height, width) and bias (out,).");
              int kernel[3];
              for (int i = 0; i < 3; ++i) {
                const std::size_t size = weight.shape(2 + i);
                check(is_size(size) && size % 2 == 1, "kernel sizes must be odd, and at most 2**24.");
                kernel[i] = int(size);
              }
              self.add_convolution(int(weight.shape(0)), kernel, relu, weight.data(),
                                   bias.data());
            });
          },
          "weight"_a.noconvert(), "bias"_a.noconvert(), "relu"_a)
      .def(
          "add_linear",
          [](Network& self, Input weight, Input bias, bool relu) {
            alone(self, [&] {
              check(weight.ndim() == 2 && bias.ndim() == 1 && weight.shape(0) == bias.shape(0) &&
                        is_size(weight.shape(0)) && weight.shape(1) == self.shape().values() &&
                        self.shape().floats() < INT_MAX,
                    "weight must be (out, size of the input) and bias (out,).");
              self.add_linear(int(weight.shape(0)), relu, weight.data(), bias.data());
            });
          },
          "weight"_a.noconvert(), "bias"_a.noconvert(), "relu"_a)
      .def(
          "add_pooling",
          [](Network& self, Sizes kernel, Sizes padding, Sizes sizes) {
            alone(self, [&] {
              const Shape& shape = self.shape();
              const int from[3] = {shape.time, shape.height, shape.width};
              for (int i = 0; i < 3; ++i) {
                check(kernel[i] > 0 && is_size(kernel[i]) && padding[i] >= 0 &&
                          padding[i] < kernel[i] && sizes[i] > 0,
                      "sizes of a pooling must be at least 1, and its padding smaller.");
                const std::int64_t stop = std::int64_t(from[i]) + padding[i];
                check((sizes[i] - std::int64_t(1)) * kernel[i] < stop &&
                          std::int64_t(sizes[i]) * kernel[i] >= stop,
                      "each window must meet the map, and all of the map lie in windows.");
              }
              self.add_pooling(kernel.data(), padding.data(), sizes.data());
            });
          },
          "kernel"_a, "padding"_a, "sizes"_a)
      .def("add_softmax",
           [](Network& self) {
             alone(self, [&] {
               check(self.shape().samples() == 1, "a softmax needs a vector.");
               self.add_softmax();
             });
           })
      .def(
          "run",
          [](Network& self, Input clips, const std::vector<std::pair<int, Output>>& outputs) {
            alone(self, [&] {
              const Shape& shape = self.input();
              const int sizes[4] = {shape.channels, shape.time, shape.height, shape.width};
              bool right = clips.ndim() == 5;
              for (int i = 0; right && i < 4; ++i)
                right = clips.shape(1 + i) == std::size_t(sizes[i]);
              check(right, "clips do not have the network's input shape.");
              std::vector<std::pair<int, float*>> wanted;
              for (const auto& [index, array] : outputs) {
                check_layer(self, index);
                check(array.size() == clips.shape(0) * self.shape(index).values(),
                      "an output has not the layer's shape.");
                wanted.emplace_back(index, array.data());
              }
              self.run(clips.data(), long(clips.shape(0)), wanted);
            });
          },
          "clips"_a.noconvert(), "outputs"_a.noconvert())
      .def("describe",
           of_layer([](const Network& self, int index) { return self.describe(index); }),
           "layer"_a)
      .def("multiply_adds",
           of_layer([](const Network& self, int index) { return self.multiply_adds(index); }),
           "layer"_a)
      .def("profile",
           of_layer([](const Network& self, int index) {
             const kinema::Profile& p = self.profile(index);
             return std::make_tuple(p.input, p.multiply, p.output, p.other);
           }),
           "layer"_a)
      .def_prop_ro("target", &Network::target)
      .def_prop_ro("packed_bytes",
                   [](Network& self) { return alone(self, [&] { return self.packed_bytes(); }); });
}
