// What the modules share, the rules of versions, and the types of an ONNX file.
#include <cstring>
#include <string>

#include "failure.h"
#include "onnx_types.h"
#include "tensors.h"
#include "versions.h"

#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

using namespace resnet_deploy::backend;

namespace {

rd_status status_of_header(Product product, Version header, Version library) {
  rd_backend_error error{};
  return guarded(&error, RD_INTERNAL, [&] { check_header(product, header, library, "lib.so"); });
}

// A field of a protobuf message that holds bytes; short ones only.
std::string field(int number, const std::string& content) {
  return std::string(1, static_cast<char>(number << 3 | 2)) + static_cast<char>(content.size()) + content;
}

// A model with one initializer of `type` between other fields.
std::string model_of(char type) {
  const std::string tensor = field(8, "name") + '\x10' + type + field(9, "data");
  const std::string graph = field(1, "node") + field(5, field(8, "x") + "\x10\x01") + field(5, tensor);
  return "\x08\x0A" + field(2, "producer") + field(7, graph);
}

bool has_fp8(const std::string& bytes) { return has_fp8_weights(bytes.data(), bytes.size()); }

std::string error_of_engine(Product product, const std::string& built, Version library, rd_status wanted) {
  rd_backend_error error{};
  CHECK(guarded(&error, RD_INTERNAL, [&] { check_engine(product, "m.engine", built, library, "lib.so"); }) == wanted);
  return error.text;
}

}  // namespace

TEST_CASE("an error text is cut off at its end and never inside a character") {
  rd_backend_error error;
  std::memset(&error, 'x', sizeof error);
  put_error(&error, "short");
  CHECK(std::string(error.text) == "short");
  const std::string long_text(3000, 'a');
  put_error(&error, long_text.c_str());
  CHECK(std::strlen(error.text) == sizeof error.text - 1);
  const std::string umlauts = "a" + [] {
    std::string text;
    for (int i = 0; i < 2000; ++i) text += "\xC3\xBC";
    return text;
  }();
  put_error(&error, umlauts.c_str());
  CHECK(std::strlen(error.text) == sizeof error.text - 1);  // 2047 is odd: "a" and 1023 whole umlauts
  put_error(&error, umlauts.c_str() + 1);
  CHECK(std::strlen(error.text) == sizeof error.text - 2);
  put_error(nullptr, "nobody reads this");
}

TEST_CASE("every exception becomes a status") {
  rd_backend_error error{};
  CHECK(guarded(&error, RD_INTERNAL, [] { throw Failure(RD_WRONG_GPU, "wrong"); }) == RD_WRONG_GPU);
  CHECK(guarded(&error, RD_INTERNAL, [] { throw std::bad_alloc(); }) == RD_OUT_OF_MEMORY);
  CHECK(guarded(&error, RD_RUN_FAILED, [] { throw std::runtime_error("words"); }) == RD_RUN_FAILED);
  CHECK(std::string(error.text) == "words");
  CHECK(guarded(&error, RD_INTERNAL, [] { throw 3; }) == RD_INTERNAL);
  CHECK(guarded(&error, RD_INTERNAL, [] {}) == RD_OK);
}

TEST_CASE("versions are read up to what is no number") {
  CHECK(numbers_of_version("1.7.1.116") == std::vector<int>{1, 7, 1, 116});
  CHECK(numbers_of_version("1.31.1-rc2") == std::vector<int>{1, 31, 1});
  CHECK(numbers_of_version("").empty());
  CHECK(numbers_of_version("unknown").empty());
}

