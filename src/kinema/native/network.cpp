#include "network.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <ctime>
#include <new>
#include <stdexcept>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "team.h"

namespace kinema {
namespace {

// Clips that go through the network together: more would only take memory.
constexpr int kMostClips = 8;

// The first layers have large maps and few weights: they take the clips one by one, so that what a
// layer writes is still in the last cache when the next one reads it. The first convolution with
// more bytes of packed weights than this, or too few tiles in one clip, ends them.
constexpr std::size_t kLightWeights = 8u << 20;

std::size_t rounded(std::size_t floats) { return (floats + kLanes - 1) / kLanes * kLanes; }

// An odd number of cache lines: with a power of two all products of a tile would meet in the same
// few places of a cache.
std::ptrdiff_t odd_lines(std::size_t floats) {
  return std::ptrdiff_t((floats + kLanes - 1) / kLanes | 1) * kLanes;
}

const std::vector<const Kernels*>& builds() {
  static const std::vector<const Kernels*> found = [] {
    std::vector<const Kernels*> all;
#ifdef KINEMA_X86
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq"))
      all.push_back(&kernels_avx512);
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) all.push_back(&kernels_avx2);
#endif
    all.push_back(&kernels_portable);
    return all;
  }();
  return found;
}

const Kernels& kernels_of(const std::string& target) {
  for (const Kernels* kernels : builds())
    if (kernels->name == target) return *kernels;
  throw std::invalid_argument("this processor cannot run the kernels for \"" + target + "\".");
}

const char* name_of(Transform transform) {
  switch (transform) {
    case Transform::none: return "direct";
    case Transform::pair: return "K(2,3)";
    default: return "F(4,3)";
  }
}

// Processor time of this thread: what other programs take does not count.
class Stopwatch {
 public:
  // Seconds since the last call.
  double lap() {
    const double now = seconds(), lap = now - last_;
    last_ = now;
    return lap;
  }

 private:
  static double seconds() {
    timespec now{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return double(now.tv_sec) + 1e-9 * double(now.tv_nsec);
  }
  double last_ = seconds();
};

}  // namespace

std::vector<std::string> targets() {
  std::vector<std::string> names;
  for (const Kernels* kernels : builds()) names.push_back(kernels->name);
  return names;
}

Buffer::~Buffer() { std::free(data_); }

void Buffer::reserve(std::size_t floats) {
  if (floats <= floats_) return;
  constexpr std::size_t kLargePage = 2u << 20;
  if (floats > PTRDIFF_MAX / sizeof(float)) throw std::bad_alloc();
  const std::size_t bytes = floats * sizeof(float);
  const std::size_t alignment = bytes >= kLargePage ? kLargePage : 64;
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

Network::Network(const std::string& target, Shape shape, int threads)
    : kernels_(kernels_of(target)), input_(shape), threads_(std::max(1, threads)) {}

void Network::add(Layer layer, const float* weight, const float* bias,
                  const std::vector<int>& column, int columns) {
  const Convolution& c = layer.convolution;
  const int panels = c.panels(kernels_.panel);
  const std::size_t panel_floats = c.panel_floats(kernels_.panel);
  const std::size_t lanes =
      std::max<std::size_t>(std::size_t(panels) * kernels_.panel, blocks_of(c.out_channels) * kLanes);
  layer.packed.reserve(panels * panel_floats);
  layer.bias.reserve(lanes);
  std::fill_n(layer.bias.data(), lanes, 0.0f);
  std::copy_n(bias, c.out_channels, layer.bias.data());
  Team::run(std::min(threads_, panels), [&](Team& team, int) {
    team.for_each(panels, [&](long panel) {
      kernels_.pack(c, weight, columns, column.data(), int(panel),
                    layer.packed.data() + panel * panel_floats);
    });
  });
  layers_.push_back(std::move(layer));
}

void Network::add_convolution(int out_channels, const int kernel[3], bool relu,
                              const float* weight, const float* bias) {
  Layer layer{};
  layer.kind = Kind::convolution;
  const bool few = layers_.empty() && input_.channels <= kFewLanes;
  layer.convolution =
      plan_convolution(shape(), few ? kFewLanes : kLanes, out_channels, kernel, relu);
  layer.output = shape();
  layer.output.channels = out_channels;
  std::vector<int> column(shape().channels);
  for (int channel = 0; channel < shape().channels; ++channel) column[channel] = channel;
  add(std::move(layer), weight, bias, column, shape().channels);
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
  add(std::move(layer), weight, bias, column, columns);
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
  std::string text = std::string(name_of(c.time.transform)) + " x " +
                     name_of(c.height.transform) + " x " + name_of(c.width.transform);
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
    for (auto& [index, data] : here)
      data += first * std::ptrdiff_t(shape(index).values());
    run_some(clips + first * clip_floats, int(last - first), here);
  }
}

// One pass of the team through the layers.
struct Network::Run {
  const Kernels& kernels;
  Team& team;
  int thread;
  float* transformed;  // of the team
  float *products, *scratch;  // of this thread
  std::size_t transformed_floats;
  int clips;
  Profile profile;

