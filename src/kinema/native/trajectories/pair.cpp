#include "trajectories/pair.h"

#include <algorithm>

namespace kinema::trajectories {

Pair::Pair(const std::string& target, int width, int height)
    : scales_(target, width, height), image_(std::size_t(width) * height) {}

void Pair::solve(const Picture& first, const Picture& second) {
  solve(first, [&](int i) { return second.expansion(i); }, flow_);
  is_solved_ = true;
}

void Pair::solve_warped(const Picture& first, const Picture& second, const double homography[9]) {
  scales_.kernels().warp(first.image(0), second.image(0), scales_.level(0), homography,
                         image_.data());
  scales_.expand(image_.data(), planes_, pixels_, expanding_);
  solve(first, [&](int i) { return scales_.expansion(i, planes_, pixels_); }, warped_);
  is_warped_ = true;
}

template <class Second>
void Pair::solve(const Picture& first, Second second, Buffer& flow) {
  constexpr int kUpdates = 2;
  const Kernels& kernels = scales_.kernels();
  const std::size_t largest = scales_.offset(1);
  flow.reserve(2 * scales_.floats());
  scratch_.reserve(scales_.scratch() + 4 * largest);
  float* const rows = scratch_.data();
  float* buffers[2][2];
  for (int i = 0; i < 4; ++i) buffers[i / 2][i % 2] = rows + scales_.scratch() + i * largest;
  for (int i = scales_.size() - 1; i >= 0; --i) {
    const Level& level = scales_.level(i);
    for (int axis = 0; axis < 2; ++axis)
      if (i + 1 < scales_.size())
        scales_.enlarge(i, plane(flow, i + 1, axis), buffers[0][axis], rows);
      else
        std::fill_n(buffers[0][axis], scales_.offset(i + 1) - scales_.offset(i), 0.0f);
    for (int update = 0; update < kUpdates; ++update) {
      kernels.update(level, first.expansion(i), second(i), buffers[0], buffers[1], rows);
      std::swap(buffers[0], buffers[1]);
    }
    for (int axis = 0; axis < 2; ++axis)
      kernels.median(buffers[0][axis], level, plane(flow, i, axis), rows);
  }
}

}  // namespace kinema::trajectories
