// The backends that open ONNX models, each as a module of its own: RD_MODULE is its file, RD_DATA the folder of
// networks.
#include <atomic>
#include <cstdio>
#include <thread>

#include "loaded_module.h"

#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

using resnet_deploy::tests::LoadedModule;
using resnet_deploy::tests::OpenModel;
using resnet_deploy::tests::OpenSession;
using resnet_deploy::tests::pixels;
using resnet_deploy::tests::planes;
using resnet_deploy::tests::read_file;
using resnet_deploy::tests::Source;
using resnet_deploy::tests::sums_of;

namespace {

const LoadedModule& module() {
  static const LoadedModule loaded(RD_MODULE);
  return loaded;
}

Source of_floats() {
  Source source;
  source.bytes = read_file(std::string(RD_DATA) + "/sums_of_floats.onnx");
  return source;
}

Source of_pixels() {
  Source source;
  source.bytes = read_file(std::string(RD_DATA) + "/sums_of_pixels.onnx");
  source.input_element = RD_UINT8;
  return source;
}

void refused(const Source& source, rd_status status, const std::vector<std::string>& words) {
  OpenModel model(module(), source);
  CHECK(model.outcome.status == status);
  for (const std::string& word : words) {
    CHECK_MESSAGE(model.outcome.error.find(word) != std::string::npos, model.outcome.error << " has no " << word);
  }
}

}  // namespace

TEST_CASE("the table says what the module is and takes") {
  const rd_backend& table = module().table();
  CHECK(std::string(table.name) == RD_NAME);
  CHECK(table.struct_size == sizeof(rd_backend));
  CHECK(table.takes("onnx", "") == 1);
  CHECK(table.takes("engine", "tensorrt") == 0);
  CHECK_MESSAGE(!table.enqueue, "there is no memory of a device");
  CHECK(module().entry()(RD_BACKEND_ABI + 1) == nullptr);
}

TEST_CASE("floats of any batch and size give their sums") {
  OpenModel model(module(), of_floats());
  REQUIRE_MESSAGE(model.outcome.status == RD_OK, model.outcome.error);
  CHECK(std::string(model.info.runtime).find(RD_RUNTIME) == 0);
  CHECK(std::string(model.info.device) == "CPU");
  OpenSession session(model, 8);
  REQUIRE_MESSAGE(session.outcome.status == RD_OK, session.outcome.error);
  unsigned seed = 0;
  for (const std::int64_t n : {1, 3, 8, 1}) {
    const std::int64_t dims[4] = {n, 3, 5 + n, 7};
    const auto images = planes(n, dims[2], dims[3], ++seed);
    CHECK(session.run(images, dims) == sums_of(images, n, dims[2], dims[3]));
    CHECK_MESSAGE(session.outcome.status == RD_OK, session.outcome.error);
  }
}

TEST_CASE("pixels of any batch and size give their sums") {
  OpenModel model(module(), of_pixels());
  REQUIRE_MESSAGE(model.outcome.status == RD_OK, model.outcome.error);
  OpenSession session(model, 4);
  for (const std::int64_t n : {1, 4}) {
    const std::int64_t dims[4] = {n, 6, 9, 3};
    const auto images = pixels(n, 6, 9, 7);
    CHECK(session.run(images, dims) == sums_of(images, n, 6, 9));
  }
}

TEST_CASE("sessions of eight threads give what one gives") {
  constexpr int kThreads = 8;
  constexpr int kRuns = 200;
  OpenModel model(module(), of_floats());
  REQUIRE_MESSAGE(model.outcome.status == RD_OK, model.outcome.error);
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (unsigned thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      OpenSession session(model, 4);
      for (unsigned run = 0; run < kRuns; ++run) {
        const std::int64_t n = 1 + (run + thread) % 4;
        const std::int64_t dims[4] = {n, 3, 8, 8};
        const auto images = planes(n, 8, 8, run * kThreads + thread);
        if (session.run(images, dims) != sums_of(images, n, 8, 8)) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == 0);
}

TEST_CASE("what the manifest says and the file has not is refused with both") {
  Source source = of_floats();
  source.input_name = "pictures";
  refused(source, RD_ENGINE_REFUSED, {"sums.onnx", "pictures", "images"});
  source = of_floats();
  source.output_name = "scores";
  refused(source, RD_ENGINE_REFUSED, {"scores", "logits"});
  source = of_floats();
  source.num_outputs = 5;
  refused(source, RD_ENGINE_REFUSED, {"[-1, 4]", "[-1, 5]"});
  source = of_floats();
  source.input_element = RD_UINT8;
  refused(source, RD_ENGINE_REFUSED, {"float32", "uint8"});
  source = of_pixels();
  source.input_element = RD_FLOAT32;
  refused(source, RD_ENGINE_REFUSED, {"uint8", "float32"});
}

TEST_CASE("bytes that are no network are refused") {
  Source source = of_floats();
  source.bytes = "no network";
  refused(source, RD_DAMAGED, {"sums.onnx", "no protobuf message"});
  source = of_floats();
  source.bytes.resize(source.bytes.size() / 2);
  refused(source, RD_DAMAGED, {"sums.onnx", "no protobuf message"});
  source = of_floats();
  source.bytes.replace(source.bytes.find("MatMul"), 6, "NatMul");  // holds together, and is no operator
  refused(source, RD_ENGINE_REFUSED, {"sums.onnx", RD_RUNTIME});
  source.bytes.clear();
  refused(source, RD_INVALID_ARGUMENT, {"lacks a field"});
}

TEST_CASE("batches and sizes that can not be are refused, and the session goes on") {
  OpenModel model(module(), of_floats());
  REQUIRE_MESSAGE(model.outcome.status == RD_OK, model.outcome.error);
  OpenSession none(model, 0);
  CHECK(none.outcome.status == RD_INVALID_ARGUMENT);
  OpenSession session(model, 2);
  const auto images = planes(3, 4, 4, 1);
  constexpr std::int64_t kHuge = std::int64_t{1} << 31;
  const std::int64_t wrong[][4] = {{3, 3, 4, 4}, {0, 3, 4, 4}, {1, 2, 4, 4}, {1, 3, -4, 4}, {1, 3, kHuge, kHuge}};
  for (const auto& sizes : wrong) {
    session.run(images, sizes);
    CHECK(session.outcome.status == RD_INVALID_ARGUMENT);
    CHECK(!session.outcome.error.empty());
  }
  const std::int64_t dims[4] = {1, 3, 4, 4};
  const auto one = planes(1, 4, 4, 2);
  CHECK(session.run(one, dims) == sums_of(one, 1, 4, 4));
}

int main(int argc, char** argv) {
  const OpenModel probe(module(), of_floats());
  if (probe.outcome.status == RD_NO_BACKEND) {
    std::printf("skipped: %s\n", probe.outcome.error.c_str());
    return 77;  // CTest's SKIP_RETURN_CODE
  }
  return doctest::Context(argc, argv).run();
}
