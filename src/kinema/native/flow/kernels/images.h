// Images on one thread: blur, bicubic samples, derivatives.
#pragma once

#include "flow/brox.h"
#include "support/vectors.h"

namespace kinema::flow {
namespace {

// Rows of floats with room around them. at(-1) and at(height) are there too.
struct Plane {
  float* data;
  std::ptrdiff_t pitch;
  float* row(long y) const { return data + (y + 1) * pitch + kMargin; }
};

inline int clamped(int index, int length) {
  return index < 0 ? 0 : index >= length ? length - 1 : index;
}
// Mirrored without the first pixel on the one side, with the last on the other (IPOL).
inline int mirrored(int index, int length) {
  if (index < 0) index = -index;
  if (index >= length) index = 2 * length - 1 - index;
  return clamped(index, length);
}

inline void zero(float* p, std::ptrdiff_t count) {
  for (std::ptrdiff_t i = 0; i < count; ++i) p[i] = 0;
}

// Beside the image stand its border pixels.
inline void widen(const Plane& plane, Scale size) {
  for (int y = 0; y < size.height; ++y) {
    float* row = plane.row(y);
    row[-1] = row[0];
    row[size.width] = row[size.width - 1];
  }
}

// In place; `line` has room for a row and kMostTaps on each side, `copy` for an image.
inline void blur(const Plane& image, const Plane& copy, Scale size, const Taps& taps, float* line) {
  const int radius = taps.count - 1, width = size.width;
  float* middle = line + kMostTaps;
  for (int y = 0; y < size.height; ++y) {
    const float* from = image.row(y);
    float* to = copy.row(y);
    for (int x = 0; x < width; ++x) middle[x] = from[x];
    for (int x = 1; x <= radius; ++x) {
      middle[-x] = from[mirrored(-x, width)];
      middle[width - 1 + x] = from[mirrored(width - 1 + x, width)];
    }
    for (int x = 0; x < width; ++x) to[x] = taps.values[0] * middle[x];
    for (int i = 1; i <= radius; ++i) {
      const float tap = taps.values[i];
#pragma GCC ivdep
      for (int x = 0; x < width; ++x) to[x] += tap * (middle[x - i] + middle[x + i]);
    }
  }
  for (int y = 0; y < size.height; ++y) {
    float* to = image.row(y);
    const float* from = copy.row(y);
#pragma GCC ivdep
    for (int x = 0; x < width; ++x) to[x] = taps.values[0] * from[x];
    for (int i = 1; i <= radius; ++i) {
      const float tap = taps.values[i];
      const float* up = copy.row(mirrored(y - i, size.height));
      const float* down = copy.row(mirrored(y + i, size.height));
#pragma GCC ivdep
      for (int x = 0; x < width; ++x) to[x] += tap * (up[x] + down[x]);
    }
  }
}

// Keys's weights of the pixels at -1, 0, 1, 2 for a place at 0 ... 1.
inline void cubic(float t, float& before, float& at, float& after, float& beyond) {
  before = ((-0.5f * t + 1) * t - 0.5f) * t;
  at = (1.5f * t - 2.5f) * t * t + 1;
  after = ((-1.5f * t + 2) * t + 0.5f) * t;
  beyond = (0.5f * t - 0.5f) * t * t;
}

// An image at every `step` pixels, bicubic, times `factor`; outside stand the border pixels.
inline void sample(const Plane& from, Scale size, const Plane& to, Scale new_size, double step_y,
                   double step_x, float factor, float* line) {
  for (int y = 0; y < new_size.height; ++y) {
    const double place = y * step_y;
    const int whole = int(place);
    float w[4];
    cubic(float(place - whole), w[0], w[1], w[2], w[3]);
    const float* rows[4];
    for (int i = 0; i < 4; ++i) rows[i] = from.row(clamped(whole + i - 1, size.height));
#pragma GCC ivdep
    for (int x = 0; x < size.width; ++x)
      line[x] = w[0] * rows[0][x] + w[1] * rows[1][x] + w[2] * rows[2][x] + w[3] * rows[3][x];
    float* out = to.row(y);
    for (int x = 0; x < new_size.width; ++x) {
      const double place_x = x * step_x;
      const int column = int(place_x);
      cubic(float(place_x - column), w[0], w[1], w[2], w[3]);
      float sum = 0;
      for (int i = 0; i < 4; ++i) sum += w[i] * line[clamped(column + i - 1, size.width)];
      out[x] = factor * sum;
    }
  }
}

inline void gradient(const Plane& image, Scale size, const Plane& dx, const Plane& dy) {
  for (int y = 0; y < size.height; ++y) {
    const float *row = image.row(y), *up = image.row(clamped(y - 1, size.height)),
                *down = image.row(clamped(y + 1, size.height));
    float *to_x = dx.row(y), *to_y = dy.row(y);
#pragma GCC ivdep
    for (int x = 0; x < size.width; ++x) {
      to_x[x] = 0.5f * (row[x + 1] - row[x - 1]);
      to_y[x] = 0.5f * (down[x] - up[x]);
    }
  }
}

// An image and its derivatives, pixel by pixel: I, Ix, Iy, Ixx, Ixy, Iyy and two that are zero, so
// that a warp takes all of a pixel at once.
inline void derive(const Plane& image, Scale size, float* pixels) {
  for (int y = 0; y < size.height; ++y) {
    const float *row = image.row(y), *up = image.row(clamped(y - 1, size.height)),
                *down = image.row(clamped(y + 1, size.height));
    float* to = pixels + std::ptrdiff_t(y) * size.width * kChannels;
    for (int x = 0; x < size.width; ++x, to += kChannels) {
      to[0] = row[x];
      to[1] = 0.5f * (row[x + 1] - row[x - 1]);
      to[2] = 0.5f * (down[x] - up[x]);
      to[3] = row[x + 1] - 2 * row[x] + row[x - 1];
      to[4] = 0.25f * (down[x + 1] - down[x - 1] - up[x + 1] + up[x - 1]);
      to[5] = down[x] - 2 * row[x] + up[x];
      to[6] = to[7] = 0;
    }
  }
}

// All channels of a pixel.
#if KINEMA_WIDTH >= 8
struct Pixel {
  using Eight [[gnu::vector_size(32)]] = float;
  Eight a;
  static Pixel read(const float* p) { return {load<Eight>(p)}; }
  void add(float weight, const Pixel& other) { a = multiply_add(weight, other.a, a); }
  void write(float* p) const { store(p, a); }
};
#else
struct Pixel {
  Four a, b;
  static Pixel read(const float* p) { return {load<Four>(p), load<Four>(p + 4)}; }
  void add(float weight, const Pixel& other) {
    a = multiply_add(weight, other.a, a);
    b = multiply_add(weight, other.b, b);
  }
  void write(float* p) const {
    store(p, a);
    store(p + 4, b);
  }
};
#endif

// Where a row of pixels looks, and how.
struct Places {
  int* offset;                // of the pixel above and left of the place, in pixels; -1 outside
  float *along[4], *down[4];  // weights
};

inline void find_places(const float* u, const float* v, int y, Scale size, const Places& places) {
  const float last_x = float(size.width - 2), last_y = float(size.height - 2);
#pragma GCC ivdep
  for (int i = 0; i < size.width; ++i) {
    const float x = float(i) + u[i], row = float(y) + v[i];
    const bool inside = (x >= 1) & (x < last_x) & (row >= 1) & (row < last_y);
    const float safe_x = inside ? x : 1, safe_y = inside ? row : 1;
    const int column = int(safe_x), line = int(safe_y);
    places.offset[i] = inside ? line * size.width + column : -1;
    cubic(safe_x - float(column), places.along[0][i], places.along[1][i], places.along[2][i],
          places.along[3][i]);
    cubic(safe_y - float(line), places.down[0][i], places.down[1][i], places.down[2][i],
          places.down[3][i]);
  }
}

// A row of the warped image and its derivatives, each in a line of its own; 0 outside.
inline void warp(const float* pixels, Scale size, const Places& places, float* const* lines) {
  const std::ptrdiff_t pitch = std::ptrdiff_t(size.width) * kChannels;
  for (int x = 0; x < size.width; ++x) {
    alignas(32) float found[kChannels] = {};
    if (places.offset[x] >= 0) {
      const float* at = pixels + std::ptrdiff_t(places.offset[x]) * kChannels - pitch - kChannels;
      Pixel sum{};
      for (int i = 0; i < 4; ++i, at += pitch) {
        Pixel line{};
        for (int j = 0; j < 4; ++j) line.add(places.along[j][x], Pixel::read(at + j * kChannels));
        sum.add(places.down[i][x], line);
      }
      sum.write(found);
    }
    for (int i = 0; i < 6; ++i) lines[i][x] = found[i];
  }
}

}  // namespace
}  // namespace kinema::flow
