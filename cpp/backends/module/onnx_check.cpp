#include "onnx_check.h"

#include <array>
#include <cstdint>
#include <set>
#include <vector>

#include "failure.h"
#include "protobuf_fields.h"

namespace resnet_deploy::backend {
namespace {

using Fields = ProtobufFields;

// Field numbers of onnx.proto, which never change.
constexpr std::uint64_t kModelGraph = 7;
constexpr std::uint64_t kGraphNode = 1, kGraphInitializer = 5, kGraphInput = 11, kGraphOutput = 12;
constexpr std::uint64_t kNodeInput = 1, kNodeOutput = 2, kNodeOpType = 4, kNodeAttribute = 5;
constexpr std::uint64_t kAttributeTensor = 5, kAttributeGraph = 6, kAttributeTensors = 10, kAttributeGraphs = 11;
constexpr std::uint64_t kTensorDims = 1, kTensorType = 2, kTensorName = 8, kTensorRaw = 9;
constexpr std::uint64_t kTensorExternal = 13, kTensorLocation = 14;
constexpr std::uint64_t kValueName = 1;

// Bits of an element by TensorProto.DataType; 0: no fixed size, or not known.
constexpr std::array<unsigned, 25> kBits = {0,  32, 8,   8,  16, 16, 32, 64, 0, 8, 16, 64, 32,
                                            64, 64, 128, 16, 8,  8,  8,  8,  4, 4, 4,  8};
constexpr std::uint64_t kMaxElements = std::uint64_t{1} << 40U;
constexpr int kMaxDepth = 8;

using Names = std::set<std::string_view>;

class Checker {
 public:
  explicit Checker(const std::string& file) : file_(file) {}

  void model(std::string_view message) const {
    Fields fields(message);
    int num_graphs = 0;
    while (fields.next()) {
      if (!fields.is(kModelGraph, Fields::kBytes)) continue;
      graph(fields.content, {}, 0);
      ++num_graphs;
    }
    if (fields.is_damaged()) refuse("it is no protobuf message from beginning to end");
    if (num_graphs != 1) refuse("it has " + std::to_string(num_graphs) + " graphs, expected one");
  }

 private:
  [[noreturn]] void refuse(const std::string& what) const {
    throw Failure(RD_DAMAGED, file_ + " does not hold together: " + what + "; make the bundle again from a sound file");
  }

  void graph(std::string_view message, Names known, int depth) const {
    if (depth > kMaxDepth) refuse("graphs in graphs, more than " + std::to_string(kMaxDepth) + " deep");
    std::vector<std::string_view> nodes;
    std::vector<std::string_view> outputs;
    Fields fields(message);
    while (fields.next()) {
      if (fields.is(kGraphInitializer, Fields::kBytes)) known.insert(tensor(fields.content));
      if (fields.is(kGraphInput, Fields::kBytes)) known.insert(text(fields.content, kValueName));
      if (fields.is(kGraphOutput, Fields::kBytes)) outputs.push_back(text(fields.content, kValueName));
      if (fields.is(kGraphNode, Fields::kBytes)) nodes.push_back(fields.content);
    }
    if (fields.is_damaged()) refuse("its graph is cut off");
    for (std::size_t i = 0; i < nodes.size(); ++i) node(nodes[i], "node " + std::to_string(i), known, depth);
    if (outputs.empty()) refuse("its graph has no output");
    for (const auto output : outputs) require_known(output, known, "an output of the graph");
  }

