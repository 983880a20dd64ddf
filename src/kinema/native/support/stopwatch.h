#pragma once

namespace kinema {

// Processor time of this thread: what other programs take does not count.
class Stopwatch {
 public:
  // Seconds since the last call.
  double lap() {
    const double now = seconds(), lap = now - last_;
    last_ = now;
    return lap;
  }

 private:
  static double seconds();
  double last_ = seconds();
};

}  // namespace kinema
