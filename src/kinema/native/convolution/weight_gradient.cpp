#include "convolution/weight_gradient.h"

#include <algorithm>

namespace kinema::convolution {

GradientPlan::GradientPlan(const Convolution& c, const Kernels& kernels, int clips) {
  constexpr std::size_t kOwnSums = 512u << 10, kOwn = 640u << 10;  // bytes that stay in a cache
  constexpr std::size_t kCached = 12u << 20;                       // of all threads
  constexpr std::size_t kMost = 256u << 20;
  constexpr std::size_t kRows = 64;  // fewer are not worth the way from and to the sums
  const int panels = c.panels(kernels.panel), times = c.time.tiles, all = c.areas() * clips;
  const std::size_t row =
      sizeof(float) * c.products() * (c.pieces() * c.blocks() * c.lanes + panels * kernels.panel);
  const std::size_t bytes = c.packed_bytes(kernels.panel);
  parts = bytes <= kOwnSums;
  const std::size_t rows = parts             ? kOwn / row
                           : bytes > kCached ? kMost / row  // they should pass seldom
                                             : std::max(kCached / row, kRows);
  const int most = int(std::clamp<std::size_t>(rows / times, 1, all));
  const int chunks = (all + most - 1) / most;
  areas = (all + chunks - 1) / chunks;
  const std::size_t most_rows = std::size_t(areas) * times;
  input = c.products() * odd_lines(c.pieces() * c.blocks() * most_rows * c.lanes);
  output = c.products() * odd_lines(panels * most_rows * kernels.panel);
  scratch = rounded(std::max(scratch_floats(c), gradient_scratch_floats(c)));
  sums = panels * c.panel_floats(kernels.panel);
}

Products WeightGradient::products(float* data, int rows) const {
  const int panel = work.kernels.panel;
  return {data, odd_lines(std::size_t(c.panels(panel)) * rows * panel), rows};
}

// Blocks of the input, then those of the gradient.
int WeightGradient::blocks() const { return c.blocks() + blocks_of(c.out_channels); }

void WeightGradient::transform(int block, int area, int areas, Transformed in, Products out,
                               int row, float* scratch) const {
  if (block < c.blocks())
    work.kernels.transform_input(c, input, area, areas, block, in, row, scratch);
  else
    work.kernels.transform_gradient(c, pooling, gradient, winners, area, areas, block - c.blocks(),
                                    out, row, scratch);
}

void WeightGradient::multiply(Transformed in, Products out, int product, int panel, float* to,
                              bool add) const {
  const Kernels& kernels = work.kernels;
  kernels.multiply_gradient(c, in, out, product, panel, to + panel * c.panel_floats(kernels.panel),
                            add);
}

void WeightGradient::run(bool add) const {
  const int panels = c.panels(work.kernels.panel), areas = c.areas() * work.clips;
  plan.parts ? run_parts(areas, panels, add) : run_chunks(areas, panels, add);
}

void WeightGradient::run_chunks(int areas, int panels, bool add) const {
  float* const scratch = workspace + plan.input + plan.output + work.thread * plan.scratch;
  // All of a product's panels on one thread, which keeps the transformed input in its cache.
  const int parts = c.products() >= 8 * work.team.size() ? 1 : panels;
  const long chunks = (areas + plan.areas - 1) / plan.areas;
  constexpr int kTogether = 16;  // areas that one thread transforms in one go
  for (long chunk = 0; chunk < chunks; ++chunk) {
    const int first = int(areas * chunk / chunks);
    const int count = int(areas * (chunk + 1) / chunks) - first;
    const Transformed in = work.transformed_of(c, workspace, count * c.time.tiles);
    const Products out = products(workspace + plan.input, count * c.time.tiles);
    const int goes = (count + kTogether - 1) / kTogether;
    work.team.for_each(long(blocks()) * goes, [&](long item) {
      const int start = int(item % goes) * kTogether;
      transform(int(item / goes), first + start, std::min(kTogether, count - start), in, out,
                start * c.time.tiles, scratch);
    });
    work.team.for_each(long(c.products()) * parts, [&](long item) {
      const int product = int(item / parts), part = int(item % parts);
      for (int panel = panels * part / parts; panel < panels * (part + 1) / parts; ++panel)
        multiply(in, out, product, panel, sums, add || chunk > 0);
    });
  }
}

void WeightGradient::run_parts(int areas, int panels, bool add) const {
  float* const own = workspace + work.thread * (plan.input + plan.output + plan.scratch);
  work.team.for_each(GradientPlan::kParts, [&](long part) {
    float* const to = sums + part * plan.sums;
    if (!add) std::fill_n(to, plan.sums, 0.0f);
    const int last = int(long(areas) * (part + 1) / GradientPlan::kParts);
    for (int area = int(long(areas) * part / GradientPlan::kParts); area < last;
         area += plan.areas) {
      const int count = std::min(plan.areas, last - area);
      const Transformed in = work.transformed_of(c, own, count * c.time.tiles);
      const Products out = products(own + plan.input, count * c.time.tiles);
      for (int block = 0; block < blocks(); ++block)
        transform(block, area, count, in, out, 0, own + plan.input + plan.output);
      for (int product = 0; product < c.products(); ++product)
        for (int panel = 0; panel < panels; ++panel) multiply(in, out, product, panel, to, true);
    }
  });
}

void finish_weight_gradient(Work& work, const Convolution& c, const GradientPlan& plan, float* sums,
                            float* gradient) {
  const std::size_t panel_floats = c.panel_floats(work.kernels.panel);
  work.team.for_each(c.panels(work.kernels.panel), [&](long panel) {
    float* const all = sums + panel * panel_floats;
    for (int part = 1; plan.parts && part < GradientPlan::kParts; ++part)
      for (std::size_t i = 0; i < panel_floats; ++i) all[i] += all[part * plan.sums + i];
    work.kernels.unpack(c, all, int(panel), gradient);
  });
}

}  // namespace kinema::convolution
