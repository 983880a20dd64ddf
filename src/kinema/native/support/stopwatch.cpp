#include "support/stopwatch.h"

#include <ctime>

namespace kinema {

double Stopwatch::seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return double(now.tv_sec) + 1e-9 * double(now.tv_nsec);
}

}  // namespace kinema
