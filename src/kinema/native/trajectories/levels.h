// The scales of improved dense trajectories, and what an image is blurred and shrunk by for each.
//
// Source of all constants: Wang and Schmid, Action Recognition with Improved Trajectories, ICCV
// 2013, as in its program of October 2013; those of the flow, Farneback, SCIA 2003, as in OpenCV.
#pragma once

#include <cstddef>
#include <vector>

namespace kinema::trajectories {

constexpr int kMostLevels = 8;
constexpr int kPatch = 32;   // pixels: side of the block that a descriptor sees
constexpr int kSpacing = 5;  // pixels between samples
constexpr int kLength = 15;  // steps of a track
constexpr int kTimeCells = 3;
constexpr int kRows = 10 + 2 * kLength + kTimeCells * (32 + 36 + 32 + 32);  // columns of a track

// Planes of floats have rows of whole cache lines: kernels may write, not use, what lies behind the
// width.
struct Level {
  int width, height;
  float scale;  // pixels of the frame in one of this level
  std::ptrdiff_t stride;
};

// The frame first; each side is that of the frame over a power of sqrt(2), as long as it holds a
// patch. At least one.
std::vector<Level> levels_of(int width, int height);

// Each output sample is the sum of `count` input samples times weights.
struct Taps {
  int count = 0;
  std::vector<int> index;     // [output][count]
  std::vector<float> weight;  // [output][count]
};

// Gaussian blur of a line of `size` samples, mirrored about its ends, as level's scale asks for;
// then `to` samples of it by linear interpolation.
Taps blur_and_shrink(int size, int to, float scale);

// Linear interpolation between pixel centres: sample `index` and the next one, which has `weight`.
struct Between {
  std::vector<int> index;
  std::vector<float> weight;
};
Between between(int from, int to);

}  // namespace kinema::trajectories
