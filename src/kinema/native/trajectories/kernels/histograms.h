// Integral histograms of directions, and the descriptors that are read from them.
#pragma once

#include "support/vectors.h"
#include "trajectories/kernels.h"
#include "trajectories/kernels/flow.h"
#include "trajectories/kernels/images.h"

namespace kinema::trajectories {
namespace {

// OpenCV's fastAtan2: degrees from 0 to 360, its polynomial of four terms.
inline float degrees(float y, float x) {
  constexpr float kDegrees = 57.29577951308232f, kTiny = 2.220446e-16f;
  constexpr float k1 = 0.9997878412794807f * kDegrees, k3 = -0.3258083974640975f * kDegrees;
  constexpr float k5 = 0.1555786518463281f * kDegrees, k7 = -0.04432655554792128f * kDegrees;
  const float ax = __builtin_fabsf(x), ay = __builtin_fabsf(y);
  const float low = ax < ay ? ax : ay, high = ax < ay ? ay : ax;
  const float c = low / (high + kTiny), cc = c * c;
  float angle = (((k7 * cc + k5) * cc + k3) * cc + k1) * c;
  angle = ax >= ay ? angle : 90 - angle;
  angle = x < 0 ? 180 - angle : angle;
  return y < 0 ? 360 - angle : angle;
}

constexpr float kStill = 0.4f;  // pixels: flow that is no longer counts as none

// One row of vectors (x, y) is added to the integral histograms below it: each vector's length goes
// to the two directions between which it lies.
inline void add_directions(const float* __restrict x, const float* __restrict y, const Level& level,
                           int row, Sums sums, float* scratch) {
  constexpr float kPerDegree = float(kBins) / 360.0f;
  static constexpr Eight kOne[kBins] = {{1, 0, 0, 0, 0, 0, 0, 0}, {0, 1, 0, 0, 0, 0, 0, 0},
                                        {0, 0, 1, 0, 0, 0, 0, 0}, {0, 0, 0, 1, 0, 0, 0, 0},
                                        {0, 0, 0, 0, 1, 0, 0, 0}, {0, 0, 0, 0, 0, 1, 0, 0},
                                        {0, 0, 0, 0, 0, 0, 1, 0}, {0, 0, 0, 0, 0, 0, 0, 1}};
  const int width = level.width;
  const std::ptrdiff_t step = padded(level);
  float* __restrict near = scratch;
  float* __restrict far = scratch + step;
  int* __restrict bins = reinterpret_cast<int*>(scratch + 2 * step);
  const bool has_still = sums.still != nullptr;
  const float bound = has_still ? kStill : -1;
  for (int i = 0; i < width; ++i) {
    const float length = __builtin_sqrtf(x[i] * x[i] + y[i] * y[i]);
    float angle = degrees(y[i], x[i]);
    angle = angle >= 360 ? angle - 360 : angle;
    const float place = angle * kPerDegree;
    int bin = int(place);
    bin = bin < kBins ? bin : kBins - 1;
    const float second = (place - float(bin)) * length;
    bins[i] = bin;
    far[i] = length <= bound ? 0 : second;
    near[i] = length <= bound ? 0 : length - second;
  }
  const std::ptrdiff_t line = std::ptrdiff_t(width + 1) * kBins;
  const float* above = sums.bins + row * line;
  float* below = sums.bins + (row + 1) * line;
  Eight sum{};
  store(below, sum);
  for (int i = 0; i < width; ++i) {
    const int bin = bins[i];
    sum = sum + multiply_add(near[i], kOne[bin], far[i] * kOne[(bin + 1) & (kBins - 1)]);
    store(below + (i + 1) * kBins, load<Eight>(above + (i + 1) * kBins) + sum);
  }
  if (!has_still) return;
  const float* still_above = sums.still + std::ptrdiff_t(row) * (width + 1);
  float* still_below = sums.still + std::ptrdiff_t(row + 1) * (width + 1);
  float still = 0;
  still_below[0] = 0;
  for (int i = 0; i < width; ++i) {
    still += __builtin_sqrtf(x[i] * x[i] + y[i] * y[i]) <= kStill ? 1.0f : 0.0f;
    still_below[i + 1] = still_above[i + 1] + still;
  }
}

inline void clear_first(const Level& level, Sums sums) {
  const std::size_t line = std::size_t(level.width + 1);
  __builtin_memset(sums.bins, 0, line * kBins * sizeof(float));
  if (sums.still) __builtin_memset(sums.still, 0, line * sizeof(float));
}

// `row(y, to)` gives a row; the gradient is that of central differences; a row's border mirrors it.
template <class Row>
inline void sum_differences(const Level& level, Sums sums, float* scratch, Row row) {
  const std::ptrdiff_t step = padded(level);
  const auto scratch_row = [&](int i) { return scratch + i * step + kPad; };
  float *dx = scratch_row(3), *dy = scratch_row(4);
  const float* rows[3];
  clear_first(level, sums);
  for (int y = 0; y < level.height; ++y) {
    for (int i = 0; i < 3; ++i) {
      int at = y + i - 1;
      at = at < 0 ? least(1, level.height - 1) : at;
      at = at < level.height ? at : (level.height > 1 ? level.height - 2 : 0);
      rows[i] = row(at, i);
    }
    const int width = level.width;
    for (int x = 0; x < width; x += kWidth) {
      store(dx + x, load(rows[1] + x + 1) - load(rows[1] + x - 1));
      store(dy + x, load(rows[2] + x) - load(rows[0] + x));
    }
    add_directions(dx, dy, level, y, sums, scratch);
  }
}

void sum_image(const Byte* image, const Level& level, Sums sums, float* scratch) {
  const std::ptrdiff_t step = padded(level);
  sum_differences(level, sums, scratch, [&](int y, int i) {
    float* row = scratch + (5 + i) * step + kPad;
    float_row(image, level, y, row);
    return row;
  });
}

void sum_gradient(const float* plane, const Level& level, Sums sums, float* scratch) {
  const std::ptrdiff_t step = padded(level);
  sum_differences(level, sums, scratch, [&](int y, int i) -> const float* {
    const float* from = plane + y * level.stride;
    if (i != 1) return from;
    float* row = scratch + 5 * step + kPad;  // with a sample more at each side
    for (int x = 0; x < level.width; x += kWidth) store(row + x, load(from + x));
    mirror(row, level.width, 1);
    return row;
  });
}

void sum_flow(const float* const flow[2], const Level& level, Sums sums, float* scratch) {
  clear_first(level, sums);
  for (int y = 0; y < level.height; ++y)
    add_directions(flow[0] + y * level.stride, flow[1] + y * level.stride, level, y, sums, scratch);
}

void add_block(Sums sums, int width, int x, int y, float* descriptor) {
  constexpr int kCell = kPatch / 2;
  constexpr float kLeast = 0.05f;
  const int bins = sums.still ? kBins + 1 : kBins, size = 4 * bins;
  float values[4 * (kBins + 1)];
  float* to = values;
  const auto cell = [&](auto at) {
    return at(kCell, kCell) + at(0, 0) - at(0, kCell) - at(kCell, 0);
  };
  for (int i = 0; i < 2; ++i)
    for (int j = 0; j < 2; ++j, to += bins) {
      const std::ptrdiff_t line = width + 1, start = (y + j * kCell) * line + x + i * kCell;
      const Eight sum = cell([&](int dx, int dy) {
        return load<Eight>(sums.bins + (start + dy * line + dx) * kBins);
      });
      store(to, (sum > 0 ? sum : Eight{}) + kLeast);
      if (!sums.still) continue;
      const float still = cell([&](int dx, int dy) { return sums.still[start + dy * line + dx]; });
      to[kBins] = (still > 0 ? still : 0) + kLeast;
    }
  float total = 0;
  for (int i = 0; i < size; ++i) total += values[i];
  const float by = 1 / total;
  for (int i = 0; i < size; ++i) descriptor[i] += __builtin_sqrtf(values[i] * by);
}

}  // namespace
}  // namespace kinema::trajectories