  void node(std::string_view message, const std::string& place, Names& known, int depth) const {
    const auto op_type = text(message, kNodeOpType);
    const auto where = place + " (" + std::string(op_type.substr(0, 64)) + ")";
    std::vector<std::string_view> outputs;
    std::size_t num_inputs = 0;
    Fields fields(message);
    while (fields.next()) {
      if (fields.is(kNodeInput, Fields::kBytes) && !fields.content.empty()) {
        require_known(fields.content, known, "an input of " + where);
        ++num_inputs;
      }
      if (fields.is(kNodeOutput, Fields::kBytes) && !fields.content.empty()) outputs.push_back(fields.content);
      if (fields.is(kNodeAttribute, Fields::kBytes)) attribute(fields.content, known, depth);
    }
    if (fields.is_damaged() || op_type.empty()) refuse(where + " is cut off, or has no operator");
    if (num_inputs == 0 && op_type != "Constant") refuse(where + " has no input");
    if (outputs.empty()) refuse(where + " has no output");
    known.insert(outputs.begin(), outputs.end());
  }

  void attribute(std::string_view message, const Names& known, int depth) const {
    Fields fields(message);
    while (fields.next()) {
      if (fields.wire_type != Fields::kBytes) continue;
      if (fields.number == kAttributeTensor || fields.number == kAttributeTensors) tensor(fields.content);
      if (fields.number == kAttributeGraph || fields.number == kAttributeGraphs)
        graph(fields.content, known, depth + 1);
    }
    if (fields.is_damaged()) refuse("an attribute is cut off");
  }

  // Gives its name.
  std::string_view tensor(std::string_view message) const {
    const auto name = text(message, kTensorName);
    const auto where = "the tensor \"" + std::string(name.substr(0, 64)) + "\"";
    std::uint64_t count = 1;
    std::uint64_t type = 0;
    bool has_raw = false;
    std::size_t raw_size = 0;
    Fields fields(message);
    while (fields.next()) {
      if (fields.is(kTensorDims, Fields::kVarint)) multiply(count, fields.value, where);
      if (fields.is(kTensorDims, Fields::kBytes)) multiply_packed(count, fields.content, where);
      if (fields.is(kTensorType, Fields::kVarint)) type = fields.value;
      if (fields.is(kTensorRaw, Fields::kBytes)) has_raw = true, raw_size = fields.content.size();
      if (fields.number == kTensorExternal || (fields.is(kTensorLocation, Fields::kVarint) && fields.value != 0)) {
        refuse(where + " lies in another file, expected all weights in this one");
      }
    }
    if (fields.is_damaged()) refuse(where + " is cut off");
    if (!has_raw) return name;
    const std::uint64_t bits = type < kBits.size() ? kBits.at(static_cast<std::size_t>(type)) : 0;
    if (bits == 0) refuse(where + " is of type " + std::to_string(type) + ", which has no bytes of its own");
    if (raw_size != (count * bits + 7) / 8) {
      refuse(where + " has " + std::to_string(raw_size) + " bytes, its shape and type need " +
             std::to_string((count * bits + 7) / 8));
    }
    return name;
  }

  void multiply(std::uint64_t& count, std::uint64_t size, const std::string& where) const {
    if (size > kMaxElements || (size != 0 && count > kMaxElements / size)) {
      refuse(where + " has a size of " + std::to_string(static_cast<std::int64_t>(size)));
    }
    count *= size;
  }

  void multiply_packed(std::uint64_t& count, std::string_view packed, const std::string& where) const {
    Fields sizes(packed);
    for (std::uint64_t size = 0; !sizes.at_end();) {
      if (!sizes.read_varint(size)) refuse(where + " has a shape that is cut off");
      multiply(count, size, where);
    }
  }

  std::string_view text(std::string_view message, std::uint64_t number) const {
    std::string_view found;
    Fields fields(message);
    while (fields.next()) {
      if (fields.is(number, Fields::kBytes)) found = fields.content;
    }
    return found;
  }

  void require_known(std::string_view name, const Names& known, const std::string& what) const {
    if (known.count(name) == 0) refuse(what + ", \"" + std::string(name.substr(0, 64)) + "\", comes from nowhere");
  }

  const std::string& file_;
};

}  // namespace

void check_onnx(std::string_view onnx, const std::string& file) { Checker(file).model(onnx); }

}  // namespace resnet_deploy::backend
