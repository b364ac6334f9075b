// Whether an ONNX file holds together, before a runtime reads it: their readers take a file at its word, and one
// without an input where a node must have one ends the process. It also keeps a file from naming another as its
// weights.
#ifndef RESNET_DEPLOY_BACKENDS_ONNX_CHECK_H
#define RESNET_DEPLOY_BACKENDS_ONNX_CHECK_H

#include <string>
#include <string_view>

namespace resnet_deploy::backend {

// Messages end where they say; weights lie in the file and are as long as their shape and type; every input of a node
// is an input of the graph, a weight, or an output of a node before it. Operators, types and shapes are the runtime's
// to judge. Throws RD_DAMAGED, naming the place.
void check_onnx(std::string_view onnx, const std::string& file);

}  // namespace resnet_deploy::backend
#endif
