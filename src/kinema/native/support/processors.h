// Kinds of processors. What a domain computes most of is compiled once for each kind (add_domain in
// CMakeLists.txt), and the build is chosen when it runs.
#pragma once

#include <initializer_list>
#include <stdexcept>
#include <string>
#include <vector>

namespace kinema {

// Names of the kinds whose builds this processor can run, the best one first.
const std::vector<std::string>& targets();

// The one of a domain's builds, each with its `name`, that is named `target`.
template <class Build>
const Build& build_for(const std::string& target, std::initializer_list<const Build*> builds) {
  for (const std::string& name : targets())
    for (const Build* build : builds)
      if (name == target && build->name == target) return *build;
  throw std::invalid_argument("this processor cannot run the kernels for \"" + target + "\".");
}

}  // namespace kinema