  // (channels, time, height, width) -> [block][time][height][width][lanes].
  void read_clips(const Shape& shape, int lanes, const float* data, float* activation) {
    const std::size_t samples = shape.samples();
    const int blocks = blocks_of(shape.channels, lanes);
    const std::size_t frame = std::size_t(shape.height) * shape.width;
    team.for_each(long(clips) * blocks * shape.time, [&](long item) {
      const long plane = item / shape.time, t = item % shape.time;
      const long clip = plane / blocks, block = plane % blocks;
      const int channels = std::min(lanes, shape.channels - int(block) * lanes);
      float* to = activation + (plane * samples + t * frame) * lanes;
      const float* from = data + (clip * shape.channels + block * lanes) * samples + t * frame;
      for (std::size_t i = 0; i < frame; ++i, to += lanes) {
        for (int lane = 0; lane < channels; ++lane) to[lane] = from[lane * samples + i];
        for (int lane = channels; lane < lanes; ++lane) to[lane] = 0.0f;
      }
    });
  }

  void write_output(const Shape& shape, const float* activation, float* output) {
    const std::size_t samples = shape.samples();
    const int blocks = blocks_of(shape.channels);
    team.for_each(long(clips) * shape.channels, [&](long item) {
      const long clip = item / shape.channels, channel = item % shape.channels;
      const float* from = activation +
                          (clip * blocks + channel / kLanes) * samples * kLanes + channel % kLanes;
      float* to = output + item * samples;
      for (std::size_t i = 0; i < samples; ++i) to[i] = from[i * kLanes];
    });
  }

  void convolve(const Layer& layer, const Pooling* pooling, const float* input, float* output) {
    const Convolution& c = layer.convolution;
    const int panels = c.panels(kernels.panel), areas = c.areas() * clips;
    const Schedule schedule = plan_schedule(c, kernels.panel, clips, team.size());
    const long chunks = (areas + schedule.areas - 1) / schedule.areas;
    const int groups = (panels + schedule.panels - 1) / schedule.panels;

    const auto transformed_of = [&](float* data, int count) {
      const int rows = count * c.time.tiles;
      return Transformed{
          data, odd_lines(std::size_t(c.pieces()) * c.blocks() * rows * c.lanes), rows};
    };
    // Areas [first, first + count) of the clips, whose transformed input starts at `row`.
    const auto group = [&](Transformed from, int row, int first, int count, int index) {
      const int panel = index * schedule.panels;
      const int num = std::min(schedule.panels, panels - panel);
      const int rows = count * c.time.tiles;
      const Products to{products, odd_lines(std::size_t(num) * rows * kernels.panel), rows};
      Stopwatch watch;
      kernels.multiply(c, from, row, layer.packed.data(), panel, num, to);
      profile.multiply += watch.lap();
      kernels.transform_output(c, pooling, to, panel, num, first, count, layer.bias.data(),
                               output);
      profile.output += watch.lap();
    };

    if (!schedule.shared) {
      team.for_each(chunks, [&](long chunk) {
        const int first = int(areas * chunk / chunks);
        const int count = int(areas * (chunk + 1) / chunks) - first;
        const Transformed to =
            transformed_of(transformed + std::size_t(thread) * transformed_floats, count);
        Stopwatch watch;
        for (int block = 0; block < c.blocks(); ++block)
          kernels.transform_input(c, input, first, count, block, to, 0, scratch);
        profile.input += watch.lap();
        for (int index = 0; index < groups; ++index) group(to, 0, first, count, index);
      });
      return;
    }
    constexpr int kTogether = 16;  // areas that one thread transforms in one go
    for (long chunk = 0; chunk < chunks; ++chunk) {
      const int first = int(areas * chunk / chunks);
      const int count = int(areas * (chunk + 1) / chunks) - first;
      const Transformed to = transformed_of(transformed, count);
      const int goes = (count + kTogether - 1) / kTogether;
      Stopwatch watch;
      team.for_each(long(c.blocks()) * goes, [&](long item) {
        const int start = int(item % goes) * kTogether;
        kernels.transform_input(c, input, first + start, std::min(kTogether, count - start),
                                int(item / goes), to, start * c.time.tiles, scratch);
      });
      profile.input += watch.lap();
      // Neighbouring items share weights.
      const int step = schedule.part_areas(count), parts = (count + step - 1) / step;
      team.for_each(long(groups) * parts, [&](long item) {
        const int start = int(item % parts) * step;
        group(to, start * c.time.tiles, first + start, std::min(step, count - start),
              int(item / parts));
      });
    }
  }

  void pool(const Pooling& pooling, const float* input, float* output) {
    team.for_each(long(clips) * blocks_of(pooling.input.channels), [&](long plane) {
      kernels.pool(pooling, input, output, int(plane), int(plane) + 1);
    });
  }