TEST_CASE("a header serves the libraries whose tables begin as its own") {
  const auto rtx = [](Version header, Version library) {
    return status_of_header(Product::kTensorRtRtx, header, library);
  };
  CHECK(rtx({1, 6, 1, 120}, {1, 7, 1, 116}) == RD_OK);
  CHECK(rtx({1, 5, 0, 114}, {1, 7, 1, 116}) == RD_OK);
  CHECK(rtx({1, 7, 1, 116}, {1, 7, 0, 99}) == RD_OK);
  CHECK(rtx({1, 3, 0, 35}, {1, 7, 1, 116}) == RD_VERSION_MISMATCH);  // a segmentation fault, were it called
  CHECK(rtx({1, 4, 0, 76}, {1, 5, 0, 114}) == RD_VERSION_MISMATCH);
  CHECK(rtx({1, 6, 1, 120}, {1, 5, 0, 114}) == RD_VERSION_MISMATCH);
  CHECK(rtx({1, 6, 1, 120}, {1, 8, 0, 1}) == RD_VERSION_MISMATCH);  // nobody has compared it
  CHECK(rtx({1, 8, 0, 1}, {1, 8, 2, 5}) == RD_OK);
  CHECK(rtx({1, 6, 1, 120}, {2, 6, 1, 120}) == RD_VERSION_MISMATCH);
  const auto trt = [](Version header, Version library) {
    return status_of_header(Product::kTensorRt, header, library);
  };
  CHECK(trt({11, 1, 0, 106}, {11, 4, 0, 106}) == RD_OK);
  CHECK(trt({11, 1, 0, 106}, {11, 0, 0, 1}) == RD_VERSION_MISMATCH);
  CHECK(trt({11, 1, 0, 106}, {10, 14, 1, 1}) == RD_VERSION_MISMATCH);
  CHECK(trt({10, 3, 0, 1}, {11, 3, 0, 1}) == RD_VERSION_MISMATCH);
}

TEST_CASE("an engine belongs to one release") {
  const Version library = {1, 7, 1, 116};
  CHECK(error_of_engine(Product::kTensorRtRtx, "1.7.1.116", library, RD_OK).empty());
  for (const char* built : {"1.6.1.120", "1.7.1.115", "1.7.2.116", "2.7.1.116"}) {
    const std::string error = error_of_engine(Product::kTensorRtRtx, built, library, RD_VERSION_MISMATCH);
    for (const char* word : {"m.engine", built, "1.7.1.116", "lib.so", "RESNET_DEPLOY_TENSORRT_RTX"}) {
      CHECK_MESSAGE(error.find(word) != std::string::npos, error << " has no " << word);
    }
  }
  CHECK(error_of_engine(Product::kTensorRt, "11.1", {11, 1, 0, 106}, RD_BAD_MANIFEST).find("11.1") !=
        std::string::npos);
  error_of_engine(Product::kTensorRt, "", {11, 1, 0, 106}, RD_BAD_MANIFEST);
}

TEST_CASE("the bytes of an input are counted, and impossible sizes refused") {
  const std::int64_t floats[4] = {2, 3, 4, 5};
  const std::int64_t bytes[4] = {2, 4, 5, 3};
  CHECK(input_bytes(RD_FLOAT32, floats) == 480);
  CHECK(input_bytes(RD_UINT8, bytes) == 120);
  CHECK_THROWS_AS(input_bytes(RD_UINT8, floats), Failure);
  const std::int64_t huge[4] = {std::int64_t{1} << 40, 3, std::int64_t{1} << 40, 1};
  CHECK_THROWS_AS(input_bytes(RD_FLOAT32, huge), Failure);
}

TEST_CASE("FP8 weights are found in the bytes of a network, and nothing else is") {
  constexpr char kFloat8E4M3FN = 17;
  constexpr char kInt8 = 3;
  const std::string fp8 = model_of(kFloat8E4M3FN);
  CHECK(has_fp8(fp8));
  CHECK(!has_fp8(model_of(kInt8)));
  CHECK(!has_fp8(""));
  for (std::size_t length = 0; length < fp8.size(); ++length) CHECK(!has_fp8(fp8.substr(0, length)));
  CHECK(!has_fp8(std::string(64, '\xFF')));
}
