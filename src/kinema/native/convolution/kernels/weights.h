// Weights -> products of a tile, once for each weight, in double precision.
#pragma once

#include <cstddef>

#include "convolution/kernels.h"
#include "convolution/kernels/sizes.h"
#include "convolution/kernels/transforms.h"

namespace kinema::convolution {
namespace {

// Weights are transformed in double precision, once, eight outputs at a time: rows of the matrix G.
constexpr int kFilters = 8;
using Doubles [[gnu::vector_size(8 * kFilters)]] = double;
using Floats [[gnu::vector_size(4 * kFilters)]] = float;

void weight_1d(Transform kind, const Doubles* g, int stride, Doubles* out, int out_stride) {
  if (kind == Transform::none) {
    out[0] = g[0];
    return;
  }
  const Doubles &g0 = g[0], &g1 = g[stride], &g2 = g[2 * stride];
  if (kind == Transform::pair) {
    out[0] = g1;
    out[out_stride] = g2 - g1;
    out[2 * out_stride] = g0 - g1;
    return;
  }
  // 1 / product of the differences between a point and the others
  constexpr double at_a = 1 / (2 * kA2 * (kA2 - kB2)), at_b = 1 / (2 * kB2 * (kB2 - kA2));
  const Doubles even_a = at_a * (g0 + kA2 * g2), odd_a = at_a * kA * g1;
  const Doubles even_b = at_b * (g0 + kB2 * g2), odd_b = at_b * kB * g1;
  out[0] = g0;
  out[1 * out_stride] = even_a + odd_a;
  out[2 * out_stride] = even_a - odd_a;
  out[3 * out_stride] = even_b + odd_b;
  out[4 * out_stride] = even_b - odd_b;
  out[5 * out_stride] = g2;
}

// The transpose of weight_1d.
void weight_gradient_1d(Transform kind, const Doubles* p, int stride, Doubles* g, int out_stride) {
  if (kind == Transform::none) {
    g[0] = p[0];
    return;
  }
  if (kind == Transform::pair) {
    g[0] = p[2 * stride];
    g[out_stride] = p[0] - p[stride] - p[2 * stride];
    g[2 * out_stride] = p[stride];
    return;
  }
  constexpr double at_a = 1 / (2 * kA2 * (kA2 - kB2)), at_b = 1 / (2 * kB2 * (kB2 - kA2));
  const Doubles sum_a = at_a * (p[stride] + p[2 * stride]);
  const Doubles difference_a = at_a * kA * (p[stride] - p[2 * stride]);
  const Doubles sum_b = at_b * (p[3 * stride] + p[4 * stride]);
  const Doubles difference_b = at_b * kB * (p[3 * stride] - p[4 * stride]);
  g[0] = p[0] + (sum_a + sum_b);
  g[out_stride] = difference_a + difference_b;
  g[2 * out_stride] = kA2 * sum_a + (kB2 * sum_b + p[5 * stride]);
}

// A piece of eight filters: taps along three axes -> products along three axes.
void transform_weights(const Convolution& c, const Doubles* taps, Doubles* products) {
  const Axis &t = c.time, &h = c.height, &w = c.width;
  Doubles rows[3 * 3 * 6], planes[3 * 6 * 6];  // at most
  for (int i = 0; i < t.taps * h.taps; ++i)
    weight_1d(w.transform, taps + i * w.taps, 1, rows + i * w.products, 1);
  for (int i = 0; i < t.taps; ++i)
    for (int k = 0; k < w.products; ++k)
      weight_1d(h.transform, rows + i * h.taps * w.products + k, w.products,
                planes + i * h.products * w.products + k, w.products);
  const int plane = h.products * w.products;
  for (int k = 0; k < plane; ++k) weight_1d(t.transform, planes + k, plane, products + k, plane);
}

// Weights that are no more than rearranged: those of fully connected layers.
void pack_single(const Convolution& c, const Weights& weights, int panel, float* packed) {
  const int* column = weights.column;
  constexpr int kTogether = 64;  // so that both sides stay in a cache
  const int depth = c.depth();
  for (int first = 0; first < depth; first += kTogether) {
    const int last = least(first + kTogether, depth);
    for (int lane = 0; lane < kPanel; ++lane) {
      const int out = panel * kPanel + lane;
      const float* row = weights.data + out * weights.out_stride;
      for (int k = first; k < last; ++k) {
        const int at = column ? column[k] : k;
        packed[std::ptrdiff_t(k) * kPanel + lane] =
            out < c.out_channels && at >= 0 ? row[at * weights.channel_stride] : 0.0f;
      }
    }
  }
}

// Where the taps of one piece of a kernel are among all of them, -1 for those beyond its end.
struct Piece {
  std::ptrdiff_t taps[3 * 3 * 3];

