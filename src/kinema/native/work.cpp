#include "work.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <ctime>
#include <new>
#include <stdexcept>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace kinema {
namespace {

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

}  // namespace

const Kernels& kernels_of(const std::string& target) {
  for (const Kernels* kernels : builds())
    if (kernels->name == target) return *kernels;
  throw std::invalid_argument("this processor cannot run the kernels for \"" + target + "\".");
}

std::vector<std::string> targets() {
  std::vector<std::string> names;
  for (const Kernels* kernels : builds()) names.push_back(kernels->name);
  return names;
}

double Stopwatch::seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return double(now.tv_sec) + 1e-9 * double(now.tv_nsec);
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

void Workspace::cover(const Convolution& c, int panel, int clips, int most_threads) {
  for (int threads = 1; threads <= most_threads; ++threads) {  // the team may be smaller
    const Schedule schedule = plan_schedule(c, panel, clips, threads);
    const std::size_t rows = std::size_t(schedule.areas) * c.time.tiles;
    const std::size_t part = std::size_t(schedule.part_areas(schedule.areas)) * c.time.tiles;
    std::size_t& most = schedule.shared ? team : transformed;
    most = std::max<std::size_t>(
        most, c.products() * odd_lines(c.pieces() * c.blocks() * rows * c.lanes));
    products = std::max<std::size_t>(products,
                                     c.products() * odd_lines(schedule.panels * part * panel));
  }
  scratch = std::max(scratch, scratch_floats(c));
}

void Work::read_clips(const Shape& shape, int lanes, const float* data, float* activation) {
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

void Work::write_output(const Shape& shape, const float* activation, float* output) {
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

void Work::convolve(const Convolution& c, const Pooling* pooling, const float* packed,
                    const float* bias, const float* input, float* output,
                    unsigned char* winners) {
  const int panels = c.panels(kernels.panel), areas = c.areas() * clips;
  const Schedule schedule = plan_schedule(c, kernels.panel, clips, team.size());
  const long chunks = (areas + schedule.areas - 1) / schedule.areas;
  const int groups = (panels + schedule.panels - 1) / schedule.panels;

  // Areas [first, first + count) of the clips, whose transformed input starts at `row`.
  const auto group = [&](Transformed from, int row, int first, int count, int index) {
    const int panel = index * schedule.panels;
    const int num = std::min(schedule.panels, panels - panel);
    const int rows = count * c.time.tiles;
    const Products to{products, odd_lines(std::size_t(num) * rows * kernels.panel), rows};
    Stopwatch watch;
    kernels.multiply(c, from, row, packed, panel, num, to);
    profile.multiply += watch.lap();
    kernels.transform_output(c, pooling, to, panel, num, first, count, bias, output, winners);
    profile.output += watch.lap();
  };

  if (!schedule.shared) {
    team.for_each(chunks, [&](long chunk) {
      const int first = int(areas * chunk / chunks);
      const int count = int(areas * (chunk + 1) / chunks) - first;
      const Transformed to = transformed_of(
          c, transformed + std::size_t(thread) * transformed_floats, count * c.time.tiles);
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
    const Transformed to = transformed_of(c, transformed, count * c.time.tiles);
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

void Work::pool(const Pooling& pooling, const float* input, float* output) {
  team.for_each(long(clips) * blocks_of(pooling.input.channels), [&](long plane) {
    kernels.pool(pooling, input, output, int(plane), int(plane) + 1);
  });
}

}  // namespace kinema
