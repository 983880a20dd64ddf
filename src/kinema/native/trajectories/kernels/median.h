// The median of 5 x 5 pixels.
#pragma once

#include "support/vectors.h"
#include "trajectories/kernels.h"

namespace kinema::trajectories {
namespace {

inline void order(Vector& a, Vector& b) {
  const Vector low = a < b ? a : b;
  b = a < b ? b : a;
  a = low;
}

// The least of v[first .. last] goes to v[first]; the largest to v[last].
inline void least_first(Vector* v, int first, int last) {
  for (int i = last; i > first; --i) order(v[first], v[i]);
}
inline void largest_last(Vector* v, int first, int last) {
  for (int i = first; i < last; ++i) order(v[i], v[last]);
}

inline void sort_five(Vector v[5]) {
  order(v[0], v[1]);
  order(v[3], v[4]);
  order(v[2], v[4]);
  order(v[2], v[3]);
  order(v[1], v[4]);
  order(v[0], v[3]);
  order(v[0], v[2]);
  order(v[1], v[3]);
  order(v[1], v[2]);
}

// Columns are sorted, then rows. The value that is i-th of its column and j-th of its row is not
// less than (i + 1)(j + 1) - 1 others and not larger than (5 - i)(5 - j) - 1: only 13 of the 25 can
// have 12 on both sides, and the median of these is that of all.
void median(const float* plane, const Level& level, float* result, float* scratch) {
  const int width = level.width, height = level.height;
  const std::ptrdiff_t step = padded(level);
  float* sorted[5];
  for (int i = 0; i < 5; ++i) sorted[i] = scratch + i * step + kPad;
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; x += kWidth) {
      Vector column[5];
      for (int i = 0; i < 5; ++i) {
        const int at = y + i - 2 < 0 ? 0 : least(y + i - 2, height - 1);
        column[i] = load(plane + at * level.stride + x);
      }
      sort_five(column);
      for (int i = 0; i < 5; ++i) store(sorted[i] + x, column[i]);
    }
    for (float* row : sorted)
      for (int i = 1; i <= 2; ++i) {
        row[-i] = row[0];
        row[width - 1 + i] = row[width - 1];
      }
    for (int x = 0; x < width; x += kWidth) {
      Vector row[5], left[13];
      const auto read = [&](int i) {
        for (int j = 0; j < 5; ++j) row[j] = load(sorted[i] + x + j - 2);
      };
      read(0);  // its two largest
      largest_last(row, 0, 4);
      largest_last(row, 0, 3);
      left[0] = row[3], left[1] = row[4];
      read(1);  // three largest
      least_first(row, 0, 4);
      least_first(row, 1, 4);
      left[2] = row[2], left[3] = row[3], left[4] = row[4];
      read(2);  // three in the middle
      least_first(row, 0, 4);
      largest_last(row, 1, 4);
      left[5] = row[1], left[6] = row[2], left[7] = row[3];
      read(3);  // three least
      largest_last(row, 0, 4);
      largest_last(row, 0, 3);
      left[8] = row[0], left[9] = row[1], left[10] = row[2];
      read(4);  // two least
      least_first(row, 0, 4);
      least_first(row, 1, 4);
      left[11] = row[0], left[12] = row[1];
      // The least and the largest of 8 of 13 are not the median: both go, the next one comes.
      Vector eight[8];
      for (int i = 0; i < 8; ++i) eight[i] = left[i];
#pragma GCC unroll 8
      for (int size = 8, next = 8; size >= 3; --size, ++next) {
        for (int i = 0; i < size / 2; ++i) order(eight[i], eight[size - 1 - i]);
        for (int i = 1; i < (size + 1) / 2; ++i) order(eight[0], eight[i]);
        for (int i = size / 2; i < size - 1; ++i) order(eight[i], eight[size - 1]);
        if (next > 12) break;
        eight[0] = left[next];  // in place of the least; the largest is no longer looked at
      }
      store(result + y * level.stride + x, eight[1]);
    }
  }
}

}  // namespace
}  // namespace kinema::trajectories
