// The modules tensorrt and tensorrt_rtx against the stand-ins: sessions, memory, streams, and every failure of a run.
#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <thread>
#include <utility>

#include "stand_in_engines.h"

using resnet_deploy::tests::control;
using resnet_deploy::tests::engine_of_floats;
using resnet_deploy::tests::engine_of_pixels;
using resnet_deploy::tests::fail;
using resnet_deploy::tests::module_under_test;
using resnet_deploy::tests::OpenModel;
using resnet_deploy::tests::OpenSession;
using resnet_deploy::tests::pixels;
using resnet_deploy::tests::planes;
using resnet_deploy::tests::source_of;
using resnet_deploy::tests::stand_in_version;
using resnet_deploy::tests::sums_of;

// The driver's functions that a caller of the device path needs; the stand-in has them.
extern "C" {
int cuStreamCreate(CUstream_st** stream, unsigned flags);
int cuStreamDestroy_v2(CUstream_st* stream);
int cuStreamSynchronize(CUstream_st* stream);
int cuMemAlloc_v2(unsigned long long* pointer, std::size_t num_bytes);
int cuMemFree_v2(unsigned long long pointer);
int cuCtxPushCurrent_v2(void* context);
int cuCtxPopCurrent_v2(void** context);
}

namespace {

// A caller with a device, memory and a stream of its own.
struct Caller {
  explicit Caller(std::size_t num_floats) {
    int device_marker = 0;
    cuCtxPushCurrent_v2(&device_marker);
    cuStreamCreate(&stream, 0);
    cuMemAlloc_v2(&input, num_floats * sizeof(float));
    cuMemAlloc_v2(&output, 1024);
  }
  ~Caller() {
    cuMemFree_v2(input);
    cuMemFree_v2(output);
    cuStreamDestroy_v2(stream);
    void* ignored = nullptr;
    cuCtxPopCurrent_v2(&ignored);
  }
  CUstream_st* stream = nullptr;
  unsigned long long input = 0;
  unsigned long long output = 0;
};

rd_status enqueue(OpenSession& session, const void* input, const std::int64_t (&dims)[4], void* output, void* stream) {
  rd_backend_error error{};
  session.outcome.status =
      session.table.enqueue(session.handle, input, dims, static_cast<float*>(output), stream, &error);
  session.outcome.error = error.text;
  return session.outcome.status;
}

}  // namespace

// First: the driver is initialised once a process.

TEST_CASE("every batch gives its sums, filled up where the profile wants more") {
  const long alive = control().alive;
  {
    OpenModel model(module_under_test(), source_of(engine_of_floats()));
    REQUIRE_MESSAGE(model.outcome.status == RD_OK, model.outcome.error);
    CHECK(model.info.max_batch == 8);
    CHECK(std::string(model.info.device) == "Stand-in GPU");
    CHECK(std::string(model.info.runtime).find(stand_in_version()) != std::string::npos);
    for (const std::int32_t max_batch : {4, 8}) {
      OpenSession session(model, max_batch);
      REQUIRE_MESSAGE(session.outcome.status == RD_OK, session.outcome.error);
      for (std::int64_t n = 1; n <= max_batch; ++n) {
        const std::int64_t dims[4] = {n, 3, 6, 5};
        const auto images = planes(n, 6, 5, static_cast<unsigned>(n));
        CHECK(session.run(images, dims) == sums_of(images, n, 6, 5));
        CHECK_MESSAGE(session.outcome.status == RD_OK, session.outcome.error);
      }
    }
  }
  CHECK(control().alive == alive);
}

TEST_CASE("a session takes the smallest profile that holds its batch") {
  OpenModel model(module_under_test(), source_of(engine_of_floats()));
  OpenSession small(model, 4);
  OpenSession large(model, 5);
  const std::int64_t dims[4] = {1, 3, 6, 5};
  Caller caller(3 * 6 * 5 * 8);
  const auto* input = reinterpret_cast<const void*>(caller.input);
  auto* output = reinterpret_cast<void*>(caller.output);
  CHECK(enqueue(small, input, dims, output, caller.stream) == RD_INVALID_ARGUMENT);  // its smallest is 2
  CHECK(small.outcome.error.find("smallest is 2") != std::string::npos);
  CHECK(enqueue(large, input, dims, output, caller.stream) == RD_OK);
  cuStreamSynchronize(caller.stream);
}

