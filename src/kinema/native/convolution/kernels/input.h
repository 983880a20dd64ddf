// Samples of a map -> what goes into the matrix products.
#pragma once

#include <cstddef>

#include "convolution/kernels.h"
#include "convolution/kernels/transforms.h"

namespace kinema::convolution {
namespace {

// What goes into the matrix products: samples of the input, or of the gradient to the output.
enum class Side { input, gradient };

template <Side side, Transform kind>
constexpr int kSamples = side == Side::input ? Sizes<kind>::window : Sizes<kind>::outputs;

template <Side side, Transform kind, class V>
[[gnu::always_inline]] inline void sample_1d(const V* d, V* out) {
  if constexpr (side == Side::input)
    input_1d<kind>(d, out);
  else
    gradient_1d<kind>(d, out);
}

// One frame of one tile: samples_h x samples_w -> products_h x products_w vectors.
template <class V, Side side, Transform KH, Transform KW>
[[gnu::always_inline]] inline void sample_frame(const float* frame, int y0, int x0, int height,
                                                int width, int lanes, bool prefetch, float* plane) {
  using H = Sizes<KH>;
  using W = Sizes<KW>;
  constexpr int kWidth = sizeof(V) / sizeof(float);
  constexpr int samples_h = kSamples<side, KH>, samples_w = kSamples<side, KW>;
  V rows[samples_h][W::products];
  for (int i = 0; i < samples_h; ++i) {
    const int y = y0 + i;
    V d[samples_w];
    if (unsigned(y) < unsigned(height)) {
      const float* line = frame + (std::ptrdiff_t(y) * width + x0) * lanes;
#pragma GCC unroll 8
      for (int j = 0; j < samples_w; ++j)
        d[j] = unsigned(x0 + j) < unsigned(width) ? load<V>(line + j * lanes) : V{};
      // The next tile's samples: they come too far apart for the processor to foresee.
      if (prefetch)
#pragma GCC unroll 8
        for (int j = 0; j < W::outputs; ++j)
          __builtin_prefetch(line + (samples_w + j) * lanes, 0, 2);
    } else {
#pragma GCC unroll 8
      for (int j = 0; j < samples_w; ++j) d[j] = V{};
    }
    sample_1d<side, KW>(d, rows[i]);
  }
#pragma GCC unroll 8
  for (int j = 0; j < W::products; ++j) {
    V d[samples_h], out[H::products];
#pragma GCC unroll 8
    for (int i = 0; i < samples_h; ++i) d[i] = rows[i][j];
    sample_1d<side, KH>(d, out);
#pragma GCC unroll 8
    for (int i = 0; i < H::products; ++i) store(plane + (i * W::products + j) * kWidth, out[i]);
  }
}

template <class V, Side side, Transform KH, Transform KW>
void sample_frames(const float* clip, int y0, int x0, const Shape& shape, int lanes, bool prefetch,
                   float* planes) {
  const std::ptrdiff_t frame = std::ptrdiff_t(shape.height) * shape.width * lanes;
  constexpr int plane = Sizes<KH>::products * Sizes<KW>::products * (sizeof(V) / sizeof(float));
  for (int t = 0; t < shape.time; ++t)
    sample_frame<V, side, KH, KW>(clip + t * frame, y0, x0, shape.height, shape.width, lanes,
                                  prefetch, planes + t * plane);
}

// Frames that are transformed over height and width -> all time tiles of one piece, whose rows are
// `row_floats` apart.
template <class V, Side side, Transform KT>
void sample_times(const float* planes, int plane, const Axis& time, int piece, int row_floats,
                  float* out, std::ptrdiff_t product_stride) {
  using T = Sizes<KT>;
  constexpr int kWidth = sizeof(V) / sizeof(float);
  constexpr int samples = kSamples<side, KT>;
  // All tiles of a position one after the other: their rows are neighbours.
  for (int k = 0; k < plane; ++k, planes += kWidth, out += product_stride) {
    for (int tile = 0; tile < time.tiles; ++tile) {
      const int first = side == Side::input ? time.start(tile, piece) : tile * time.outputs;
      V d[samples], products[T::products];
#pragma GCC unroll 8
      for (int i = 0; i < samples; ++i)
        d[i] = unsigned(first + i) < unsigned(time.size)
                   ? load<V>(planes + std::ptrdiff_t(first + i) * plane * kWidth)
                   : V{};
      sample_1d<side, KT>(d, products);
      float* to = out + tile * row_floats;
#pragma GCC unroll 8
      for (int i = 0; i < T::products; ++i)
        store(to + std::ptrdiff_t(i) * plane * product_stride, products[i]);
    }
  }
}

template <class V, Side side>
auto frames_of(const Convolution& c) {
  return with_transform(c.height.transform, [&]<Transform KH>() {
    return with_transform(c.width.transform,
                          []<Transform KW>() { return &sample_frames<V, side, KH, KW>; });
  });
}

template <class V, Side side>
auto times_of(const Convolution& c) {
  return with_transform(c.time.transform,
                        []<Transform KT>() { return &sample_times<V, side, KT>; });
}

template <class V>
void transform_input_by(const Convolution& c, const float* input, int area, int areas, int block,
                        Transformed transformed, int row, float* scratch) {
  const Axis &t = c.time, &h = c.height, &w = c.width;
  const auto frames = frames_of<V, Side::input>(c);
  const auto times = times_of<V, Side::input>(c);
  const int blocks = c.blocks(), plane = h.products * w.products;
  const std::ptrdiff_t block_floats = std::ptrdiff_t(c.input.samples()) * c.lanes;
  for (int i = 0; i < areas; ++i, row += t.tiles) {
    const int clip = (area + i) / c.areas(), tile = (area + i) % c.areas();
    const int tile_y = tile / w.tiles, tile_x = tile % w.tiles;
    const float* from = input + (std::ptrdiff_t(clip) * blocks + block) * block_floats;
    for (int lane = 0; lane < c.lanes; lane += sizeof(V) / sizeof(float)) {
      for (int ph = 0; ph < h.pieces; ++ph)
        for (int pw = 0; pw < w.pieces; ++pw) {
          frames(from + lane, h.start(tile_y, ph), w.start(tile_x, pw), c.input, c.lanes, lane == 0,
                 scratch);
          for (int pt = 0; pt < t.pieces; ++pt) {
            const int piece = ((pt * h.pieces + ph) * w.pieces + pw) * blocks + block;
            float* to = transformed.data +
                        (std::ptrdiff_t(piece) * transformed.rows + row) * c.lanes + lane;
            times(scratch, plane, t, pt, c.lanes, to, transformed.product_stride);
          }
        }
    }
  }
}

void transform_input(const Convolution& c, const float* input, int area, int areas, int block,
                     Transformed transformed, int row, float* scratch) {
  const auto transform = c.lanes == kLanes ? transform_input_by<Vector> : transform_input_by<Four>;
  transform(c, input, area, areas, block, transformed, row, scratch);
}

}  // namespace
}  // namespace kinema::convolution
