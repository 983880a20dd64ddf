// One scale of the pyramid, and the pyramid, on one thread.
#pragma once

#include "flow/brox.h"
#include "flow/kernels/images.h"
#include "flow/kernels/system.h"

namespace kinema::flow {
namespace {

// All that a pair needs beside its pyramid; each scale uses the same memory.
struct Work {
  Plane first_x, first_y, u, v, psi, spare;
  float* pixels;  // of the second image, see derive()
  System system;
  float* lines[kLines];  // a row each, with kMostTaps on each side
};

// Hands out memory from front to back.
struct Memory {
  float* next;
  float* take(std::ptrdiff_t floats) {
    float* taken = next;
    next += (floats + 15) / 16 * 16;
    return taken;
  }
  Plane plane(int height, int width) {
    const std::ptrdiff_t pitch = row_pitch(width);
    return {take((height + 2) * pitch), pitch};
  }
};

inline Work work_for(Scale size, const Settings& settings, Memory memory) {
  Work work{};
  Plane* const planes[kPlanes] = {&work.first_x, &work.first_y, &work.u,
                                  &work.v,       &work.psi,     &work.spare};
  for (Plane* plane : planes) *plane = memory.plane(size.height, size.width);
  work.pixels = memory.take(std::ptrdiff_t(size.height) * size.width * kChannels);
  System& system = work.system;
  system.height = size.height;
  system.places = places_of(size.width);
  system.omega = settings.omega;
  float* begin = memory.next;
  for (Colour& colour : system.colours)
    for (Plane Colour::*plane : kColourMembers)
      colour.*plane = memory.plane(size.height, system.places);
  zero(begin, memory.next - begin);
  for (float*& line : work.lines) {
    line = memory.take(row_pitch(2 * system.places) + 2 * kMostTaps);
    zero(line, row_pitch(2 * system.places) + 2 * kMostTaps);
    line += kMostTaps;
  }
  return work;
}

// A row of pixels to the rows of its two colours.
inline void part(const float* line, int y, int places, float* red, float* black) {
  float* even = y & 1 ? black : red;
  float* odd = y & 1 ? red : black;
#pragma GCC ivdep
  for (int k = 0; k < places; ++k) {
    even[k] = line[2 * k];
    odd[k] = line[2 * k + 1];
  }
}
inline void join(const float* red, const float* black, int y, int places, float* line) {
  const float* even = y & 1 ? black : red;
  const float* odd = y & 1 ? red : black;
#pragma GCC ivdep
  for (int k = 0; k < places; ++k) {
    line[2 * k] = even[k];
    line[2 * k + 1] = odd[k];
  }
}

// psi' of the smoothness at each pixel, and what stands beside the image.
inline void smoothness(const Work& work, Scale size, float epsilon) {
  widen(work.u, size);
  widen(work.v, size);
  const float least = epsilon * epsilon;
  for (int y = 0; y < size.height; ++y) {
    const int above = clamped(y - 1, size.height), below = clamped(y + 1, size.height);
    const float *u = work.u.row(y), *u_up = work.u.row(above), *u_down = work.u.row(below);
    const float *v = work.v.row(y), *v_up = work.v.row(above), *v_down = work.v.row(below);
    float* psi = work.psi.row(y);
#pragma GCC ivdep
    for (int x = 0; x < size.width; ++x) {
      const float ux = u[x + 1] - u[x - 1], uy = u_down[x] - u_up[x];
      const float vx = v[x + 1] - v[x - 1], vy = v_down[x] - v_up[x];
      const float sum = 0.25f * (ux * ux + uy * uy + vx * vx + vy * vy);
      psi[x] = 1.0f / __builtin_sqrtf(sum + least);
    }
  }
  widen(work.psi, size);
}

// The equations of a row. `from_start`: the increment is zero, and so it is written.
inline void equations(const Work& work, const Plane& first, Scale size, const Settings& settings,
                      int y, bool from_start) {
  const System& system = work.system;
  const Colour &red = system.colours[0], &black = system.colours[1];
  float* const* lines = work.lines;
  const Places places{reinterpret_cast<int*>(lines[30]),
                      {lines[22], lines[23], lines[24], lines[25]},
                      {lines[26], lines[27], lines[28], lines[29]}};
  const int above = clamped(y - 1, size.height), below = clamped(y + 1, size.height);
  const float *u = work.u.row(y), *u_up = work.u.row(above), *u_down = work.u.row(below);
  const float *v = work.v.row(y), *v_up = work.v.row(above), *v_down = work.v.row(below);
  const float *psi = work.psi.row(y), *psi_up = work.psi.row(above),
              *psi_down = work.psi.row(below);
  find_places(u, v, y, size, places);
  warp(work.pixels, size, places, lines);
  const float *image = first.row(y), *image_x = work.first_x.row(y), *image_y = work.first_y.row(y);
  const float *w = lines[0], *wx = lines[1], *wy = lines[2], *wxx = lines[3], *wxy = lines[4],
              *wyy = lines[5];
  float *constant_u = lines[6], *constant_v = lines[7], *factor_u = lines[8], *factor_v = lines[9],
        *coupling = lines[10], *right = lines[11], *down = lines[12], *du = lines[13],
        *dv = lines[14];
  if (from_start) {
    zero(du, 2 * system.places);
    zero(dv, 2 * system.places);
  } else {
    join(red.u.row(y), black.u.row(y), y, system.places, du);
    join(red.v.row(y), black.v.row(y), y, system.places, dv);
  }
  const float half_alpha = 0.5f * settings.alpha, gamma = settings.gamma, omega = settings.omega;
  const float least = settings.epsilon * settings.epsilon;
  const float up_weight = y > 0 ? half_alpha : 0;
  const float down_weight = y + 1 < size.height ? half_alpha : 0;
  const int last = size.width - 1;
#pragma GCC ivdep
  for (int x = 0; x < size.width; ++x) {
    const float to_right = (x < last ? half_alpha : 0) * (psi[x] + psi[x + 1]);
    const float to_left = (x > 0 ? half_alpha : 0) * (psi[x] + psi[x - 1]);
    const float to_down = down_weight * (psi[x] + psi_down[x]);
    const float to_up = up_weight * (psi[x] + psi_up[x]);
    const float spread = to_right + to_left + to_down + to_up;
    const float divergence_u = to_right * (u[x + 1] - u[x]) + to_left * (u[x - 1] - u[x]) +
                               to_down * (u_down[x] - u[x]) + to_up * (u_up[x] - u[x]);
    const float divergence_v = to_right * (v[x + 1] - v[x]) + to_left * (v[x - 1] - v[x]) +
                               to_down * (v_down[x] - v[x]) + to_up * (v_up[x] - v[x]);
    const float d = w[x] - image[x], dx = wx[x] - image_x[x], dy = wy[x] - image_y[x];
    const float now = d + wx[x] * du[x] + wy[x] * dv[x];
    const float now_x = dx + wxx[x] * du[x] + wxy[x] * dv[x];
    const float now_y = dy + wxy[x] * du[x] + wyy[x] * dv[x];
    const float p = 1.0f / __builtin_sqrtf(now * now + least);
    const float g = gamma / __builtin_sqrtf(now_x * now_x + now_y * now_y + least);
    const float diagonal_u = spread + p * wx[x] * wx[x] + g * (wxx[x] * wxx[x] + wxy[x] * wxy[x]);
    const float diagonal_v = spread + p * wy[x] * wy[x] + g * (wyy[x] * wyy[x] + wxy[x] * wxy[x]);
    constant_u[x] = divergence_u - p * d * wx[x] - g * (dx * wxx[x] + dy * wxy[x]);
    constant_v[x] = divergence_v - p * d * wy[x] - g * (dx * wxy[x] + dy * wyy[x]);
    coupling[x] = p * wx[x] * wy[x] + g * (wxx[x] + wyy[x]) * wxy[x];
    factor_u[x] = diagonal_u > 0 ? omega / diagonal_u : 0;
    factor_v[x] = diagonal_v > 0 ? omega / diagonal_v : 0;
    right[x] = to_right;
    down[x] = to_down;
  }
  for (int i = 0; i < (from_start ? 9 : 7); ++i)
    part(lines[6 + i], y, system.places, (red.*kColourMembers[i]).row(y),
         (black.*kColourMembers[i]).row(y));
}

// Adds the increment to the flow.
inline void move(const Work& work, Scale size) {
  const System& system = work.system;
  const Colour &red = system.colours[0], &black = system.colours[1];
  float *du = work.lines[13], *dv = work.lines[14];
  for (int y = 0; y < size.height; ++y) {
    join(red.u.row(y), black.u.row(y), y, system.places, du);
    join(red.v.row(y), black.v.row(y), y, system.places, dv);
    float *u = work.u.row(y), *v = work.v.row(y);
#pragma GCC ivdep
    for (int x = 0; x < size.width; ++x) {
      u[x] += du[x];
      v[x] += dv[x];
    }
  }
}

// The flow of one scale, from what is in work.u and work.v.
inline void solve_scale(const Work& work, const Plane& first, const Plane& second, Scale size,
                        const Settings& settings) {
  widen(first, size);
  widen(second, size);
  // Their corners, which the mixed derivative looks at, are those of the rows inside.
  gradient(first, size, work.first_x, work.first_y);
  derive(second, size, work.pixels);
  const double pixels = double(size.height) * size.width;
  for (int warp = 0; warp < settings.warps; ++warp) {
    smoothness(work, size, settings.epsilon);
    for (int inner = 0; inner < settings.inner; ++inner) {
      for (int y = 0; y < size.height; ++y) equations(work, first, size, settings, y, inner == 0);
      for (int done = 0; done < settings.most_sweeps; done += settings.sweeps_a_check) {
        const double moved = relax(work.system, settings.sweeps_a_check);
        if (!(__builtin_sqrt(moved / pixels) >= settings.tolerance)) break;
      }
    }
    move(work, size);
  }
}

// Both images scaled together to 0 ... 255; those without any contrast stay as they are.
inline void normalise(const float* const* images, const Plane* planes, Scale size) {
  const std::ptrdiff_t count = std::ptrdiff_t(size.height) * size.width;
  float low = images[0][0], high = low;
  for (int i = 0; i < 2; ++i)
    for (std::ptrdiff_t p = 0; p < count; ++p) {
      low = images[i][p] < low ? images[i][p] : low;
      high = images[i][p] > high ? images[i][p] : high;
    }
  const bool flat = !(high > low);
  const float less = flat ? 0 : low, range = flat ? 255 : high - low;
  for (int i = 0; i < 2; ++i)
    for (int y = 0; y < size.height; ++y) {
      const float* from = images[i] + std::ptrdiff_t(y) * size.width;
      float* to = planes[i].row(y);
      for (int x = 0; x < size.width; ++x) to[x] = 255.0f * (from[x] - less) / range;
    }
}

void solve(const float* first, const float* second, const Settings& settings, float* flow,
           float* memory) {
  Memory rest{memory};
  Plane images[kMostScales][2];
  for (int scale = 0; scale < settings.num_scales; ++scale)
    for (Plane& plane : images[scale])
      plane = rest.plane(settings.scales[scale].height, settings.scales[scale].width);

  const Scale finest = settings.scales[0];
  const float* given[2] = {first, second};
  Work work = work_for(finest, settings, rest);
  normalise(given, images[0], finest);
  const double step = 1 / double(settings.nu);
  for (const Plane& plane : images[0])
    blur(plane, work.spare, finest, settings.presmoothing, work.lines[0] - kMostTaps);
  for (int scale = 1; scale < settings.num_scales; ++scale)
    for (int i = 0; i < 2; ++i) {
      const Scale from = settings.scales[scale - 1], to = settings.scales[scale];
      const Plane& finer = images[scale - 1][i];
      const Plane blurred = work.u, copy = work.spare;
      for (int y = 0; y < from.height; ++y)
        for (int x = 0; x < from.width; ++x) blurred.row(y)[x] = finer.row(y)[x];
      blur(blurred, copy, from, settings.shrinking, work.lines[0] - kMostTaps);
      sample(blurred, from, images[scale][i], to, step, step, 1, work.lines[0]);
    }

  Plane before[2]{};
  for (int scale = settings.num_scales - 1; scale >= 0; --scale) {
    const Scale size = settings.scales[scale];
    if (scale == settings.num_scales - 1) {
      work = work_for(size, settings, rest);
      zero(work.u.data, (size.height + 2) * work.u.pitch);
      zero(work.v.data, (size.height + 2) * work.v.pitch);
    } else {
      // The coarser flow is kept in the images of its scale, which are done with.
      const Scale coarser = settings.scales[scale + 1];
      work = work_for(size, settings, rest);
      const double step_y = double(coarser.height) / size.height,
                   step_x = double(coarser.width) / size.width;
      sample(before[0], coarser, work.u, size, step_y, step_x, float(step), work.lines[0]);
      sample(before[1], coarser, work.v, size, step_y, step_x, float(step), work.lines[0]);
    }
    solve_scale(work, images[scale][0], images[scale][1], size, settings);
    for (int i = 0; i < 2; ++i) {
      const Plane& found = i == 0 ? work.u : work.v;
      before[i] = images[scale][i];
      for (int y = 0; y < size.height; ++y)
        for (int x = 0; x < size.width; ++x) before[i].row(y)[x] = found.row(y)[x];
    }
  }
  for (int y = 0; y < finest.height; ++y)
    for (int x = 0; x < finest.width; ++x) {
      float* pixel = flow + 2 * (std::ptrdiff_t(y) * finest.width + x);
      pixel[0] = before[0].row(y)[x];
      pixel[1] = before[1].row(y)[x];
    }
}

}  // namespace
}  // namespace kinema::flow
