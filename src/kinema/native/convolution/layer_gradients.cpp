#include "convolution/layer_gradients.h"

#include <algorithm>
#include <vector>

#include "convolution/weight_gradient.h"

namespace kinema::convolution {
namespace {

// Clips go through a layer in groups. With few weights a group's activations stay in the last
// cache; with many, all that go together share one pass over the weights.
constexpr std::size_t kGroupBytes = 16u << 20;
constexpr std::size_t kLightWeights = 16u << 20;
constexpr int kMostClips = 16;

int clips_together(const Convolution& c, const Kernels& kernels, long clips) {
  long most = kMostClips;
  if (c.packed_bytes(kernels.panel) <= kLightWeights) {
    const std::size_t samples = c.input.samples() * sizeof(float);
    const std::size_t bytes = samples * std::max(c.blocks() * c.lanes, c.out_channels);
    most = std::clamp<long>(kGroupBytes / bytes, 1, kMostClips);
  }
  const long groups = (clips + most - 1) / most;
  return int((clips + groups - 1) / groups);
}

constexpr int kStrip = 256;  // samples that one thread brings from one layout to another in one go

// (clips, channels, samples) -> [clip][block][sample][lanes].
void read(Work& work, const Shape& shape, int lanes, const float* from, const float* mask,
          float* to) {
  const long samples = long(shape.samples()), strips = (samples + kStrip - 1) / kStrip;
  const int blocks = blocks_of(shape.channels, lanes);
  work.team.for_each(long(work.clips) * blocks * strips, [&](long item) {
    const long plane = item / strips, first = item % strips * kStrip;
    const long clip = plane / blocks, block = plane % blocks;
    const std::ptrdiff_t at = (clip * shape.channels + block * lanes) * samples + first;
    work.kernels.to_lanes(from + at, mask ? mask + at : nullptr, samples,
                          std::min(lanes, shape.channels - int(block) * lanes), lanes,
                          int(std::min<long>(kStrip, samples - first)),
                          to + (plane * samples + first) * lanes);
  });
}

void write(Work& work, const Shape& shape, const float* from, float* to) {
  const long samples = long(shape.samples()), strips = (samples + kStrip - 1) / kStrip;
  const int blocks = blocks_of(shape.channels);
  work.team.for_each(long(work.clips) * blocks * strips, [&](long item) {
    const long plane = item / strips, first = item % strips * kStrip;
    const long clip = plane / blocks, block = plane % blocks;
    work.kernels.from_lanes(from + (plane * samples + first) * kLanes,
                            int(std::min<long>(kStrip, samples - first)),
                            std::min(kLanes, shape.channels - int(block) * kLanes), samples,
                            to + (clip * shape.channels + block * kLanes) * samples + first);
  });
}

void pack(Work& work, const Convolution& c, const Weights& weights, float* packed) {
  const std::size_t panel_floats = c.panel_floats(work.kernels.panel);
  work.team.for_each(c.panels(work.kernels.panel), [&](long panel) {
    work.kernels.pack(c, weights, int(panel), packed + panel * panel_floats);
  });
}

}  // namespace

void LayerGradients::forward(const LearningLayer& layer, long clips, const float* input,
                             const float* weight, const float* bias, float* output,
                             unsigned char* winners, int threads) {
  if (clips == 0) return;
  const Convolution c =
      plan_convolution(layer.input, layer.lanes(), layer.out_channels, layer.kernel, layer.relu);
  const Shape out = layer.output();
  const int together = clips_together(c, kernels_, clips), panels = c.panels(kernels_.panel);
  Workspace needs;
  for (int count = 1; count <= together; ++count) needs.cover(c, kernels_.panel, count, threads);
  workspace_.reserve(needs.floats(threads));
  packed_.reserve(panels * c.panel_floats(kernels_.panel));
  const std::size_t lanes = std::size_t(panels) * kernels_.panel + kLanes;
  bias_.reserve(lanes);
  std::fill_n(std::copy_n(bias, c.out_channels, bias_.data()), lanes - c.out_channels, 0.0f);
  activations_[0].reserve(together * layer.input.floats(c.lanes));
  activations_[1].reserve(together * out.floats());
  Team::run(threads, [&](Team& team, int thread) {
    Work work(kernels_, team, thread, threads, needs, workspace_.data());
    pack(work, c, weights_of(c, weight), packed_.data());
    for (long clip = 0; clip < clips; clip += together) {
      work.clips = int(std::min<long>(together, clips - clip));
      read(work, layer.input, c.lanes, input + clip * layer.input.values(), nullptr,
           activations_[0].data());
      work.convolve(c, layer.pooling, packed_.data(), bias_.data(), activations_[0].data(),
                    activations_[1].data(), winners ? winners + clip * layer.winners() : nullptr);
      write(work, out, activations_[1].data(), output + clip * out.values());
    }
  });
}

void LayerGradients::backward(const LearningLayer& layer, long clips, const float* input,
                              const float* weight, const float* output,
                              const unsigned char* winners, const float* gradient,
                              const Gradients& to, int threads) {
  const Convolution c =
      plan_convolution(layer.input, layer.lanes(), layer.out_channels, layer.kernel, false);
  const Convolution back =
      plan_convolution(layer.convolved(), kLanes, layer.input.channels, layer.kernel, false);
  const Shape out = layer.output(), convolved = layer.convolved();
  const std::size_t filters = std::size_t(c.out_channels) * c.input.channels * taps_of(c);
  if (clips == 0) {
    if (to.weight) std::fill_n(to.weight, filters, 0.0f);
    if (to.bias) std::fill_n(to.bias, c.out_channels, 0.0f);
    return;
  }
  const int together =
      std::min(clips_together(c, kernels_, clips), clips_together(back, kernels_, clips));
  const int out_blocks = blocks_of(c.out_channels);

  // Everything is allocated here, before the team starts.
  Workspace needs;
  std::vector<GradientPlan> plans;  // by number of clips
  std::size_t floats = 0;
  for (int count = 1; count <= together; ++count) {
    if (to.input) needs.cover(back, kernels_.panel, count, threads);
    plans.emplace_back(c, kernels_, count);
    if (to.weight) floats = std::max(floats, plans.back().workspace(threads));
  }
  workspace_.reserve(std::max(floats, needs.floats(threads)));
  activations_[0].reserve(together * std::max(layer.input.floats(), layer.input.floats(c.lanes)));
  activations_[1].reserve(together * out.floats());
  if (to.input) {
    if (layer.pooling) activations_[2].reserve(together * convolved.floats());
    packed_.reserve(back.panels(kernels_.panel) * back.panel_floats(kernels_.panel));
    const std::size_t lanes = std::size_t(back.panels(kernels_.panel)) * kernels_.panel + kLanes;
    bias_.reserve(lanes);
    std::fill_n(bias_.data(), lanes, 0.0f);
  }
  if (to.weight) sums_.reserve(plans[0].all_sums());
  std::vector<double> bias_sums(to.bias ? clips * out_blocks * kLanes : 0);

  Team::run(threads, [&](Team& team, int thread) {
    Work work(kernels_, team, thread, threads, needs, workspace_.data());
    if (to.input) pack(work, back, weights_back(back, weight), packed_.data());
    for (long clip = 0; clip < clips; clip += together) {
      work.clips = int(std::min<long>(together, clips - clip));
      read(work, out, kLanes, gradient + clip * out.values(),
           layer.relu ? output + clip * out.values() : nullptr, activations_[1].data());
      if (to.bias)
        team.for_each(long(work.clips) * out_blocks, [&](long plane) {
          kernels_.add_up(activations_[1].data() + plane * out.samples() * kLanes,
                          int(out.samples()), &bias_sums[(clip * out_blocks + plane) * kLanes]);
        });
      const unsigned char* const won = winners + (layer.pooling ? clip * layer.winners() : 0);
      if (to.input) {
        const float* whole = activations_[1].data();
        if (layer.pooling) {  // a tile of the input's gradient meets windows of its neighbours
          whole = activations_[2].data();
          team.for_each(long(work.clips) * out_blocks, [&](long plane) {
            kernels_.unpool(*layer.pooling, activations_[1].data(), won, activations_[2].data(),
                            int(plane), int(plane) + 1);
          });
        }
        work.convolve(back, nullptr, packed_.data(), bias_.data(), whole, activations_[0].data());
        write(work, layer.input, activations_[0].data(), to.input + clip * layer.input.values());
      }
      if (to.weight) {
        read(work, layer.input, c.lanes, input + clip * layer.input.values(), nullptr,
             activations_[0].data());
        const WeightGradient group{work,
                                   c,
                                   plans[work.clips - 1],
                                   layer.pooling,
                                   activations_[0].data(),
                                   activations_[1].data(),
                                   won,
                                   workspace_.data(),
                                   sums_.data()};
        group.run(clip > 0);
      }
    }
    if (to.weight) finish_weight_gradient(work, c, plans[0], sums_.data(), to.weight);
  });
  for (int channel = 0; to.bias && channel < c.out_channels; ++channel) {
    double sum = 0;
    for (long clip = 0; clip < clips; ++clip)
      sum += bias_sums[(clip * out_blocks + channel / kLanes) * kLanes + channel % kLanes];
    to.bias[channel] = float(sum);
  }
}

}  // namespace kinema::convolution