  Piece(const Convolution& c, int piece) {
    const Axis* axes[3] = {&c.time, &c.height, &c.width};
    int first[3];
    for (int i = 2; i >= 0; --i) {
      first[i] = axes[i]->skipped + piece % axes[i]->pieces * axes[i]->taps;
      piece /= axes[i]->pieces;
    }
    std::ptrdiff_t* tap = taps;
    for (int i = 0; i < c.time.taps; ++i)
      for (int j = 0; j < c.height.taps; ++j)
        for (int l = 0; l < c.width.taps; ++l) {
          const int at[3] = {first[0] + i, first[1] + j, first[2] + l};
          bool there = true;
          for (int axis = 0; axis < 3; ++axis)
            there &= at[axis] < c.kernel[axis] - axes[axis]->skipped;
          *tap++ = there ? (std::ptrdiff_t(at[0]) * c.kernel[1] + at[1]) * c.kernel[2] + at[2] : -1;
        }
  }
};

// More packed weights than this leave the caches before they are used.
constexpr std::size_t kStreamed = 8u << 20;

void pack(const Convolution& c, const Weights& weights, int panel, float* packed) {
  const int products = c.products(), depth = c.depth(), channels = c.input.channels;
  const int taps = c.time.taps * c.height.taps * c.width.taps;
  const std::ptrdiff_t all_taps = taps_of(c);
  if (all_taps == 1) return pack_single(c, weights, panel, packed);
  const std::ptrdiff_t filter = weights.out_stride;
  const bool streamed = c.packed_bytes(kPanel) > kStreamed;
  alignas(64) float all[6 * 6 * 6 * kPanel];  // of one channel
  int k = 0;
  for (int piece = 0; piece < c.pieces(); ++piece) {
    const Piece where(c, piece);
    for (int channel = 0; channel < channels; ++channel, ++k) {
      for (int lane = 0; lane < kPanel; lane += kFilters) {
        const int out = panel * kPanel + lane, filters = least(kFilters, c.out_channels - out);
        Doubles from[3 * 3 * 3] = {}, values[6 * 6 * 6];
        const float* const first = weights.data + out * filter + channel * weights.channel_stride;
        for (int i = 0; i < taps; ++i) {
          if (where.taps[i] < 0) continue;
          const float* tap =
              first + (weights.flipped ? all_taps - 1 - where.taps[i] : where.taps[i]);
          if (filters == kFilters)
#pragma GCC unroll 8
            for (int f = 0; f < kFilters; ++f) from[i][f] = tap[f * filter];
          else
            for (int f = 0; f < filters; ++f) from[i][f] = tap[f * filter];
        }
        transform_weights(c, from, values);
        for (int p = 0; p < products; ++p)
          store(all + p * kPanel + lane, __builtin_convertvector(values[p], Floats));
      }
      float* to = packed + std::ptrdiff_t(k) * kPanel;
      for (int p = 0; p < products; ++p, to += std::ptrdiff_t(depth) * kPanel)
        for (int lane = 0; lane < kPanel; lane += kWidth) {
          const Vector v = load(all + p * kPanel + lane);
          streamed ? stream(to + lane, v) : store(to + lane, v);
        }
    }
  }
  if (streamed) end_streams();
}

void transform_weight_gradient(const Convolution& c, const Doubles* products, Doubles* taps) {
  const Axis &t = c.time, &h = c.height, &w = c.width;
  Doubles rows[3 * 3 * 6], planes[3 * 6 * 6];  // at most
  const int plane = h.products * w.products;
  for (int k = 0; k < plane; ++k)
    weight_gradient_1d(t.transform, products + k, plane, planes + k, plane);
  for (int i = 0; i < t.taps; ++i)
    for (int k = 0; k < w.products; ++k)
      weight_gradient_1d(h.transform, planes + i * plane + k, w.products,
                         rows + i * h.taps * w.products + k, w.products);
  for (int i = 0; i < t.taps * h.taps; ++i)
    weight_gradient_1d(w.transform, rows + i * w.products, 1, taps + i * w.taps, 1);
}

void unpack(const Convolution& c, const float* sums, int panel, float* gradient) {
  const int products = c.products(), channels = c.input.channels;
  const int taps = c.time.taps * c.height.taps * c.width.taps;
  const std::ptrdiff_t all_taps = taps_of(c);
  const std::ptrdiff_t filter = channels * all_taps;
  const std::ptrdiff_t product_stride = std::ptrdiff_t(c.depth()) * kPanel;
  const int lanes = least(kPanel, c.out_channels - panel * kPanel);
  gradient += panel * kPanel * filter;
  if (c.time.skipped || c.height.skipped || c.width.skipped)
    for (std::ptrdiff_t i = 0; i < lanes * filter; ++i) gradient[i] = 0.0f;
  for (int piece = 0; piece < c.pieces(); ++piece) {
    const Piece where(c, piece);
    for (int channel = 0; channel < channels; ++channel, sums += kPanel) {
      // The next channel's: they come too far apart for the processor to foresee.
      for (int p = 0; p < products; ++p)
        for (int lane = 0; lane < kPanel; lane += kLanes)
          __builtin_prefetch(sums + p * product_stride + kPanel + lane);
      for (int lane = 0; lane < lanes; lane += kFilters) {
        Doubles to[3 * 3 * 3], values[6 * 6 * 6];
        for (int p = 0; p < products; ++p)
          values[p] =
              __builtin_convertvector(load<Floats>(sums + p * product_stride + lane), Doubles);
        transform_weight_gradient(c, values, to);
        float* const first = gradient + lane * filter + channel * all_taps;
        for (int i = 0; i < taps; ++i) {
          if (where.taps[i] < 0) continue;
          float* const tap = first + where.taps[i];
          const Floats value = __builtin_convertvector(to[i], Floats);
          for (int f = 0; f < least(kFilters, lanes - lane); ++f) tap[f * filter] = value[f];
        }
      }
    }
  }
}

}  // namespace
}  // namespace kinema::convolution