TEST_CASE("pixels of any size inside the profile, growing and shrinking, give their sums") {
  OpenModel model(module_under_test(), source_of(engine_of_pixels()));
  REQUIRE_MESSAGE(model.outcome.status == RD_OK, model.outcome.error);
  OpenSession session(model, 4);
  const std::int64_t sizes[][2] = {{4, 4}, {64, 64}, {5, 63}, {33, 8}};
  for (const auto& size : sizes) {
    const std::int64_t dims[4] = {2, size[0], size[1], 3};
    const auto images = pixels(2, size[0], size[1], 3);
    CHECK(session.run(images, dims) == sums_of(images, 2, size[0], size[1]));
  }
  const std::int64_t large[4] = {1, 65, 4, 3};
  session.run(pixels(1, 65, 4, 1), large);
  CHECK(session.outcome.status == RD_BAD_IMAGE);
  CHECK(session.outcome.error.find("[1, 65, 4, 3]") != std::string::npos);
  CHECK(session.outcome.error.find("[4, 64, 64, 3]") != std::string::npos);
}

TEST_CASE("a session that can not be made leaves nothing behind") {
  OpenModel model(module_under_test(), source_of(engine_of_floats()));
  REQUIRE(model.outcome.status == RD_OK);
  const long alive = control().alive;
  const std::pair<const char*, rd_status> cases[] = {{"createExecutionContext", RD_OUT_OF_MEMORY},
                                                     {"setOptimizationProfileAsync", RD_RUN_FAILED},
                                                     {"cuStreamCreate", RD_OUT_OF_MEMORY},
                                                     {"cuEventCreate", RD_OUT_OF_MEMORY}};
  for (const auto& [function, status] : cases) {
    fail(function);
    OpenSession session(model, 4);  // in the second profile
    CHECK_MESSAGE(session.outcome.status == status, function << " " << session.outcome.error);
    CHECK(control().failures == 0);
    CHECK(control().alive == alive);
  }
  for (const std::int32_t max_batch : {0, -1, 9}) {
    OpenSession session(model, max_batch);
    CHECK(session.outcome.status == RD_INVALID_ARGUMENT);
    CHECK(session.outcome.error.find("1 to 8") != std::string::npos);
  }
}

TEST_CASE("a run that fails is said by name, and the next one is right") {
  OpenModel model(module_under_test(), source_of(engine_of_floats()));
  const std::int64_t dims[4] = {3, 3, 6, 5};
  const auto images = planes(3, 6, 5, 1);
  const char* const functions[] = {"cuMemAlloc",    "cuMemAllocHost",    "cuMemcpyHtoDAsync",
                                   "setInputShape", "getTensorShape",    "setTensorAddress",
                                   "enqueueV3",     "cuMemcpyDtoHAsync", "cuStreamSynchronize"};
  for (const char* function : functions) {
    OpenSession session(model, 4);
    fail(function);
    session.run(images, dims);
    const bool of_driver = std::strncmp(function, "cu", 2) == 0;
    CHECK_MESSAGE(session.outcome.status == (of_driver ? RD_OUT_OF_MEMORY : RD_RUN_FAILED), function);
    CHECK_MESSAGE(session.outcome.error.size() > 10, function);
    CHECK(control().failures == 0);
    CHECK_MESSAGE(session.run(images, dims) == sums_of(images, 3, 6, 5), function);
    CHECK_MESSAGE(session.outcome.status == RD_OK, session.outcome.error);
  }
  OpenSession session(model, 4);
  const std::int64_t two[4] = {2, 3, 6, 5};
  session.run(images, dims);
  fail("setInputShape");
  session.run(images, two);
  CHECK(session.outcome.status == RD_RUN_FAILED);
  CHECK(session.run(images, dims) == sums_of(images, 3, 6, 5));  // the context forgot that shape, too
  const std::int64_t other[4] = {3, 3, 5, 6};
  session.run(images, other);
  CHECK(session.outcome.status == RD_INVALID_ARGUMENT);
  CHECK(session.outcome.error.find("[3, 3, 5, 6]") != std::string::npos);
}