  void softmax(const Shape& shape, const float* input, float* output) {
    const std::size_t floats = shape.floats();
    team.for_each(clips, [&](long clip) {
      const float* from = input + clip * floats;
      float* to = output + clip * floats;
      const float most = *std::max_element(from, from + shape.channels);
      double sum = 0;
      for (int i = 0; i < shape.channels; ++i) sum += std::exp(double(from[i]) - most);
      for (std::size_t i = 0; i < floats; ++i)
        to[i] = int(i) < shape.channels ? float(std::exp(double(from[i]) - most) / sum) : 0.0f;
    });
  }
};

int Network::num_light_layers() const {
  int index = 0;
  for (; index < num_layers(); ++index) {
    if (layers_[index].kind != Kind::convolution) continue;
    const Convolution& c = layers_[index].convolution;
    if (c.packed_bytes(kernels_.panel) > kLightWeights ||
        plan_schedule(c, kernels_.panel, 1, threads_).shared) break;
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
  std::size_t transformed = 0, team_transformed = 0, products = 0, scratch = 0;
  if (light < stop) batch_floats = light > 0 ? layers_[light - 1].output.floats() : read;
  for (int index = 0; index < stop; ++index) {
    const Layer& layer = layers_[index];
    std::size_t& floats = index < light ? clip_floats : batch_floats;
    floats = std::max(floats, layer.output.floats());
    if (layer.kind != Kind::convolution) continue;
    const Convolution& c = layer.convolution;
    for (int threads = 1; threads <= threads_; ++threads) {  // the team may be smaller
      const Schedule schedule =
          plan_schedule(c, kernels_.panel, index < light ? 1 : num_clips, threads);
      const std::size_t rows = std::size_t(schedule.areas) * c.time.tiles;
      const std::size_t part = std::size_t(schedule.part_areas(schedule.areas)) * c.time.tiles;
      std::size_t& most = schedule.shared ? team_transformed : transformed;
      most = std::max<std::size_t>(
          most, c.products() * odd_lines(c.pieces() * c.blocks() * rows * c.lanes));
      products = std::max<std::size_t>(
          products, c.products() * odd_lines(schedule.panels * part * kernels_.panel));
    }
    scratch = std::max(scratch, scratch_floats(c));
  }
  products = rounded(products);
  scratch = rounded(scratch);
  for (Buffer& buffer : clip_activations_) buffer.reserve(clip_floats);
  for (Buffer& buffer : activations_) buffer.reserve(batch_floats * num_clips);
  const std::size_t own = products + scratch;
  workspace_.reserve(threads_ * own + std::max(team_transformed, threads_ * transformed));
  float* const one[2] = {clip_activations_[0].data(), clip_activations_[1].data()};
  float* const all[2] = {activations_[0].data(), activations_[1].data()};

  std::mutex profile_mutex;
  Team::run(threads_, [&](Team& team, int thread) {
    float* const mine = workspace_.data() + thread * own;
    Run run{kernels_, team, thread, workspace_.data() + threads_ * own, mine, mine + products,
            transformed, 0, {}};

    // Layers [first, stop) on `count` clips from `clip` on, whose activations are in buffers[1].
    // The last output goes to `result` or, if that is null, stays in one of the buffers.
    const auto pass = [&](int first, int stop, int clip, int count, float* const* buffers,
                          float* result) {
      run.clips = count;
      const float* from = buffers[1];
      int turn = 0;
      for (int index = first; index < stop; ++index, turn ^= 1) {
        Layer& layer = layers_[index];
        const bool fused = index + 1 < stop && !asked[index] &&
                           layer.kind == Kind::convolution &&
                           layers_[index + 1].kind == Kind::pooling &&
                           can_fuse(layer.convolution, layers_[index + 1].pooling);
        const Pooling* pooling = fused ? &layers_[++index].pooling : nullptr;
        float* const to = index + 1 == stop && result ? result : buffers[turn];
        run.profile = {};
        Stopwatch watch;
        switch (layer.kind) {
          case Kind::convolution: run.convolve(layer, pooling, from, to); break;
          case Kind::pooling: run.pool(layer.pooling, from, to); break;
          case Kind::softmax: run.softmax(layer.output, from, to); break;
        }
        Profile& spent = run.profile;
        spent.other = watch.lap() - spent.input - spent.multiply - spent.output;
        {
          const std::lock_guard<std::mutex> lock(profile_mutex);
          layer.profile.add(spent);
        }
        const Shape& shape = layers_[index].output;
        for (const auto& [wanted, data] : outputs)
          if (wanted == index)
            run.write_output(shape, to, data + clip * std::ptrdiff_t(shape.values()));
        from = to;
      }
    };

    const std::size_t values = input_.values();
    if (light > 0) {
      const std::size_t result = layers_[light - 1].output.floats();
      for (int clip = 0; clip < num_clips; ++clip) {
        run.clips = 1;
        run.read_clips(input_, input_lanes_, clips + clip * values, one[1]);
        pass(0, light, clip, 1, one, light < stop ? all[1] + clip * result : nullptr);
      }
    } else {
      run.clips = num_clips;
      run.read_clips(input_, input_lanes_, clips, all[1]);
    }
    pass(light, stop, 0, num_clips, all, nullptr);
  });
}

}  // namespace kinema
