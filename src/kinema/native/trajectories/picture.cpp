#include "trajectories/picture.h"

#include <algorithm>

namespace kinema::trajectories {

Scales::Scales(const std::string& target, int width, int height)
    : kernels_(kernels_of(target)), levels_(levels_of(width, height)), offsets_{0} {
  for (const Level& level : levels_)
    offsets_.push_back(offsets_.back() + std::size_t(level.stride) * level.height);
  for (int i = 0; i < size(); ++i) {
    Steps steps{blur_and_shrink(width, levels_[i].width, levels_[i].scale),
                blur_and_shrink(height, levels_[i].height, levels_[i].scale),
                {},
                {},
                {},
                {}};
    if (i > 0) {
      steps.finer_x = between(levels_[i - 1].width, levels_[i].width);
      steps.finer_y = between(levels_[i - 1].height, levels_[i].height);
    }
    if (i + 1 < size()) {
      steps.coarser_x = between(levels_[i + 1].width, levels_[i].width);
      steps.coarser_y = between(levels_[i + 1].height, levels_[i].height);
    }
    steps_.push_back(std::move(steps));
  }
}

Expansion Scales::expansion(int i, const Buffer& planes, const Buffer& pixels) const {
  return {planes.data() + offsets_[i] * kCoefficients,
          pixels.data() + offsets_[i] * kCoefficients + 16 * i};
}

void Scales::expand(const Byte* image, Buffer& planes, Buffer& pixels, Buffer& scratch) const {
  const std::size_t plane = offsets_[1];
  planes.reserve(floats() * kCoefficients);
  pixels.reserve(floats() * kCoefficients + 16 * levels_.size());
  scratch.reserve(this->scratch() + 2 * plane);
  float *frame = scratch.data() + this->scratch(), *blurred = frame + plane;
  kernels_.to_floats(image, levels_[0], frame);
  for (int i = 0; i < size(); ++i) {
    const Expansion to = expansion(i, planes, pixels);
    kernels_.blur(frame, levels_[0], line(steps_[i].blur_x), line(steps_[i].blur_y), levels_[i],
                  blurred, scratch.data());
    kernels_.expand(blurred, levels_[i], to, scratch.data());
    std::fill_n(to.pixels + std::ptrdiff_t(levels_[i].width) * levels_[i].height * kCoefficients, 8,
                0.0f);
  }
}

void Scales::shrink(int i, const Byte* finer, Byte* image) const {
  const Level& from = levels_[i - 1];
  kernels_.shrink(finer, from.width, from.height, line(steps_[i].finer_x), line(steps_[i].finer_y),
                  levels_[i], image);
}

void Scales::enlarge(int i, const float* coarser, float* flow, float* scratch) const {
  kernels_.enlarge(coarser, levels_[i + 1], line(steps_[i].coarser_x), line(steps_[i].coarser_y),
                   levels_[i], flow, scratch);
}

Picture::Picture(const std::string& target, int width, int height)
    : scales_(target, width, height),
      images_(scales_.size()),
      corners_(scales_.size()),
      largest_(scales_.size()) {
  for (int i = 0; i < scales_.size(); ++i) {
    const Level& level = scales_.level(i);
    images_[i].resize(std::size_t(level.width) * level.height);
    corners_[i].resize(std::size_t(level.width / kSpacing) * (level.height / kSpacing));
  }
}

void Picture::read(const Byte* image) {
  scales_.expand(image, planes_, pixels_, scratch_);
  std::copy_n(image, images_[0].size(), images_[0].data());
  float* values = scratch_.data() + scales_.scratch();
  for (int i = 0; i < scales_.size(); ++i) {
    const Level& level = scales_.level(i);
    if (i > 0) scales_.shrink(i, images_[i - 1].data(), images_[i].data());
    largest_[i] = scales_.kernels().corners(images_[i].data(), level, values, scratch_.data());
    std::size_t cell = 0;
    for (int y = 0; y < level.height / kSpacing; ++y)
      for (int x = 0; x < level.width / kSpacing; ++x)
        corners_[i][cell++] =
            values[(y * kSpacing + kSpacing / 2) * level.stride + x * kSpacing + kSpacing / 2];
  }
  is_read_ = true;
}

}  // namespace kinema::trajectories
