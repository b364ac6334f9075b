// The module under test with the stand-ins beside it, and the engines that the tests open.
#ifndef RESNET_DEPLOY_TESTS_STAND_IN_ENGINES_H
#define RESNET_DEPLOY_TESTS_STAND_IN_ENGINES_H

#include <string>

#include "loaded_module.h"
#include "stand_in.h"

namespace resnet_deploy::tests {

const LoadedModule& module_under_test();
const std::string& stand_in_version();  // of the product, "1.6.1.120"
StandInControl& control();

// Batches 1 to 8 in one profile and 2 to 4 in the other; 6x5 pixels.
StandInEngine engine_of_floats();
// Batches 1 to 4 of 4x4 to 64x64 pixels.
StandInEngine engine_of_pixels();
Source source_of(const StandInEngine& engine);

// From now on that function of driver or library fails so many times.
void fail(const char* function, int failures = 1);

}  // namespace resnet_deploy::tests
#endif
