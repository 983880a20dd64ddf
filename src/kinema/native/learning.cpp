#include "learning.h"

#include <algorithm>
#include <vector>

namespace kinema {
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

// How the gradient to the weights is cut up, and the memory for it. Nothing of this may depend on
// the number of threads, for the order of the sums depends on it.
//
// Sums of the products that fit a core's cache are kept once for each of `kParts` parts of the
// rows; whatever thread takes a part transforms a few tiles at a time and adds up their products.
// Larger sums are kept once: all threads transform a chunk of rows, then each takes some of the
// products.
struct GradientPlan {
  static constexpr int kParts = 16;

  bool parts;
  int areas;  // of a chunk
  std::size_t input, output, scratch, sums;  // floats; sums of one part

  GradientPlan(const Convolution& c, const Kernels& kernels, int clips) {
    constexpr std::size_t kOwnSums = 512u << 10, kOwn = 640u << 10;  // bytes that stay in a cache
    constexpr std::size_t kCached = 12u << 20;                      // of all threads
    constexpr std::size_t kMost = 256u << 20;
    constexpr std::size_t kRows = 64;  // fewer are not worth the way from and to the sums
    const int panels = c.panels(kernels.panel), times = c.time.tiles, all = c.areas() * clips;
    const std::size_t row = sizeof(float) * c.products() *
                            (c.pieces() * c.blocks() * c.lanes + panels * kernels.panel);
    const std::size_t bytes = c.packed_bytes(kernels.panel);
    parts = bytes <= kOwnSums;
    const std::size_t rows = parts             ? kOwn / row
                             : bytes > kCached ? kMost / row  // they should pass seldom
                                               : std::max(kCached / row, kRows);
    const int most = int(std::clamp<std::size_t>(rows / times, 1, all));
    const int chunks = (all + most - 1) / most;
    areas = (all + chunks - 1) / chunks;
    const std::size_t most_rows = std::size_t(areas) * times;
    input = c.products() * odd_lines(c.pieces() * c.blocks() * most_rows * c.lanes);
    output = c.products() * odd_lines(panels * most_rows * kernels.panel);
    scratch = rounded(std::max(scratch_floats(c), gradient_scratch_floats(c)));
    sums = panels * c.panel_floats(kernels.panel);
  }

  std::size_t workspace(int threads) const {
    return (input + output) * (parts ? threads : 1) + threads * scratch;
  }
  std::size_t all_sums() const { return sums * (parts ? kParts : 1); }
};

// The gradient to the weights of one group of clips after the other.
struct WeightGradient {
  Work& work;
  const Convolution& c;
  const GradientPlan& plan;
  const Pooling* pooling;
  const float* input;
  const float* gradient;
  const unsigned char* winners;
  float *workspace, *sums;

  Transformed transformed(float* data, int rows) const {
    return work.transformed_of(c, data, rows);
  }
  Products products(float* data, int rows) const {
    const int panel = work.kernels.panel;
    return {data, odd_lines(std::size_t(c.panels(panel)) * rows * panel), rows};
  }

  // Blocks of the input, then those of the gradient.
  int blocks() const { return c.blocks() + blocks_of(c.out_channels); }
  void transform(int block, int area, int areas, Transformed in, Products out, int row,
                 float* scratch) const {
    if (block < c.blocks())
      work.kernels.transform_input(c, input, area, areas, block, in, row, scratch);
    else
      work.kernels.transform_gradient(c, pooling, gradient, winners, area, areas,
                                      block - c.blocks(), out, row, scratch);
  }
  void multiply(Transformed in, Products out, int product, int panel, float* to, bool add) const {
    const Kernels& kernels = work.kernels;
    kernels.multiply_gradient(c, in, out, product, panel,
                              to + panel * c.panel_floats(kernels.panel), add);
  }

