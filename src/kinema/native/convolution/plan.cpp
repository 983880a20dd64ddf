#include "convolution/plan.h"

#include <algorithm>

namespace kinema::convolution {

Axis plan_axis(int size, int kernel) {
  Axis axis{};
  axis.size = size;
  const int used = std::min(kernel, 2 * size - 1);  // taps that ever meet a sample
  axis.skipped = (kernel - used) / 2;
  if (used == 1) {
    axis.transform = Transform::none;
    axis.window = axis.products = axis.outputs = axis.taps = 1;
    axis.first = 0;
  } else if (size == 2) {
    axis.transform = Transform::pair;
    axis.window = axis.outputs = 2;
    axis.products = axis.taps = 3;
    axis.first = 0;  // the zeros on both sides are built into the transform
  } else {
    axis.transform = Transform::four;
    axis.window = axis.products = 6;
    axis.outputs = 4;
    axis.taps = 3;
    axis.first = -(used / 2);
  }
  axis.tiles = (size + axis.outputs - 1) / axis.outputs;
  axis.pieces = (used + axis.taps - 1) / axis.taps;
  return axis;
}

Convolution plan_convolution(Shape input, int lanes, int out_channels, const int kernel[3],
                             bool relu) {
  Convolution convolution{};
  convolution.input = input;
  convolution.lanes = lanes;
  convolution.out_channels = out_channels;
  std::copy(kernel, kernel + 3, convolution.kernel);
  convolution.relu = relu;
  convolution.time = plan_axis(input.time, kernel[0]);
  convolution.height = plan_axis(input.height, kernel[1]);
  convolution.width = plan_axis(input.width, kernel[2]);
  return convolution;
}

bool can_fuse(const Convolution& convolution, const Pooling& pooling) {
  const Axis* axes[3] = {&convolution.time, &convolution.height, &convolution.width};
  for (int i = 0; i < 3; ++i) {
    if (pooling.padding[i] != 0) return false;
    const bool whole = pooling.kernel[i] == 1 || axes[i]->outputs % pooling.kernel[i] == 0;
    if (!whole && axes[i]->size > 1) return false;
  }
  return true;
}

Schedule plan_schedule(const Convolution& convolution, int panel, int clips, int threads) {
  // Found by trials on C3D's layers; between half and twice each, little changes.
  constexpr std::size_t kCachedWeights = 32u << 20;  // bytes that stay in the last cache
  constexpr int kPrivateProducts = 6000;  // vectors of one panel that stay in a thread's cache
  constexpr int kSharedRows = 400;
  constexpr int kSharedOutputs = 128;
  // Bytes of transformed input, and of one group's products.
  constexpr std::size_t kMostBytes = 96u << 20;
  constexpr int kItems = 2;  // of work for each thread, to even out

  const int areas = convolution.areas() * clips, times = convolution.time.tiles;
  const int panels = convolution.panels(panel);
  const std::size_t weights = convolution.packed_bytes(panel);
  const std::size_t area_bytes = sizeof(float) * times * convolution.products() *
                                 convolution.lanes * convolution.pieces() * convolution.blocks();

  Schedule schedule{};
  const int few = std::max(1, kPrivateProducts / (convolution.products() * times));
  schedule.shared = weights > kCachedWeights || areas < kItems * threads * few;
  const int most = std::clamp<int>(int(kMostBytes / area_bytes), 1,
                                   schedule.shared ? std::max(1, kSharedRows / times) : few);
  const int chunks = (areas + most - 1) / most;
  schedule.areas = (areas + chunks - 1) / chunks;
  schedule.panels = 1;
  schedule.parts = 1;
  if (schedule.shared) {
    schedule.panels = std::min(kSharedOutputs / panel, panels);
    const int groups = (panels + schedule.panels - 1) / schedule.panels;
    schedule.parts = std::clamp((kItems * threads + groups - 1) / groups, 1, schedule.areas);
  }
  return schedule;
}

}  // namespace kinema::convolution