TEST_CASE("the device path enqueues on the caller's stream and copies nothing") {
  OpenModel model(module_under_test(), source_of(engine_of_floats()));
  OpenSession session(model, 8);
  Caller caller(3 * 6 * 5 * 8);
  const std::int64_t dims[4] = {3, 3, 6, 5};
  const auto images = planes(3, 6, 5, 4);
  const auto wanted = sums_of(images, 3, 6, 5);
  auto* input = reinterpret_cast<float*>(caller.input);
  auto* output = reinterpret_cast<float*>(caller.output);
  CHECK(enqueue(session, input, dims, output, caller.stream) == RD_OK);
  std::copy(images.begin(), images.end(), input);  // before the stream comes to it
  CHECK(output[0] != wanted[0]);                   // it only enqueues
  // host memory in between: the session's own stream must not overtake the caller's
  const std::int64_t one[4] = {1, 3, 6, 5};
  const auto image = planes(1, 6, 5, 9);
  CHECK(session.run(image, one) == sums_of(image, 1, 6, 5));
  CHECK(std::vector<float>(output, output + wanted.size()) == wanted);
  CHECK(enqueue(session, nullptr, dims, output, caller.stream) == RD_INVALID_ARGUMENT);
  CHECK(enqueue(session, input + 1, dims, output, caller.stream) == RD_INVALID_ARGUMENT);
  CHECK(session.outcome.error.find("256") != std::string::npos);
  CHECK(enqueue(session, input, dims, output + 1, caller.stream) == RD_INVALID_ARGUMENT);
  const std::int64_t large[4] = {9, 3, 6, 5};
  CHECK(enqueue(session, input, large, output, caller.stream) == RD_INVALID_ARGUMENT);
  alignas(256) static float host[3 * 3 * 6 * 5];
  CHECK(enqueue(session, host, dims, output, caller.stream) == RD_RUN_FAILED);
}

TEST_CASE("what comes on a second stream waits for the first") {
  OpenModel model(module_under_test(), source_of(engine_of_floats()));
  OpenSession session(model, 8);
  Caller first(3 * 6 * 5 * 8);
  Caller second(3 * 6 * 5 * 8);
  const std::int64_t dims[4] = {2, 3, 6, 5};
  const auto images = planes(2, 6, 5, 4);
  for (const Caller* caller : {&first, &second}) {
    std::copy(images.begin(), images.end(), reinterpret_cast<float*>(caller->input));
    enqueue(session, reinterpret_cast<void*>(caller->input), dims, reinterpret_cast<void*>(caller->output),
            caller->stream);
  }
  cuStreamSynchronize(second.stream);
  for (const Caller* caller : {&first, &second}) {
    CHECK(reinterpret_cast<float*>(caller->output)[0] == sums_of(images, 2, 6, 5)[0]);
  }
}

TEST_CASE("a session that is destroyed waits for what was enqueued") {
  OpenModel model(module_under_test(), source_of(engine_of_floats()));
  Caller caller(3 * 6 * 5 * 8);
  const std::int64_t dims[4] = {2, 3, 6, 5};
  const auto images = planes(2, 6, 5, 4);
  std::copy(images.begin(), images.end(), reinterpret_cast<float*>(caller.input));
  {
    OpenSession session(model, 4);
    enqueue(session, reinterpret_cast<void*>(caller.input), dims, reinterpret_cast<void*>(caller.output),
            caller.stream);
  }
  CHECK(reinterpret_cast<float*>(caller.output)[0] == sums_of(images, 2, 6, 5)[0]);
}

TEST_CASE("sessions of eight threads give what one gives") {
  OpenModel model(module_under_test(), source_of(engine_of_floats()));
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (unsigned thread = 0; thread < 8; ++thread) {
    threads.emplace_back([&, thread] {
      OpenSession session(model, 8);
      for (unsigned run = 0; run < 100; ++run) {
        const std::int64_t n = 1 + (run + thread) % 8;
        const std::int64_t dims[4] = {n, 3, 6, 5};
        const auto images = planes(n, 6, 5, run * 8 + thread);
        if (session.run(images, dims) != sums_of(images, n, 6, 5)) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == 0);
}
