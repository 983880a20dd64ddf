// Farneback's flow: from the polynomials of two pictures, the displacement between them.
#pragma once

#include "support/vectors.h"
#include "trajectories/kernels.h"

namespace kinema::trajectories {
namespace {

using Eight [[gnu::vector_size(32)]] = float;

constexpr int kBlurReach = 5;  // pixels to each side
constexpr int kRing = 16;      // rows of equations that are held, a power of two
static_assert(kRing > 2 * kBlurReach + 1);
static_assert(kPad >= kBlurReach + 16);

// Trust in pixels next to the border.
constexpr int kEdge = 5;
constexpr float kEdgeWeight[kEdge] = {0.14f, 0.14f, 0.4472f, 0.4472f, 0.4472f};
inline float edge_weight(int i, int size) {
  return (i < kEdge ? kEdgeWeight[i] : 1) * (i >= size - kEdge ? kEdgeWeight[size - 1 - i] : 1);
}

// The polynomials of `second` where the flow leads from row `y`: `to` has five rows. Outside of the
// picture those of `first`, with no slope.
inline void follow(const Level& level, int y, Expansion first, Expansion second,
                   const float* flow_x, const float* flow_y, float* const to[kCoefficients]) {
  const int width = level.width, height = level.height;
  const std::ptrdiff_t plane = level.stride * height;
  float tile[4][8];
  int x1[4], y1[4];
  float wx[4], wy[4];
  for (int x = 0; x < width; x += 4) {
    const int count = least(4, width - x);
    for (int i = 0; i < 4; ++i) {
      float fx = float(x + i) + flow_x[x + i], fy = float(y) + flow_y[x + i];
      // A place far outside fits no int.
      fx = fx > -2 ? (fx < float(width + 1) ? fx : float(width + 1)) : -2;
      fy = fy > -2 ? (fy < float(height + 1) ? fy : float(height + 1)) : -2;
      x1[i] = int(fx + 2) - 2;
      y1[i] = int(fy + 2) - 2;
      // fx + 2 may be rounded up to the next pixel.
      x1[i] -= float(x1[i]) > fx;
      y1[i] -= float(y1[i]) > fy;
      wx[i] = fx - float(x1[i]);
      wy[i] = fy - float(y1[i]);
    }
    for (int i = 0; i < count; ++i) {
      if (unsigned(x1[i]) < unsigned(width - 1) && unsigned(y1[i]) < unsigned(height - 1)) {
        const float* upper =
            second.pixels + (std::ptrdiff_t(y1[i]) * width + x1[i]) * kCoefficients;
        const float* lower = upper + std::ptrdiff_t(width) * kCoefficients;
        const float a = (1 - wx[i]) * (1 - wy[i]), b = wx[i] * (1 - wy[i]);
        const float c = (1 - wx[i]) * wy[i], d = wx[i] * wy[i];
        Eight sum = a * load<Eight>(upper);
        sum = multiply_add(b, load<Eight>(upper + kCoefficients), sum);
        sum = multiply_add(c, load<Eight>(lower), sum);
        sum = multiply_add(d, load<Eight>(lower + kCoefficients), sum);
        store(tile[i], sum);
      } else {
        tile[i][0] = tile[i][1] = 0;
        for (int k = 2; k < kCoefficients; ++k)
          tile[i][k] = first.planes[k * plane + y * level.stride + x + i];
      }
      to[4][x + i] = tile[i][4];
    }
    for (int i = count; i < 4; ++i) tile[i][0] = tile[i][1] = tile[i][2] = tile[i][3] = 0;
    Four p = load<Four>(tile[0]), q = load<Four>(tile[1]);
    Four r = load<Four>(tile[2]), s = load<Four>(tile[3]);
    transpose(p, q, r, s);
    store(to[0] + x, p);
    store(to[1] + x, q);
    store(to[2] + x, r);
    store(to[3] + x, s);
  }
}

// The equations of row `y`, two in the two components of the flow: the symmetric matrix (3 values)
// and the right side (2), weighted near the border.
inline void equations(const Level& level, int y, Expansion first, const float* flow_x,
                      const float* flow_y, float* const there[kCoefficients], const float* across,
                      float* const to[5]) {
  const std::ptrdiff_t plane = level.stride * level.height;
  const float* here = first.planes + y * level.stride;
  const float down = edge_weight(y, level.height);
  for (int x = 0; x < level.width; x += kWidth) {
    const auto mean = [&](int i) { return load(here + i * plane + x) + load(there[i] + x); };
    const Vector weight = down * load(across + x);
    const Vector u = load(flow_x + x), v = load(flow_y + x);
    Vector xx = mean(2) * 0.5f, yy = mean(3) * 0.5f, xy = mean(4) * 0.25f;
    Vector p = (load(here + x) - load(there[0] + x)) * 0.5f;
    Vector q = (load(here + plane + x) - load(there[1] + x)) * 0.5f;
    p = (p + xx * u + xy * v) * weight;
    q = (q + xy * u + yy * v) * weight;
    xx *= weight;
    yy *= weight;
    xy *= weight;
    store(to[0] + x, xx * xx + xy * xy);
    store(to[1] + x, (xx + yy) * xy);
    store(to[2] + x, yy * yy + xy * xy);
    store(to[3] + x, xx * p + xy * q);
    store(to[4] + x, xy * p + yy * q);
  }
}

struct Gaussian {
  float weight[kBlurReach + 1];

