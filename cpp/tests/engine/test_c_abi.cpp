#include <doctest/doctest.h>

#include <cstring>
#include <string>
#include <thread>

#include "tiny_engine.h"

using namespace resnet_deploy;
using namespace resnet_deploy::test;

namespace {

rd_open_options fake_options() {
  rd_open_options options;
  rd_open_options_init(&options);
  options.backends = "fake";
  return options;
}

}  // namespace

TEST_CASE("the library says what it is") {
  CHECK(rd_abi_version() == RD_ABI_VERSION);
  CHECK(std::string(rd_version()) == "0.1.0");
  CHECK(std::string(rd_status_name(RD_OK)) == "RD_OK");
  CHECK(std::string(rd_status_name(RD_INTERNAL)) == "RD_INTERNAL");
  CHECK(std::string(rd_status_name(static_cast<rd_status>(31))) == "unknown");
}

TEST_CASE("the last error is the calling thread's own, and goes with the next call") {
  rd_engine* engine = nullptr;
  CHECK(rd_engine_open("/gone", nullptr, &engine) == RD_NOT_FOUND);
  says(rd_last_error(), "/gone: No such file");
  std::thread([] { CHECK(std::string(rd_last_error()).empty()); }).join();
  const TemporaryFolder folder;
  const auto options = fake_options();
  CHECK(rd_engine_open(BundleWriter().write(folder.path()).c_str(), &options, &engine) == RD_OK);
  CHECK(std::string(rd_last_error()).empty());
  rd_engine_close(engine);
}

TEST_CASE("null pointers are refused, and closing nothing is fine") {
  rd_engine* engine = reinterpret_cast<rd_engine*>(1);
  CHECK(rd_engine_open(nullptr, nullptr, &engine) == RD_INVALID_ARGUMENT);
  CHECK(engine == nullptr);
  CHECK(rd_engine_open("x", nullptr, nullptr) == RD_INVALID_ARGUMENT);
  CHECK(rd_engine_get_info(nullptr, nullptr) == RD_INVALID_ARGUMENT);
  CHECK(rd_engine_label(nullptr, 0) == nullptr);
  rd_session* session = nullptr;
  CHECK(rd_session_create(nullptr, 1, &session) == RD_INVALID_ARGUMENT);
  CHECK(rd_classify(nullptr, nullptr, 1, 1, nullptr) == RD_INVALID_ARGUMENT);
  CHECK(rd_run(nullptr, nullptr, 1, nullptr) == RD_INVALID_ARGUMENT);
  CHECK(rd_run_images(nullptr, nullptr, 1, nullptr) == RD_INVALID_ARGUMENT);
  CHECK(rd_enqueue(nullptr, nullptr, 1, nullptr, nullptr) == RD_INVALID_ARGUMENT);
  CHECK(rd_session_submit(nullptr, nullptr, 1, 1, nullptr, nullptr) == RD_INVALID_ARGUMENT);
  rd_batcher* batcher = nullptr;
  CHECK(rd_batcher_create(nullptr, nullptr, &batcher) == RD_INVALID_ARGUMENT);
  CHECK(rd_batcher_submit(nullptr, nullptr, 1, nullptr, nullptr) == RD_INVALID_ARGUMENT);
  CHECK(rd_batcher_get_stats(nullptr, nullptr) == RD_INVALID_ARGUMENT);
  rd_engine_close(nullptr);
  rd_session_destroy(nullptr);
  rd_batcher_destroy(nullptr);
  rd_open_options_init(nullptr);
  rd_batcher_options_init(nullptr);
}

TEST_CASE("handles with arguments missing") {
  const TemporaryFolder folder;
  const auto options = fake_options();
  rd_engine* engine = nullptr;
  REQUIRE(rd_engine_open(BundleWriter().write(folder.path()).c_str(), &options, &engine) == RD_OK);
  rd_session* session = nullptr;
  REQUIRE(rd_session_create(engine, 1, &session) == RD_OK);
  float values[768] = {};
  CHECK(rd_run(session, nullptr, 1, values) == RD_INVALID_ARGUMENT);
  CHECK(rd_run(session, values, 0, values) == RD_INVALID_ARGUMENT);
  CHECK(rd_run(session, values, static_cast<size_t>(-1), values) == RD_INVALID_ARGUMENT);
  CHECK(rd_run(session, values, 1, nullptr) == RD_INVALID_ARGUMENT);
  const Picture one(20, 20, 1);
  const rd_image image = one.image();
  CHECK(rd_session_submit(session, &image, 1, 1, nullptr, nullptr) == RD_INVALID_ARGUMENT);
  says(rd_last_error(), "done is NULL");
  rd_session_destroy(session);
  rd_engine_close(engine);
}

TEST_CASE("structs of an older and a newer header") {
  const TemporaryFolder folder;
  const auto path = BundleWriter().write(folder.path());
  rd_engine* engine = nullptr;
  struct {
    rd_open_options known;
    std::uint64_t later;
  } newer = {fake_options(), 0};
  newer.known.struct_size = sizeof(newer);
  CHECK(rd_engine_open(path.c_str(), &newer.known, &engine) == RD_OK);
  rd_engine_close(engine);
  newer.later = 1;
  CHECK(rd_engine_open(path.c_str(), &newer.known, &engine) == RD_INVALID_ARGUMENT);
  says(rd_last_error(), "sets a field that this library");
  auto older = fake_options();
  older.struct_size = offsetof(rd_open_options, device);
  older.device = -7;  // beyond what the old header had: not read
  CHECK(rd_engine_open(path.c_str(), &older, &engine) == RD_OK);
  rd_engine_info info;
  std::memset(&info, 0x7f, sizeof(info));
  info.struct_size = offsetof(rd_engine_info, net);
  CHECK(rd_engine_get_info(engine, &info) == RD_OK);
  CHECK(std::string(info.name) == "tiny");
  CHECK(info.max_batch == 0x7f7f7f7f);  // beyond what the old header had: not written
  info.struct_size = 0;
  CHECK(rd_engine_get_info(engine, &info) == RD_INVALID_ARGUMENT);
  rd_engine_close(engine);
  older.struct_size = 0;
  CHECK(rd_engine_open(path.c_str(), &older, &engine) == RD_INVALID_ARGUMENT);
  says(rd_last_error(), "struct_size is 0");
}

TEST_CASE("options out of range are refused") {
  rd_engine* engine = nullptr;
  auto options = fake_options();
  options.device = -1;
  CHECK(rd_engine_open("x", &options, &engine) == RD_INVALID_ARGUMENT);
  options = fake_options();
  options.num_threads = -1;
  CHECK(rd_engine_open("x", &options, &engine) == RD_INVALID_ARGUMENT);
  options = fake_options();
  options.public_key_pem = "";
  CHECK(rd_engine_open("x", &options, &engine) == RD_INVALID_ARGUMENT);
  says(rd_last_error(), "public_key_pem is empty");
}
