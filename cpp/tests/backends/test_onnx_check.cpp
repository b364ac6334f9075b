// Files that do not hold together are refused before a runtime sees them.
#include <doctest/doctest.h>

#include <fstream>
#include <iterator>
#include <random>
#include <string>

#include "failure.h"
#include "onnx_check.h"

using namespace resnet_deploy::backend;

namespace {

std::string sums() {
  std::ifstream stream(RD_DATA "/sums_of_pixels.onnx", std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

// "" where it is taken.
std::string refusal(const std::string& onnx) {
  try {
    check_onnx(onnx, "net.onnx");
    return "";
  } catch (const Failure& failure) {
    CHECK(failure.status() == RD_DAMAGED);
    return failure.what();
  }
}

bool says(const std::string& onnx, const std::string& what) {
  const auto reason = refusal(onnx);
  INFO(reason);
  return reason.find(what) != std::string::npos && reason.find("net.onnx") == 0;
}

// A field of less than 16 KiB, of a number below 128.
std::string field(int number, const std::string& content) {
  const auto size = content.size();
  const std::string length = {static_cast<char>((size & 0x7FU) | 0x80U), static_cast<char>(size >> 7U)};
  return std::string(1, static_cast<char>(number << 3 | 2)) + length + content;
}
std::string field(int number, char value) { return std::string(1, static_cast<char>(number << 3)) + value; }

const std::string kInput = field(11, field(1, "x"));
const std::string kOutput = field(12, field(1, "y"));
std::string node(const std::string& inputs, const std::string& more = "") {
  return field(1, inputs + field(2, "y") + field(4, "Relu") + more);
}
std::string model(const std::string& graph) { return field(1, '\x08') + field(7, graph); }
// float32 [2] called w
std::string weights(const std::string& data, const std::string& more = "") {
  return field(5, field(1, '\x02') + field(2, '\x01') + field(8, "w") + field(9, data) + more);
}

const std::string kX = field(1, "x");
const std::string kEight(8, '\0');

}  // namespace

TEST_CASE("a file that holds together is taken") {
  CHECK(refusal(sums()).empty());
  CHECK(refusal(model(kInput + node(kX) + kOutput)).empty());
  CHECK(refusal(model(kInput + node(kX + field(1, "") + field(1, "w")) + kOutput + weights(kEight))).empty());
  const auto packed = field(5, field(1, std::string("\x01\x02")) + field(2, '\x01') + field(8, "w") + field(9, kEight));
  CHECK(refusal(model(kInput + packed + node(kX) + kOutput)).empty());
}

TEST_CASE("names that come from nowhere") {
  CHECK(says(model(kInput + node(field(1, "z")) + kOutput), "an input of node 0 (Relu), \"z\", comes from nowhere"));
  CHECK(says(model(kInput + node("") + kOutput), "node 0 (Relu) has no input"));
  CHECK(says(model(kInput + node(kX) + field(12, field(1, "q"))), "an output of the graph, \"q\", comes from nowhere"));
  const auto late = field(1, field(1, "y") + field(2, "z") + field(4, "Relu"));
  CHECK(says(model(kInput + late + node(kX) + kOutput), "node 0 (Relu), \"y\", comes from nowhere"));
  CHECK(says(model(kInput + field(1, kX + field(4, "Relu")) + kOutput), "has no output"));
  CHECK(says(model(kInput + node(kX)), "its graph has no output"));
  CHECK(says(field(1, '\x08'), "it has 0 graphs"));
}

TEST_CASE("weights that are not as long as they say, or lie elsewhere") {
  const auto with = [](const std::string& tensor) { return model(kInput + tensor + node(kX) + kOutput); };
  CHECK(says(with(weights(std::string(7, '\0'))), "\"w\" has 7 bytes, its shape and type need 8"));
  CHECK(says(with(weights(kEight, field(1, '\x03'))), "has 8 bytes, its shape and type need 24"));
  CHECK(says(with(weights(kEight, field(2, '\x08'))), "is of type 8"));
  CHECK(says(with(weights(kEight, field(2, '\x7f'))), "is of type 127"));
  CHECK(says(with(weights(kEight, field(14, '\x01'))), "lies in another file"));
  CHECK(says(with(weights(kEight, field(13, "location"))), "lies in another file"));
  CHECK(says(with(weights(kEight, field(1, std::string(9, '\xff') + '\x01'))), "has a size of -1"));
  // of a constant, too
  const auto constant = field(5, field(5, weights(std::string(7, '\0')).substr(3)));
  CHECK(says(model(kInput + node(kX, constant) + kOutput), "has 7 bytes"));
}

TEST_CASE("graphs in graphs end somewhere") {
  const auto nested = [](int depth) {
    std::string graph = node(kX) + kOutput;
    for (int i = 0; i < depth; ++i) graph = node(kX, field(5, field(6, graph))) + kOutput;
    return model(kInput + graph);
  };
  CHECK(refusal(nested(8)).empty());
  CHECK(says(nested(9), "more than 8 deep"));
}

TEST_CASE("no prefix and no changed byte of a file is read beyond its end") {
  const auto whole = sums();
  int num_taken = 0;
  for (std::size_t size = 0; size < whole.size(); ++size) num_taken += refusal(whole.substr(0, size)).empty() ? 1 : 0;
  CHECK(num_taken == 1);  // all but the version of the operators, which is a field behind the graph
  std::mt19937 random(0);
  int num_refused = 0;
  for (int i = 0; i < 5000; ++i) {
    auto changed = whole;
    for (int k = 0; k < 3; ++k) changed[random() % changed.size()] = static_cast<char>(random());
    num_refused += refusal(changed).empty() ? 0 : 1;
  }
  CHECK(num_refused > 1000);
}