  Gaussian() {
    constexpr double kSigma = kBlurReach * 0.3;
    double sum = 0, g[kBlurReach + 1];
    for (int i = 0; i <= kBlurReach; ++i) {
      g[i] = float(__builtin_exp(-i * i / (2 * kSigma * kSigma)));
      sum += i ? 2 * g[i] : g[i];
    }
    for (int i = 0; i <= kBlurReach; ++i) weight[i] = float(g[i] / sum);
  }
};

void update(const Level& level, Expansion first, Expansion second, const float* const flow[2],
            float* const updated[2], float* scratch) {
  static const Gaussian gaussian;
  const int width = level.width, height = level.height;
  const std::ptrdiff_t step = padded(level);
  const auto row = [&](int i) { return scratch + i * step + kPad; };
  float *there[5], *sums[5], *across = row(10);
  for (int i = 0; i < 5; ++i) {
    there[i] = row(i);
    sums[i] = row(5 + i);
  }
  for (int x = 0; x < width; ++x) across[x] = edge_weight(x, width);
  const auto ring = [&](int y, int i) { return row(11 + (y & (kRing - 1)) * 5 + i); };
  static_assert(11 + kRing * 5 <= kScratchRows);
  int known = 0;
  for (int y = 0; y < height; ++y) {
    for (; known < height && known <= y + kBlurReach; ++known) {
      float* to[5];
      for (int i = 0; i < 5; ++i) to[i] = ring(known, i);
      const float* u = flow[0] + known * level.stride;
      const float* v = flow[1] + known * level.stride;
      follow(level, known, first, second, u, v, there);
      equations(level, known, first, u, v, there, across, to);
    }
    const float* near[2 * kBlurReach + 1];
    for (int k = 0; k < 5; ++k) {
      for (int i = -kBlurReach; i <= kBlurReach; ++i)
        near[kBlurReach + i] = ring(y + i < 0 ? 0 : least(y + i, height - 1), k);
      float* sum = sums[k];
      for (int x = 0; x < width; x += kWidth) {
        Vector total = gaussian.weight[0] * load(near[kBlurReach] + x);
        for (int i = 1; i <= kBlurReach; ++i)
          total =
              multiply_add(gaussian.weight[i],
                           load(near[kBlurReach - i] + x) + load(near[kBlurReach + i] + x), total);
        store(sum + x, total);
      }
      for (int i = 1; i <= kBlurReach; ++i) {
        sum[-i] = sum[0];
        sum[width - 1 + i] = sum[width - 1];
      }
    }
    for (int x = 0; x < width; x += kWidth) {
      Vector g[5];
      for (int k = 0; k < 5; ++k) {
        g[k] = gaussian.weight[0] * load(sums[k] + x);
        for (int i = 1; i <= kBlurReach; ++i)
          g[k] =
              multiply_add(gaussian.weight[i], load(sums[k] + x - i) + load(sums[k] + x + i), g[k]);
      }
      const Vector by = 1 / (g[0] * g[2] - g[1] * g[1] + 1e-3f);
      store(updated[0] + y * level.stride + x, (g[2] * g[3] - g[1] * g[4]) * by);
      store(updated[1] + y * level.stride + x, (g[0] * g[4] - g[1] * g[3]) * by);
    }
  }
}

void enlarge(const float* plane, const Level& from, Line x, Line y, const Level& to, float* result,
             float* scratch) {
  constexpr float kFactor = 1.41421356f;
  float* row = scratch + kPad;
  for (int j = 0; j < to.height; ++j) {
    const int top = y.index[j], bottom = least(top + 1, from.height - 1);
    const float *a = plane + top * from.stride, *b = plane + bottom * from.stride;
    const float below = y.weight[j], above = 1 - below;
    for (int i = 0; i < from.width; ++i) row[i] = (a[i] * above + b[i] * below) * kFactor;
    row[from.width] = row[from.width - 1];
    float* out = result + j * to.stride;
    for (int i = 0; i < to.width; ++i) {
      const float w = x.weight[i];
      out[i] = row[x.index[i]] * (1 - w) + row[x.index[i] + 1] * w;
    }
  }
}

}  // namespace
}  // namespace kinema::trajectories
