#include "flow/brox.h"

namespace kinema::flow {

std::size_t floats_needed(const Settings& settings) {
  const auto plane = [](std::size_t height, std::size_t width) {
    return (height + 2) * std::size_t(row_pitch(int(width)));
  };
  std::size_t floats = 0;
  for (int scale = 0; scale < settings.num_scales; ++scale)
    floats += 2 * plane(settings.scales[scale].height, settings.scales[scale].width);
  const std::size_t height = settings.scales[0].height, width = settings.scales[0].width;
  const std::size_t places = (width + 31) / 32 * 16;
  floats += 6 * plane(height, width) + 8 * height * width + 16;
  floats += 2 * 9 * plane(height, places);
  floats += 32 * (std::size_t(row_pitch(int(2 * places))) + 2 * kMostTaps);
  return floats;
}

}  // namespace kinema::flow
