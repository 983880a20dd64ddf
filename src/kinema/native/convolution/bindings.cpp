#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <array>
#include <climits>
#include <cstdint>
#include <optional>
#include <tuple>

#include "convolution/layer_gradients.h"
#include "convolution/network.h"
#include "support/binding.h"

namespace kinema {
namespace convolution {
namespace {

using namespace nb::literals;

using Sizes = std::array<int, 3>;

// Beyond these, sums and products of sizes would no longer fit an int. No network comes near.
constexpr std::size_t kMostSize = 1u << 24;
constexpr std::size_t kMostSamples = 1u << 27;

bool is_size(std::size_t size) { return size > 0 && size <= kMostSize; }

void check_layer(const Network& network, int index) {
  check(index >= 0 && index < network.num_layers(), "no such layer.");
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

template <class Array>
bool holds(const Array& array, std::size_t clips, const Shape& shape) {
  return has_shape(array, {clips, std::size_t(shape.channels), std::size_t(shape.time),
                           std::size_t(shape.height), std::size_t(shape.width)});
}

// (clips, channels, time, height, width).
std::array<std::size_t, 5> five_sizes(const Input& array, const char* message) {
  check(array.ndim() == 5, message);
  std::array<std::size_t, 5> sizes;
  std::copy_n(array.shape_ptr(), 5, sizes.begin());
  return sizes;
}

// A layer, and the pooling that it points to.
struct CheckedLayer {
  LearningLayer layer{};
  Pooling pooling{};

  static constexpr const char* kShapes =
      "input must be (clips, channels, time, height, width) and weight (out, channels, time, "
      "height, width).";

  CheckedLayer(const std::array<std::size_t, 5>& input, const Input& weight, bool relu,
               const Sizes& window, int threads) {
    check_threads(threads);
    check(weight.ndim() == 5 && is_size(weight.shape(0)) && weight.shape(1) == input[1], kShapes);
    std::uint64_t samples = 1;
    for (int i = 1; i < 5; ++i) {
      check(is_size(input[i]), "sizes of a clip must be from 1 to 2**24.");
      if (i > 1)
        check((samples *= input[i]) <= kMostSamples, "a clip must have at most 2**27 samples.");
    }
    check(input[0] <= kMostSize, "there must be at most 2**24 clips.");
    layer.input = {int(input[1]), int(input[2]), int(input[3]), int(input[4])};
    layer.out_channels = int(weight.shape(0));
    layer.relu = relu;
    for (int i = 0; i < 3; ++i) {
      const std::size_t size = weight.shape(2 + i);
      check(is_size(size) && size % 2 == 1, "kernel sizes must be odd, and at most 2**24.");
      check(is_size(std::size_t(std::max(window[i], 0))), "windows must be from 1 to 2**24.");
      layer.kernel[i] = int(size);
    }
    if (window == Sizes{1, 1, 1}) return;
    pooling = pooling_of(layer.convolved(), window);
    check(can_fuse(layer.convolved(), layer.kernel, window), "windows must divide the tiles.");
    layer.pooling = &pooling;
  }
  CheckedLayer(const CheckedLayer&) = delete;

  static Pooling pooling_of(const Shape& shape, const Sizes& window) {
    const int sizes[3] = {shape.time, shape.height, shape.width};
    Pooling pooling{};
    pooling.input = shape;
    for (int i = 0; i < 3; ++i) {
      pooling.kernel[i] = window[i];
      pooling.sizes[i] = (sizes[i] + window[i] - 1) / window[i];
    }
    return pooling;
  }

  static bool can_fuse(const Shape& shape, const int kernel[3], const Sizes& window) {
    return convolution::can_fuse(plan_convolution(shape, kLanes, shape.channels, kernel, false),
                                 pooling_of(shape, window));
  }
};

void bind_network(nb::module_& m) {
  nb::class_<Network>(m, "Network")
      .def(
          "__init__",
          [](Network* self, const std::string& target, std::array<int, 4> shape, int threads) {
            for (int size : shape)
              check(size > 0 && is_size(size), "sizes of a clip must be from 1 to 2**24.");
            check(std::uint64_t(shape[1]) * shape[2] <= kMostSamples &&
                      std::uint64_t(shape[1]) * shape[2] * shape[3] <= kMostSamples,
                  "a clip must have at most 2**27 samples.");
            check_threads(threads);
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
                check(is_size(size) && size % 2 == 1,
                      "kernel sizes must be odd, and at most 2**24.");
                kernel[i] = int(size);
              }
              self.add_convolution(int(weight.shape(0)), kernel, relu, weight.data(), bias.data());
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
           of_layer([](const Network& self, int index) { return self.describe(index); }), "layer"_a)
      .def("multiply_adds",
           of_layer([](const Network& self, int index) { return self.multiply_adds(index); }),
           "layer"_a)
      .def("profile", of_layer([](const Network& self, int index) {
             const Profile& p = self.profile(index);
             return std::make_tuple(p.input, p.multiply, p.output, p.other);
           }),
           "layer"_a)
      .def_prop_ro("target", &Network::target)
      .def_prop_ro("packed_bytes",
                   [](Network& self) { return alone(self, [&] { return self.packed_bytes(); }); });
}

void bind_layer_gradients(nb::module_& m) {
  m.def(
      "can_pool",
      [](Sizes sizes, Sizes kernel, Sizes window) {
        for (int i = 0; i < 3; ++i)
          check(sizes[i] > 0 && kernel[i] > 0 && window[i] > 0 && is_size(sizes[i]) &&
                    is_size(kernel[i]) && is_size(window[i]),
                "sizes must be from 1 to 2**24.");
        return CheckedLayer::can_fuse({1, sizes[0], sizes[1], sizes[2]}, kernel.data(), window);
      },
      "sizes"_a, "kernel"_a, "window"_a,
      "Whether windows can be pooled together with a convolution over a map of these sizes.");

  nb::class_<LayerGradients>(m, "LayerGradients")
      .def(nb::init<const std::string&>(), "target"_a)
      .def(
          "forward",
          [](LayerGradients& self, Input input, Input weight, Input bias, bool relu, Sizes window,
             Output output, std::optional<OutputBytes> winners, int threads) {
            alone(self, [&] {
              const CheckedLayer checked(five_sizes(input, CheckedLayer::kShapes), weight, relu,
                                         window, threads);
              const LearningLayer& layer = checked.layer;
              const std::size_t clips = input.shape(0);
              check(has_shape(bias, {weight.shape(0)}), "bias must be (out,).");
              check(holds(output, clips, layer.output()), "output has not the layer's shape.");
              check(!winners || winners->size() == clips * layer.winners(),
                    "winners have not the layer's size.");
              self.forward(layer, long(clips), input.data(), weight.data(), bias.data(),
                           output.data(), winners && layer.pooling ? winners->data() : nullptr,
                           threads);
            });
          },
          "input"_a.noconvert(), "weight"_a.noconvert(), "bias"_a.noconvert(), "relu"_a, "window"_a,
          "output"_a.noconvert(), "winners"_a.noconvert().none(), "threads"_a)
      .def(
          "backward",
          [](LayerGradients& self, Input input, Input weight, bool relu, Sizes window,
             std::optional<Input> output, std::optional<InputBytes> winners, Input gradient,
             std::optional<Output> to_input, std::optional<Output> to_weight,
             std::optional<Output> to_bias, int threads) {
            alone(self, [&] {
              const CheckedLayer checked(five_sizes(input, CheckedLayer::kShapes), weight, relu,
                                         window, threads);
              const LearningLayer& layer = checked.layer;
              const std::size_t clips = input.shape(0);
              check(holds(gradient, clips, layer.output()),
                    "gradient has not the layer's output shape.");
              check(!relu || (output && holds(*output, clips, layer.output())),
                    "a ReLU's gradient needs the layer's output.");
              check(!layer.pooling || (winners && winners->size() == clips * layer.winners()),
                    "a pooling's gradient needs its winners.");
              check(!to_input || holds(*to_input, clips, layer.input),
                    "to_input has not the input's shape.");
              check(!to_weight || (to_weight->ndim() == 5 &&
                                   std::equal(weight.shape_ptr(), weight.shape_ptr() + 5,
                                              to_weight->shape_ptr())),
                    "to_weight has not the weight's shape.");
              check(!to_bias || has_shape(*to_bias, {weight.shape(0)}), "to_bias must be (out,).");
              self.backward(
                  layer, long(clips), input.data(), weight.data(), relu ? output->data() : nullptr,
                  layer.pooling ? winners->data() : nullptr, gradient.data(),
                  {to_input ? to_input->data() : nullptr, to_weight ? to_weight->data() : nullptr,
                   to_bias ? to_bias->data() : nullptr},
                  threads);
            });
          },
          "input"_a.noconvert(), "weight"_a.noconvert(), "relu"_a, "window"_a,
          "output"_a.noconvert().none(), "winners"_a.noconvert().none(), "gradient"_a.noconvert(),
          "to_input"_a.noconvert().none(), "to_weight"_a.noconvert().none(),
          "to_bias"_a.noconvert().none(), "threads"_a)
      .def(
          "input_gradient",
          [](LayerGradients& self, Input gradient, Input weight, Output to_input, int threads) {
            alone(self, [&] {
              std::array<std::size_t, 5> sizes =
                  five_sizes(gradient, "gradient must be (clips, out, time, height, width).");
              check(weight.ndim() == 5 && weight.shape(0) == sizes[1],
                    "weight must be (out, channels, time, height, width).");
              sizes[1] = weight.shape(1);
              const CheckedLayer checked(sizes, weight, false, {1, 1, 1}, threads);
              check(holds(to_input, sizes[0], checked.layer.input),
                    "to_input has not the input's shape.");
              self.backward(checked.layer, long(sizes[0]), nullptr, weight.data(), nullptr, nullptr,
                            gradient.data(), {to_input.data(), nullptr, nullptr}, threads);
            });
          },
          "gradient"_a.noconvert(), "weight"_a.noconvert(), "to_input"_a.noconvert(), "threads"_a);
}

}  // namespace
}  // namespace convolution

void bind_convolution(nb::module_& m) {
  m.attr("LANES") = convolution::kLanes;
  convolution::bind_network(m);
  convolution::bind_layer_gradients(m);
}

}  // namespace kinema