  // Adds a group of clips, or begins with it.
  void run(bool add) {
    const int panels = c.panels(work.kernels.panel), areas = c.areas() * work.clips;
    if (plan.parts) return run_parts(areas, panels, add);
    float* const scratch = workspace + plan.input + plan.output + work.thread * plan.scratch;
    // All of a product's panels on one thread, which keeps the transformed input in its cache.
    const int parts = c.products() >= 8 * work.team.size() ? 1 : panels;
    const long chunks = (areas + plan.areas - 1) / plan.areas;
    constexpr int kTogether = 16;  // areas that one thread transforms in one go
    for (long chunk = 0; chunk < chunks; ++chunk) {
      const int first = int(areas * chunk / chunks);
      const int count = int(areas * (chunk + 1) / chunks) - first;
      const Transformed in = transformed(workspace, count * c.time.tiles);
      const Products out = products(workspace + plan.input, count * c.time.tiles);
      const int goes = (count + kTogether - 1) / kTogether;
      work.team.for_each(long(blocks()) * goes, [&](long item) {
        const int start = int(item % goes) * kTogether;
        transform(int(item / goes), first + start, std::min(kTogether, count - start), in, out,
                  start * c.time.tiles, scratch);
      });
      work.team.for_each(long(c.products()) * parts, [&](long item) {
        const int product = int(item / parts), part = int(item % parts);
        for (int panel = panels * part / parts; panel < panels * (part + 1) / parts; ++panel)
          multiply(in, out, product, panel, sums, add || chunk > 0);
      });
    }
  }

  void run_parts(int areas, int panels, bool add) {
    float* const own = workspace + work.thread * (plan.input + plan.output + plan.scratch);
    work.team.for_each(GradientPlan::kParts, [&](long part) {
      float* const to = sums + part * plan.sums;
      if (!add) std::fill_n(to, plan.sums, 0.0f);
      const int last = int(long(areas) * (part + 1) / GradientPlan::kParts);
      for (int area = int(long(areas) * part / GradientPlan::kParts); area < last;
           area += plan.areas) {
        const int count = std::min(plan.areas, last - area);
        const Transformed in = transformed(own, count * c.time.tiles);
        const Products out = products(own + plan.input, count * c.time.tiles);
        for (int block = 0; block < blocks(); ++block)
          transform(block, area, count, in, out, 0, own + plan.input + plan.output);
        for (int product = 0; product < c.products(); ++product)
          for (int panel = 0; panel < panels; ++panel)
            multiply(in, out, product, panel, to, true);
      }
    });
  }

  void finish(float* to) {
    const std::size_t panel_floats = c.panel_floats(work.kernels.panel);
    work.team.for_each(c.panels(work.kernels.panel), [&](long panel) {
      float* const all = sums + panel * panel_floats;
      for (int part = 1; plan.parts && part < GradientPlan::kParts; ++part)
        for (std::size_t i = 0; i < panel_floats; ++i) all[i] += all[part * plan.sums + i];
      work.kernels.unpack(c, all, int(panel), to);
    });
  }
};

}  // namespace

void Learner::forward(const LearningLayer& layer, long clips, const float* input,
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

void Learner::backward(const LearningLayer& layer, long clips, const float* input,
                       const float* weight, const float* output, const unsigned char* winners,
                       const float* gradient, const Gradients& to, int threads) {
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
  const int together = std::min(clips_together(c, kernels_, clips),
                                clips_together(back, kernels_, clips));
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
  activations_[0].reserve(
      together * std::max(layer.input.floats(), layer.input.floats(c.lanes)));
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
        WeightGradient{work, c, plans[work.clips - 1], layer.pooling, activations_[0].data(),
                       activations_[1].data(), won, workspace_.data(), sums_.data()}
            .run(clip > 0);
      }
    }
    if (to.weight)
      WeightGradient{work, c, plans[0], nullptr, nullptr, nullptr, nullptr, nullptr, sums_.data()}
          .finish(to.weight);
  });
  for (int channel = 0; to.bias && channel < c.out_channels; ++channel) {
    double sum = 0;
    for (long clip = 0; clip < clips; ++clip)
      sum += bias_sums[(clip * out_blocks + channel / kLanes) * kLanes + channel % kLanes];
    to.bias[channel] = float(sum);
  }
}

}  // namespace kinema
