// The flow between two frames, as it is and without the camera's motion.
#pragma once

#include <mutex>
#include <string>

#include "trajectories/picture.h"

namespace kinema::trajectories {

class Pair {
 public:
  Pair(const std::string& target, int width, int height);

  // The flow from `first` to `second`.
  void solve(const Picture& first, const Picture& second);
  // The flow to `second` as seen from `first`, by the homography from `first` to it (row by row).
  void solve_warped(const Picture& first, const Picture& second, const double homography[9]);

  const Scales& scales() const { return scales_; }
  // Planes of the flow's x and y, by level; those of the warped one.
  const float* flow(int i, int axis) const { return plane(flow_, i, axis); }
  const float* warped(int i, int axis) const { return plane(warped_, i, axis); }
  const Byte* warped_image() const { return image_.data(); }
  bool is_solved() const { return is_solved_; }
  bool is_warped() const { return is_warped_; }

  std::mutex& mutex() { return mutex_; }

 private:
  float* plane(const Buffer& flow, int i, int axis) const {
    return flow.data() + 2 * scales_.offset(i) + axis * (scales_.offset(i + 1) - scales_.offset(i));
  }
  template <class Second>
  void solve(const Picture& first, Second second, Buffer& flow);

  Scales scales_;
  std::vector<Byte> image_;
  Buffer flow_, warped_, planes_, pixels_, scratch_, expanding_;
  bool is_solved_ = false, is_warped_ = false;
  std::mutex mutex_;
};

}  // namespace kinema::trajectories
