// The module that Python sees: what each domain's bindings.cpp adds to it. domains.inc has a line
// KINEMA_DOMAIN(name) for each; add_domain in CMakeLists.txt writes it.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "support/processors.h"

namespace kinema {
#define KINEMA_DOMAIN(name) void bind_##name(nanobind::module_&);
#include "domains.inc"
#undef KINEMA_DOMAIN
}  // namespace kinema

NB_MODULE(_native, m) {
  m.def("targets", &kinema::targets, "Builds that this processor can run, the best one first.");
#define KINEMA_DOMAIN(name) kinema::bind_##name(m);
#include "domains.inc"
#undef KINEMA_DOMAIN
}
