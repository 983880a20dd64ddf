// Kernels over the pixels of a picture.
#pragma once

#include "support/vectors.h"
#include "trajectories/kernels.h"

namespace kinema::trajectories {
namespace {

// In 1/2048 along each side, as OpenCV's bilinear interpolation of bytes.
void shrink(const Byte* from, int from_width, int from_height, Line x, Line y, const Level& to,
            Byte* shrunk) {
  const auto whole = [](float weight) { return int(__builtin_lrintf(weight * 2048)); };
  for (int row = 0; row < to.height; ++row) {
    const int top = y.index[row], bottom = top + (top + 1 < from_height);
    const Byte* a = from + std::ptrdiff_t(top) * from_width;
    const Byte* b = from + std::ptrdiff_t(bottom) * from_width;
    const int below = whole(y.weight[row]), above = whole(1 - y.weight[row]);
    for (int i = 0; i < to.width; ++i) {
      const int left = x.index[i], right = left + (left + 1 < from_width);
      const int w = whole(x.weight[i]), v = whole(1 - x.weight[i]);
      const int upper = (a[left] * v + a[right] * w) >> 4,
                lower = (b[left] * v + b[right] * w) >> 4;
      const int sum = ((upper * above) >> 16) + ((lower * below) >> 16);
      shrunk[std::ptrdiff_t(row) * to.width + i] = Byte((sum + 2) >> 2);
    }
  }
}

void to_floats(const Byte* from, const Level& level, float* plane) {
  for (int row = 0; row < level.height; ++row) {
    const Byte* __restrict bytes = from + std::ptrdiff_t(row) * level.width;
    float* __restrict to = plane + row * level.stride;
    for (int i = 0; i < level.width; ++i) to[i] = bytes[i];
  }
}

// Mirrors a row of scratch about its first and its last sample.
inline void mirror(float* row, int width, int pad) {
  for (int i = 1; i <= pad; ++i) {
    row[-i] = row[least(i, width - 1)];
    row[width - 1 + i] = row[width - 1 - least(i, width - 1)];
  }
}

void blur(const float* plane, const Level& frame, Line x, Line y, const Level& to, float* blurred,
          float* scratch) {
  float* row = scratch + kPad;
  const bool whole = to.width == frame.width;
  for (int j = 0; j < to.height; ++j) {
    const int* index = y.index + j * y.count;
    const float* weight = y.weight + j * y.count;
    for (int i = 0; i < frame.width; i += kWidth) {
      Vector sum{};
      for (int tap = 0; tap < y.count; ++tap)
        sum = multiply_add(weight[tap], load(plane + index[tap] * frame.stride + i), sum);
      store(row + i, sum);
    }
    float* result = blurred + j * to.stride;
    if (whole) {  // three taps
      mirror(row, frame.width, 1);
      for (int i = 0; i < frame.width; i += kWidth) {
        Vector sum = x.weight[0] * load(row + i - 1);
        sum = multiply_add(x.weight[1], load(row + i), sum);
        store(result + i, multiply_add(x.weight[2], load(row + i + 1), sum));
      }
      continue;
    }
    for (int i = 0; i < to.width; ++i) {
      const int* at = x.index + i * x.count;
      const float* by = x.weight + i * x.count;
      float sum = 0;
      for (int tap = 0; tap < x.count; ++tap) sum += by[tap] * row[at[tap]];
      result[i] = sum;
    }
  }
}

constexpr int kMargin = 5;

void warp(const Byte* first, const Byte* second, const Level& level, const double h[9],
          Byte* warped) {
  constexpr int kBlock = 64;
  const int width = level.width, height = level.height;
  int xs[kBlock], ys[kBlock];
  for (int y = 0; y < height; ++y) {
    for (int start = 0; start < width; start += kBlock) {
      const int stop = least(start + kBlock, width);
      // Places in 1/32 pixels, as OpenCV has them.
      for (int x = start; x < stop; ++x) {
        const double w = h[6] * x + h[7] * y + h[8], by = w != 0 ? 32 / w : 0;
        double fx = (h[0] * x + h[1] * y + h[2]) * by, fy = (h[3] * x + h[4] * y + h[5]) * by;
        fx = fx > -1e9 ? fx : -1e9;
        fy = fy > -1e9 ? fy : -1e9;
        xs[x - start] = int(__builtin_rint(fx < 1e9 ? fx : 1e9));
        ys[x - start] = int(__builtin_rint(fy < 1e9 ? fy : 1e9));
      }
      for (int x = start; x < stop; ++x) {
        const std::ptrdiff_t here = std::ptrdiff_t(y) * width + x;
        const int left = xs[x - start] >> 5, top = ys[x - start] >> 5;
        if (left < kMargin || left >= width - kMargin || top < kMargin || top >= height - kMargin) {
          warped[here] = first[here];
          continue;
        }
        const int fx = xs[x - start] & 31, fy = ys[x - start] & 31;
        const Byte* from = second + std::ptrdiff_t(top) * width + left;
        const int upper = from[0] * (32 - fx) + from[1] * fx;
        const int lower = from[width] * (32 - fx) + from[width + 1] * fx;
        warped[here] = Byte((upper * (32 - fy) + lower * fy + 512) >> 10);
      }
    }
  }
}

// Row `y` of a picture as floats, mirrored, with one sample more at each side.
inline void float_row(const Byte* image, const Level& level, int y, float* row) {
  y = y < 0 ? least(-y, level.height - 1) : y;
  y = y < level.height ? y : 2 * level.height - 2 - y;
  const Byte* __restrict from = image + std::ptrdiff_t(y < 0 ? 0 : y) * level.width;
  float* __restrict to = row;
  for (int i = 0; i < level.width; ++i) to[i] = from[i];
  mirror(row, level.width, 1);
}

float corners(const Byte* image, const Level& level, float* values, float* scratch) {
  const int width = level.width, height = level.height;
  const std::ptrdiff_t step = padded(level);
  const auto scratch_row = [&](int i) { return scratch + i * step + kPad; };
  constexpr float kScale = 1.0f / (4 * 3 * 255);  // of the Sobel filter, the block and a byte
  float largest = 0;
  float *across = scratch_row(0), *down = scratch_row(1);
  float* products[3] = {scratch_row(2), scratch_row(3), scratch_row(4)};
  // Rows of sums along x: that of y is number 5 + 3 * (y mod 3), for xx, xy and yy.
  const auto sums = [&](int y, int which) { return scratch_row(5 + 3 * (y % 3) + which); };
  const auto add_row = [&](int y) {
    float* rows[3] = {scratch_row(14), scratch_row(15), scratch_row(16)};
    for (int i = 0; i < 3; ++i) float_row(image, level, y + i - 1, rows[i]);
    for (int x = 0; x < width; x += kWidth) {
      const auto at = [&](int row, int shift) { return load(rows[row] + x + shift); };
      const Vector right = at(0, 1) + at(2, 1) + 2 * at(1, 1);
      const Vector left = at(0, -1) + at(2, -1) + 2 * at(1, -1);
      const Vector above = at(0, -1) + at(0, 1) + 2 * at(0, 0);
      const Vector below = at(2, -1) + at(2, 1) + 2 * at(2, 0);
      store(across + x, kScale * (right - left));
      store(down + x, kScale * (below - above));
    }
    for (int x = 0; x < width; x += kWidth) {
      const Vector dx = load(across + x), dy = load(down + x);
      store(products[0] + x, dx * dx);
      store(products[1] + x, dx * dy);
      store(products[2] + x, dy * dy);
    }
    for (int i = 0; i < 3; ++i) {
      mirror(products[i], width, 1);
      for (int x = 0; x < width; x += kWidth)
        store(sums(y, i) + x,
              load(products[i] + x - 1) + load(products[i] + x) + load(products[i] + x + 1));
    }
  };
  for (int y = 0; y < least(2, height); ++y) add_row(y);
  for (int y = 0; y < height; ++y) {
    if (y > 0 && y + 1 < height) add_row(y + 1);
    const int last = height - 1;
    const int before = y > 0 ? y - 1 : least(1, last),
              after = y < last ? y + 1 : (y > 0 ? y - 1 : 0);
    float* __restrict to = values + y * level.stride;
    const auto sum = [&](int which, int x) {
      return sums(before, which)[x] + sums(y, which)[x] + sums(after, which)[x];
    };
    for (int x = 0; x < width; ++x) {
      const float a = sum(0, x) * 0.5f, b = sum(1, x), c = sum(2, x) * 0.5f;
      to[x] = (a + c) - __builtin_sqrtf((a - c) * (a - c) + b * b);
    }
    for (int x = 0; x < width; ++x) largest = to[x] > largest ? to[x] : largest;
  }
  return largest;
}

int nearest(float x, float y, const float* descriptor, Keypoints others, float window) {
  int best = -1;
  float least = 0;
  for (int i = 0; i < others.count; ++i) {
    const float dx = others.points[2 * i] - x, dy = others.points[2 * i + 1] - y;
    if (!(__builtin_fabsf(dx) < window && __builtin_fabsf(dy) < window)) continue;
    const float* other = others.descriptors + std::ptrdiff_t(i) * kDescriptor;
    Vector sum{};
    for (int k = 0; k < kDescriptor; k += kWidth) {
      const Vector away = load(descriptor + k) - load(other + k);
      sum = multiply_add(away, away, sum);
    }
    float distance = 0;
    for (int k = 0; k < kWidth; ++k) distance += sum[k];
    if (best >= 0 && !(distance < least)) continue;
    best = i;
    least = distance;
  }
  return best;
}

}  // namespace
}  // namespace kinema::trajectories
