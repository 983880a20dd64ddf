// From one layout of an activation to another, and sums of its samples.
#pragma once

#include <cstddef>

#include "convolution/kernels.h"
#include "convolution/kernels/sizes.h"

namespace kinema::convolution {
namespace {

static_assert(kFewLanes == 4 && kLanes % 4 == 0);  // lanes are taken by fours

void to_lanes(const float* from, const float* mask, std::ptrdiff_t channel_stride, int channels,
              int lanes, int samples, float* to) {
  const int whole = samples - samples % 4;
  // Four channels at a time: their samples often lie a power of two apart.
  for (int lane = 0; lane < lanes; lane += 4)
    for (int sample = 0; sample < whole; sample += 4) {
      Four rows[4] = {};
      for (int i = 0; i < least(4, channels - lane); ++i) {
        const std::ptrdiff_t at = (lane + i) * channel_stride + sample;
        rows[i] = load<Four>(from + at);
        if (mask) rows[i] = load<Four>(mask + at) <= 0.0f ? Four{} : rows[i];
      }
      transpose(rows[0], rows[1], rows[2], rows[3]);
      for (int i = 0; i < 4; ++i) store(to + (sample + i) * lanes + lane, rows[i]);
    }
  for (int sample = whole; sample < samples; ++sample)
    for (int lane = 0; lane < lanes; ++lane) {
      const std::ptrdiff_t at = lane * channel_stride + sample;
      const bool there = lane < channels && !(mask && mask[at] <= 0.0f);
      to[sample * lanes + lane] = there ? from[at] : 0.0f;
    }
}

void from_lanes(const float* from, int samples, int channels, std::ptrdiff_t channel_stride,
                float* to) {
  const int whole = samples - samples % 4;
  for (int lane = 0; lane < channels; lane += 4)
    for (int sample = 0; sample < whole; sample += 4) {
      Four rows[4];
      for (int i = 0; i < 4; ++i) rows[i] = load<Four>(from + (sample + i) * kLanes + lane);
      transpose(rows[0], rows[1], rows[2], rows[3]);
      for (int i = 0; i < least(4, channels - lane); ++i)
        store(to + (lane + i) * channel_stride + sample, rows[i]);
    }
  for (int sample = whole; sample < samples; ++sample)
    for (int lane = 0; lane < channels; ++lane)
      to[lane * channel_stride + sample] = from[sample * kLanes + lane];
}

void add_up(const float* from, int samples, double* sums) {
  for (int first = 0; first < samples; first += kSum) {
    const int last = least(first + kSum, samples);
    float some[kLanes] = {};
    for (int sample = first; sample < last; ++sample)
      for (int lane = 0; lane < kLanes; ++lane) some[lane] += from[sample * kLanes + lane];
    for (int lane = 0; lane < kLanes; ++lane) sums[lane] += some[lane];
  }
}

}  // namespace
}  // namespace kinema::convolution
