#include "flow/brox.h"

#include "support/memory.h"

namespace kinema::flow {

std::size_t floats_needed(const Settings& settings) {
  const auto plane = [](std::size_t height, std::size_t width) {
    return (height + 2) * std::size_t(row_pitch(int(width)));
  };
  std::size_t floats = 0;
  for (int scale = 0; scale < settings.num_scales; ++scale)
    floats += 2 * plane(settings.scales[scale].height, settings.scales[scale].width);
  const std::size_t height = settings.scales[0].height, width = settings.scales[0].width;
  const int places = places_of(int(width));
  floats += kPlanes * plane(height, width) + rounded(kChannels * height * width);
  floats += 2 * kColourPlanes * plane(height, places);
  floats += kLines * (std::size_t(row_pitch(2 * places)) + 2 * kMostTaps);
  return floats;
}

}  // namespace kinema::flow
