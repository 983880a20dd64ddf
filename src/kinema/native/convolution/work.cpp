#include "convolution/work.h"

#include <algorithm>

#include "support/stopwatch.h"

namespace kinema::convolution {

void Workspace::cover(const Convolution& c, int panel, int clips, int most_threads) {
  for (int threads = 1; threads <= most_threads; ++threads) {  // the team may be smaller
    const Schedule schedule = plan_schedule(c, panel, clips, threads);
    const std::size_t rows = std::size_t(schedule.areas) * c.time.tiles;
    const std::size_t part = std::size_t(schedule.part_areas(schedule.areas)) * c.time.tiles;
    std::size_t& most = schedule.shared ? team : transformed;
    most = std::max<std::size_t>(
        most, c.products() * odd_lines(c.pieces() * c.blocks() * rows * c.lanes));
    products =
        std::max<std::size_t>(products, c.products() * odd_lines(schedule.panels * part * panel));
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
    const float* from =
        activation + (clip * blocks + channel / kLanes) * samples * kLanes + channel % kLanes;
    float* to = output + item * samples;
    for (std::size_t i = 0; i < samples; ++i) to[i] = from[i * kLanes];
  });
}

void Work::convolve(const Convolution& c, const Pooling* pooling, const float* packed,
                    const float* bias, const float* input, float* output, unsigned char* winners) {
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

}  // namespace kinema::convolution
