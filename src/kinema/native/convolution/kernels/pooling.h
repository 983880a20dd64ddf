// Max pooling of a map, and its way back.
#pragma once

#include <cmath>
#include <cstddef>

#include "convolution/kernels.h"
#include "support/vectors.h"

namespace kinema::convolution {
namespace {

// The windows of a pooling as they lie in a convolution's tiles: where the map has one sample, so
// has the tile.
inline void fused_window(const Pooling& pooling, int window[3]) {
  const int sizes[3] = {pooling.input.time, pooling.input.height, pooling.input.width};
  for (int i = 0; i < 3; ++i) window[i] = sizes[i] == 1 ? 1 : pooling.kernel[i];
}

void pool(const Pooling& pooling, const float* input, float* output, int first, int last) {
  const Shape& shape = pooling.input;
  const int sizes[3] = {shape.time, shape.height, shape.width};
  const std::ptrdiff_t in_floats = std::ptrdiff_t(shape.samples()) * kLanes;
  const std::ptrdiff_t out_floats =
      std::ptrdiff_t(pooling.sizes[0]) * pooling.sizes[1] * pooling.sizes[2] * kLanes;
  for (int plane = first; plane < last; ++plane) {
    const float* from = input + plane * in_floats;
    float* to = output + plane * out_floats;
    int at[3];
    for (at[0] = 0; at[0] < pooling.sizes[0]; ++at[0])
      for (at[1] = 0; at[1] < pooling.sizes[1]; ++at[1])
        for (at[2] = 0; at[2] < pooling.sizes[2]; ++at[2], to += kLanes) {
          int start[3], stop[3];
          for (int i = 0; i < 3; ++i) {
            start[i] = at[i] * pooling.kernel[i] - pooling.padding[i];
            stop[i] = least(start[i] + pooling.kernel[i], sizes[i]);
            if (start[i] < 0) start[i] = 0;
          }
          for (int lane = 0; lane < kLanes; lane += kWidth) {
            Vector value = splat(-INFINITY);
            for (int t = start[0]; t < stop[0]; ++t)
              for (int y = start[1]; y < stop[1]; ++y)
                for (int x = start[2]; x < stop[2]; ++x)
                  value = larger(
                      load(from + ((std::ptrdiff_t(t) * sizes[1] + y) * sizes[2] + x) * kLanes +
                           lane),
                      value);
            store(to + lane, value);
          }
        }
  }
}

void unpool(const Pooling& pooling, const float* gradient, const unsigned char* winners,
            float* unpooled, int first, int last) {
  const Shape& shape = pooling.input;
  const int sizes[3] = {shape.time, shape.height, shape.width};
  int window[3];
  fused_window(pooling, window);
  const std::ptrdiff_t in_floats = std::ptrdiff_t(shape.samples()) * kLanes;
  const std::ptrdiff_t out_floats = std::ptrdiff_t(pooling.output().samples()) * kLanes;
  for (int plane = first; plane < last; ++plane) {
    const float* from = gradient + plane * out_floats;
    const unsigned char* winner = winners + plane * out_floats;
    float* to = unpooled + plane * in_floats;
    int at[3];
    for (at[0] = 0; at[0] < pooling.sizes[0]; ++at[0])
      for (at[1] = 0; at[1] < pooling.sizes[1]; ++at[1])
        for (at[2] = 0; at[2] < pooling.sizes[2]; ++at[2], from += kLanes, winner += kLanes) {
          int start[3], stop[3];
          for (int i = 0; i < 3; ++i) {
            start[i] = at[i] * window[i];
            stop[i] = least(start[i] + window[i], sizes[i]);
          }
          for (int lane = 0; lane < kLanes; lane += kWidth) {
            const Vector value = load(from + lane);
            const Integers places = load_bytes(winner + lane);
            for (int t = start[0]; t < stop[0]; ++t)
              for (int y = start[1]; y < stop[1]; ++y)
                for (int x = start[2]; x < stop[2]; ++x) {
                  const int place =
                      ((t - start[0]) * window[1] + y - start[1]) * window[2] + x - start[2];
                  store(to + ((std::ptrdiff_t(t) * sizes[1] + y) * sizes[2] + x) * kLanes + lane,
                        places == place - Integers{} ? value : Vector{});
                }
          }
        }
  }
}

}  // namespace
}  // namespace kinema::convolution
