#include "convolution/network.h"

#include <algorithm>
#include <cmath>

#include "support/stopwatch.h"

namespace kinema::convolution {
namespace {

// Clips that go through the network together: more would only take memory.
constexpr int kMostClips = 8;

// The first layers have large maps and few weights: they take the clips one by one, so that what a
// layer writes is still in the last cache when the next one reads it. The first convolution with
// more bytes of packed weights than this, or too few tiles in one clip, ends them.
constexpr std::size_t kLightWeights = 8u << 20;

const char* name_of(Transform transform) {
  switch (transform) {
    case Transform::none: return "direct";
    case Transform::pair: return "K(2,3)";
    default: return "F(4,3)";
  }
}

}  // namespace

Network::Network(const std::string& target, Shape shape, int threads)
    : kernels_(kernels_of(target)), input_(shape), threads_(std::max(1, threads)) {}

void Network::add(Layer layer, const Weights& weights, const float* bias) {
  const Convolution& c = layer.convolution;
  const int panels = c.panels(kernels_.panel);
  const std::size_t panel_floats = c.panel_floats(kernels_.panel);
  const std::size_t lanes = std::max<std::size_t>(std::size_t(panels) * kernels_.panel,
                                                  blocks_of(c.out_channels) * kLanes);
  layer.packed.reserve(panels * panel_floats);
  layer.bias.reserve(lanes);
  std::fill_n(layer.bias.data(), lanes, 0.0f);
  std::copy_n(bias, c.out_channels, layer.bias.data());
  Team::run(std::min(threads_, panels), [&](Team& team, int) {
    team.for_each(panels, [&](long panel) {
      kernels_.pack(c, weights, int(panel), layer.packed.data() + panel * panel_floats);
    });
  });
  layers_.push_back(std::move(layer));
}

void Network::add_convolution(int out_channels, const int kernel[3], bool relu, const float* weight,
                              const float* bias) {
  Layer layer{};
  layer.kind = Kind::convolution;
  const bool few = layers_.empty() && input_.channels <= kFewLanes;
  layer.convolution =
      plan_convolution(shape(), few ? kFewLanes : kLanes, out_channels, kernel, relu);
  layer.output = shape();
  layer.output.channels = out_channels;
  add(std::move(layer), weights_of(layer.convolution, weight), bias);
  if (few) input_lanes_ = kFewLanes;  // only now: it may have been too much memory
}

void Network::add_linear(int out_features, bool relu, const float* weight, const float* bias) {
  const Shape from = shape();
  const int samples = int(from.samples()), columns = from.channels * samples;
  // The activation as it lies in memory, each float of it a channel.
  std::vector<int> column(from.floats(), -1);
  for (int channel = 0; channel < from.channels; ++channel)
    for (int sample = 0; sample < samples; ++sample)
      column[(std::size_t(channel / kLanes) * samples + sample) * kLanes + channel % kLanes] =
          channel * samples + sample;
  const int kernel[3] = {1, 1, 1};
  Layer layer{};
  layer.kind = Kind::convolution;
  layer.convolution =
      plan_convolution({int(column.size()), 1, 1, 1}, kLanes, out_features, kernel, relu);
  layer.output = {out_features, 1, 1, 1};
  add(std::move(layer), {weight, columns, 1, false, column.data()}, bias);
}

void Network::add_pooling(const int kernel[3], const int padding[3], const int sizes[3]) {
  Layer layer{};
  layer.kind = Kind::pooling;
  layer.pooling.input = shape();
  std::copy(kernel, kernel + 3, layer.pooling.kernel);
  std::copy(padding, padding + 3, layer.pooling.padding);
  std::copy(sizes, sizes + 3, layer.pooling.sizes);
  layer.output = layer.pooling.output();
  layers_.push_back(std::move(layer));
}

void Network::add_softmax() {
  Layer layer{};
  layer.kind = Kind::softmax;
  layer.output = shape();
  layers_.push_back(std::move(layer));
}

std::size_t Network::packed_bytes() const {
  std::size_t bytes = 0;
  for (const Layer& layer : layers_) {
    if (layer.kind != Kind::convolution) continue;
    bytes += layer.convolution.packed_bytes(kernels_.panel);
  }
  return bytes;
}

std::string Network::describe(int index) const {
  const Layer& layer = layers_[index];
  if (layer.kind == Kind::pooling) return "maximum of each window";
  if (layer.kind == Kind::softmax) return "softmax";
  const Convolution& c = layer.convolution;
  std::string text = std::string(name_of(c.time.transform)) + " x " + name_of(c.height.transform) +
                     " x " + name_of(c.width.transform);
  if (c.pieces() > 1) text += ", kernel in " + std::to_string(c.pieces()) + " pieces";
  return text;
}

double Network::multiply_adds(int index) const {
  const Layer& layer = layers_[index];
  if (layer.kind != Kind::convolution) return 0;
  const Convolution& c = layer.convolution;
  return double(c.areas()) * c.time.tiles * c.products() * c.depth() * c.out_channels;
}

void Network::run(const float* clips, long num_clips,
                  const std::vector<std::pair<int, float*>>& outputs) {
  const std::size_t clip_floats = input_.values();
  const long parts = (num_clips + kMostClips - 1) / kMostClips;
  for (long part = 0; part < parts; ++part) {
    const long first = num_clips * part / parts, last = num_clips * (part + 1) / parts;
    std::vector<std::pair<int, float*>> here = outputs;
    for (auto& [index, data] : here) data += first * std::ptrdiff_t(shape(index).values());
    run_some(clips + first * clip_floats, int(last - first), here);
  }
}

namespace {

void softmax(Work& work, const Shape& shape, const float* input, float* output) {
  const std::size_t floats = shape.floats();
  work.team.for_each(work.clips, [&](long clip) {
    const float* from = input + clip * floats;
    float* to = output + clip * floats;
    const float most = *std::max_element(from, from + shape.channels);
    double sum = 0;
    for (int i = 0; i < shape.channels; ++i) sum += std::exp(double(from[i]) - most);
    for (std::size_t i = 0; i < floats; ++i)
      to[i] = int(i) < shape.channels ? float(std::exp(double(from[i]) - most) / sum) : 0.0f;
  });
}

}  // namespace

int Network::num_light_layers() const {
  int index = 0;
  for (; index < num_layers(); ++index) {
    if (layers_[index].kind != Kind::convolution) continue;
    const Convolution& c = layers_[index].convolution;
    if (c.packed_bytes(kernels_.panel) > kLightWeights ||
        plan_schedule(c, kernels_.panel, 1, threads_).shared)
      break;
  }
  return index;
}

void Network::run_some(const float* clips, int num_clips,
                       const std::vector<std::pair<int, float*>>& outputs) {
  int last = -1;
  std::vector<char> asked(layers_.size(), 0);
  for (const auto& [index, data] : outputs) {
    last = std::max(last, index);
    asked[index] = 1;
  }
  if (last < 0) return;
  const int stop = last + 1, light = std::min(num_light_layers(), stop);

  // Everything is allocated here, before the team starts.
  const std::size_t read = input_.floats(input_lanes_);
  std::size_t clip_floats = light > 0 ? read : 0, batch_floats = 0;
  Workspace needs;
  if (light < stop) batch_floats = light > 0 ? layers_[light - 1].output.floats() : read;
  for (int index = 0; index < stop; ++index) {
    const Layer& layer = layers_[index];
    std::size_t& floats = index < light ? clip_floats : batch_floats;
    floats = std::max(floats, layer.output.floats());
    if (layer.kind != Kind::convolution) continue;
    needs.cover(layer.convolution, kernels_.panel, index < light ? 1 : num_clips, threads_);
  }
  for (Buffer& buffer : clip_activations_) buffer.reserve(clip_floats);
  for (Buffer& buffer : activations_) buffer.reserve(batch_floats * num_clips);
  workspace_.reserve(needs.floats(threads_));
  float* const one[2] = {clip_activations_[0].data(), clip_activations_[1].data()};
  float* const all[2] = {activations_[0].data(), activations_[1].data()};

  std::mutex profile_mutex;
  Team::run(threads_, [&](Team& team, int thread) {
    Work work(kernels_, team, thread, threads_, needs, workspace_.data());

    // Layers [first, stop) on `count` clips from `clip` on, whose activations are in buffers[1].
    // The last output goes to `result` or, if that is null, stays in one of the buffers.
    const auto pass = [&](int first, int stop, int clip, int count, float* const* buffers,
                          float* result) {
      work.clips = count;
      const float* from = buffers[1];
      int turn = 0;
      for (int index = first; index < stop; ++index, turn ^= 1) {
        Layer& layer = layers_[index];
        const bool fused = index + 1 < stop && !asked[index] && layer.kind == Kind::convolution &&
                           layers_[index + 1].kind == Kind::pooling &&
                           can_fuse(layer.convolution, layers_[index + 1].pooling);
        const Pooling* pooling = fused ? &layers_[++index].pooling : nullptr;
        float* const to = index + 1 == stop && result ? result : buffers[turn];
        work.profile = {};
        Stopwatch watch;
        switch (layer.kind) {
          case Kind::convolution:
            work.convolve(layer.convolution, pooling, layer.packed.data(), layer.bias.data(), from,
                          to);
            break;
          case Kind::pooling: work.pool(layer.pooling, from, to); break;
          case Kind::softmax: softmax(work, layer.output, from, to); break;
        }
        Profile& spent = work.profile;
        spent.other = watch.lap() - spent.input - spent.multiply - spent.output;
        {
          const std::lock_guard<std::mutex> lock(profile_mutex);
          layer.profile.add(spent);
        }
        const Shape& shape = layers_[index].output;
        for (const auto& [wanted, data] : outputs)
          if (wanted == index)
            work.write_output(shape, to, data + clip * std::ptrdiff_t(shape.values()));
        from = to;
      }
    };

    const std::size_t values = input_.values();
    if (light > 0) {
      const std::size_t result = layers_[light - 1].output.floats();
      for (int clip = 0; clip < num_clips; ++clip) {
        work.clips = 1;
        work.read_clips(input_, input_lanes_, clips + clip * values, one[1]);
        pass(0, light, clip, 1, one, light < stop ? all[1] + clip * result : nullptr);
      }
    } else {
      work.clips = num_clips;
      work.read_clips(input_, input_lanes_, clips, all[1]);
    }
    pass(light, stop, 0, num_clips, all, nullptr);
  });
}

}  // namespace kinema::convolution
