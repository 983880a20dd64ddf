#include "trajectories/levels.h"

#include <algorithm>
#include <cmath>

#include "support/memory.h"

namespace kinema::trajectories {

std::vector<Level> levels_of(int width, int height) {
  const float step = std::sqrt(2.0f);
  std::vector<Level> levels;
  float side = float(std::min(width, height)), scale = 1;
  do {
    const int w = int(std::nearbyint(width / scale)), h = int(std::nearbyint(height / scale));
    levels.push_back({w, h, scale, std::ptrdiff_t(rounded(w))});
    scale *= step;
    side /= step;
  } while (side >= kPatch && int(levels.size()) < kMostLevels);
  return levels;
}

Between between(int from, int to) {
  Between found;
  const double ratio = double(from) / to;
  for (int i = 0; i < to; ++i) {
    const float place = float((i + 0.5) * ratio - 0.5);
    int index = int(std::floor(place));
    float weight = place - float(index);
    if (index < 0) index = 0, weight = 0;
    if (index >= from - 1) index = from - 1, weight = 0;
    found.index.push_back(index);
    found.weight.push_back(weight);
  }
  return found;
}

Taps blur_and_shrink(int size, int to, float scale) {
  const double sigma = (scale - 1) * 0.5;
  const int taps = std::max(int(std::nearbyint(sigma * 5)) | 1, 3), half = taps / 2;
  std::vector<double> kernel{0.25, 0.5, 0.25};  // OpenCV's for 3 taps without a sigma
  if (sigma > 0) {
    double sum = 0;
    kernel.resize(taps);
    for (int i = 0; i < taps; ++i)
      sum += kernel[i] = std::exp(-0.5 * (i - half) * (i - half) / (sigma * sigma));
    for (double& value : kernel) value /= sum;
  }
  const auto mirrored = [size](int i) {
    while (size > 1 && (i < 0 || i >= size)) i = i < 0 ? -i : 2 * size - 2 - i;
    return size > 1 ? i : 0;
  };
  const Between places = between(size, to);
  Taps found;
  found.count = to == size ? taps : taps + 1;
  for (int i = 0; i < to; ++i)
    for (int tap = 0; tap < found.count; ++tap) {
      const double here = tap < taps ? kernel[tap] : 0, before = tap > 0 ? kernel[tap - 1] : 0;
      const double next = places.weight[i];
      const int index = places.index[i] + tap - half;
      // Behind the last sample nothing is interpolated.
      found.index.push_back(mirrored(index));
      found.weight.push_back(float(here * (1 - next) + before * next));
    }
  return found;
}

}  // namespace kinema::trajectories
