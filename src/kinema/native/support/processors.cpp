#include "support/processors.h"

namespace kinema {

const std::vector<std::string>& targets() {
  static const std::vector<std::string> found = [] {
    std::vector<std::string> names;
#ifdef KINEMA_X86
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq"))
      names.push_back("avx512");
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) names.push_back("avx2");
#endif
    names.push_back("portable");
    return names;
  }();
  return found;
}

}  // namespace kinema
