#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <array>
#include <climits>
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

void check(bool right, const char* message) {
  if (!right) throw std::invalid_argument(message);
}

std::size_t floats(const Shape& shape) { return shape.channels * shape.samples(); }

}  // namespace

// The Python side checks what users give; what is checked here keeps the memory safe.
NB_MODULE(_native, m) {
  m.def("targets", &kinema::targets, "Builds that this processor can run, the best one first.");

  nb::class_<Network>(m, "Network")
      .def(
          "__init__",
          [](Network* self, const std::string& target, std::array<int, 4> shape, int threads) {
            for (int size : shape) check(size > 0, "sizes of a clip must be at least 1.");
            new (self) Network(target, {shape[0], shape[1], shape[2], shape[3]}, threads);
          },
          "target"_a, "shape"_a, "threads"_a)
      .def(
          "add_convolution",
          [](Network& self, Input weight, Input bias, bool relu) {
            check(weight.ndim() == 5 && bias.ndim() == 1 && weight.shape(0) == bias.shape(0) &&
                      weight.shape(0) > 0 && int(weight.shape(1)) == self.shape().channels,
                  "weight must be (out, channels, time, height, width) and bias (out,).");
            const int kernel[3] = {int(weight.shape(2)), int(weight.shape(3)),
                                   int(weight.shape(4))};
            for (int size : kernel) check(size % 2 == 1, "kernel sizes must be odd.");
            const nb::gil_scoped_release released;
            self.add_convolution(int(weight.shape(0)), kernel, relu, weight.data(), bias.data());
          },
          "weight"_a, "bias"_a, "relu"_a)
      .def(
          "add_linear",
          [](Network& self, Input weight, Input bias, bool relu) {
            check(weight.ndim() == 2 && bias.ndim() == 1 && weight.shape(0) == bias.shape(0) &&
                      weight.shape(0) > 0 && weight.shape(1) == floats(self.shape()) &&
                      self.shape().floats() < INT_MAX,
                  "weight must be (out, size of the input) and bias (out,).");
            const nb::gil_scoped_release released;
            self.add_linear(int(weight.shape(0)), relu, weight.data(), bias.data());
          },
          "weight"_a, "bias"_a, "relu"_a)
      .def(
          "add_pooling",
          [](Network& self, Sizes kernel, Sizes padding, Sizes sizes) {
            const Shape& shape = self.shape();
            const int from[3] = {shape.time, shape.height, shape.width};
            for (int i = 0; i < 3; ++i)
              check(kernel[i] > 0 && padding[i] >= 0 && padding[i] < kernel[i] && sizes[i] > 0 &&
                        (long(sizes[i]) - 1) * kernel[i] < long(from[i]) + padding[i],
                    "each window must meet the map.");
            self.add_pooling(kernel.data(), padding.data(), sizes.data());
          },
          "kernel"_a, "padding"_a, "sizes"_a)
      .def("add_softmax", &Network::add_softmax)
      .def(
          "run",
          [](Network& self, Input clips, const std::vector<std::pair<int, Output>>& outputs) {
            const Shape& shape = self.input();
            check(clips.ndim() == 5 && int(clips.shape(1)) == shape.channels &&
                      int(clips.shape(2)) == shape.time && int(clips.shape(3)) == shape.height &&
                      int(clips.shape(4)) == shape.width,
                  "clips do not have the network's input shape.");
            std::vector<std::pair<int, float*>> wanted;
            for (const auto& [index, array] : outputs) {
              check(index >= 0 && index < self.num_layers(), "no such layer.");
              check(array.size() == clips.shape(0) * floats(self.shape(index)),
                    "an output has not the layer's shape.");
              wanted.emplace_back(index, array.data());
            }
            const nb::gil_scoped_release released;
            self.run(clips.data(), long(clips.shape(0)), wanted);
          },
          "clips"_a, "outputs"_a)
      .def("describe",
           [](const Network& self, int index) {
             check(index >= 0 && index < self.num_layers(), "no such layer.");
             return self.describe(index);
           },
           "layer"_a)
      .def("multiply_adds",
           [](const Network& self, int index) {
             check(index >= 0 && index < self.num_layers(), "no such layer.");
             return self.multiply_adds(index);
           },
           "layer"_a)
      .def("profile",
           [](const Network& self, int index) {
             check(index >= 0 && index < self.num_layers(), "no such layer.");
             const kinema::Profile& p = self.profile(index);
             return std::make_tuple(p.input, p.multiply, p.output, p.other);
           },
           "layer"_a)
      .def_prop_ro("target", &Network::target)
      .def_prop_ro("packed_bytes", &Network::packed_bytes);
}
