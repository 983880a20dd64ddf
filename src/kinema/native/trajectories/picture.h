// A frame at all scales, with what two flows and the tracks read from it.
#pragma once

#include <cstddef>
#include <shared_mutex>
#include <string>
#include <vector>

#include "support/memory.h"
#include "trajectories/kernels.h"

namespace kinema::trajectories {

// What all frames of a size share: the scales and the samples between them.
class Scales {
 public:
  Scales(const std::string& target, int width, int height);

  const Kernels& kernels() const { return kernels_; }
  int size() const { return int(levels_.size()); }
  const Level& level(int i) const { return levels_[i]; }
  // Plane of level `i` in memory that holds one of each level; and of all levels.
  std::size_t offset(int i) const { return offsets_[i]; }
  std::size_t floats() const { return offsets_.back(); }
  std::size_t scratch() const { return std::size_t(kScratchRows) * padded(levels_[0]); }

  // Polynomials of a frame, level by level.
  void expand(const Byte* image, Buffer& planes, Buffer& pixels, Buffer& scratch) const;
  Expansion expansion(int i, const Buffer& planes, const Buffer& pixels) const;
  // Level `i` from the finer one, and its flow from the coarser one's.
  void shrink(int i, const Byte* finer, Byte* image) const;
  void enlarge(int i, const float* coarser, float* flow, float* scratch) const;

 private:
  const Kernels& kernels_;
  std::vector<Level> levels_;
  std::vector<std::size_t> offsets_;
  struct Steps {
    Taps blur_x, blur_y;
    Between finer_x, finer_y, coarser_x, coarser_y;
  };
  std::vector<Steps> steps_;
};

class Picture {
 public:
  Picture(const std::string& target, int width, int height);

  void read(const Byte* image);  // (height, width)

  const Scales& scales() const { return scales_; }
  bool is_read() const { return is_read_; }
  const Byte* image(int i) const { return images_[i].data(); }
  Expansion expansion(int i) const { return scales_.expansion(i, planes_, pixels_); }
  // The smaller eigenvalue at the middle of each cell of the grid of samples, row by row; and the
  // largest one of the whole level.
  const std::vector<float>& corners(int i) const { return corners_[i]; }
  float largest_corner(int i) const { return largest_[i]; }

  // Readers share it, `read` has it alone.
  std::shared_mutex& mutex() { return mutex_; }

 private:
  Scales scales_;
  std::vector<std::vector<Byte>> images_;
  std::vector<std::vector<float>> corners_;
  std::vector<float> largest_;
  Buffer planes_, pixels_, scratch_;
  bool is_read_ = false;
  std::shared_mutex mutex_;
};

}  // namespace kinema::trajectories
