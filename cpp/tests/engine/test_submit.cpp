#include <doctest/doctest.h>

#include <future>
#include <stdexcept>
#include <string>
#include <vector>

#include "tiny_engine.h"

using namespace resnet_deploy;
using namespace resnet_deploy::test;

TEST_CASE("submitted requests answer in order, with the results of classify") {
  auto session = open_tiny(BundleWriter()).session(2);
  std::vector<std::future<std::vector<Classes>>> futures;
  std::vector<Picture> all;
  for (std::uint32_t i = 0; i < 30; ++i) all.emplace_back(20 + static_cast<std::int32_t>(i), 25, i);
  for (std::size_t i = 0; i + 2 < all.size(); ++i) {
    const std::vector<Picture> gone_after_submit{all[i], all[i + 1], all[i + 2]};
    futures.push_back(
        session.submit({gone_after_submit[0].image(), gone_after_submit[1].image(), gone_after_submit[2].image()},
                       1 + static_cast<int>(i % 5)));
  }
  for (std::size_t i = 0; i < futures.size(); ++i) {
    const auto found = futures[i].get();
    REQUIRE(found.size() == 3);
    for (std::size_t j = 0; j < 3; ++j) {
      check_equal(found[j], expected_classes(fake_output_of_image(all[i + j].image()), 1 + i % 5));
    }
  }
}

namespace {

struct Log {
  std::vector<int> order;
  rd_session* session = nullptr;
  rd_status from_callback = RD_OK;
};

struct Entry {
  Log* log;
  int number;
};

void note(void* user, rd_status status, const char* error, const rd_class* classes, size_t num_classes) {
  auto* entry = static_cast<Entry*>(user);
  if (status == RD_OK && num_classes == 1 && classes != nullptr && std::string(error).empty()) {
    entry->log->order.push_back(entry->number);
  }
}

void misuse(void* user, rd_status, const char*, const rd_class*, size_t) {
  auto* log = static_cast<Log*>(user);
  float input[768] = {};
  float output[5];
  log->from_callback = rd_run(log->session, input, 1, output);
  rd_session_destroy(log->session);  // refused: the thread would wait for itself
}

void throw_one(void*, rd_status, const char*, const rd_class*, size_t) {
  throw std::runtime_error("a caller's mistake");
}

struct CSession {
  explicit CSession(const BundleWriter& writer, rd_log_fn log = nullptr, void* user = nullptr) {
    rd_open_options options;
    rd_open_options_init(&options);
    options.backends = "fake";
    options.log = log;
    options.log_user = user;
    rd_engine* engine = nullptr;
    REQUIRE(rd_engine_open(writer.write(folder.path()).c_str(), &options, &engine) == RD_OK);
    REQUIRE(rd_session_create(engine, 1, &session) == RD_OK);
    rd_engine_close(engine);  // the session keeps what it needs
  }
  CSession(const CSession&) = delete;
  CSession& operator=(const CSession&) = delete;
  ~CSession() { rd_session_destroy(session); }

  TemporaryFolder folder;
  rd_session* session = nullptr;
};

// A rd_log_fn; `user` is a std::string.
void keep_errors(void* user, rd_log_level level, const char* text) {
  if (level == RD_LOG_ERROR) *static_cast<std::string*>(user) += text;
}

}  // namespace

TEST_CASE("callbacks come in order, and all have come when another call returns") {
  const CSession opened(BundleWriter("delay_us=100\n"));
  const Picture one(30, 30, 3);
  const rd_image image = one.image();
  Log log;
  std::vector<Entry> entries;
  for (int i = 0; i < 50; ++i) entries.push_back({&log, i});
  for (auto& entry : entries) REQUIRE(rd_session_submit(opened.session, &image, 1, 1, note, &entry) == RD_OK);
  rd_class best;
  REQUIRE(rd_classify(opened.session, &image, 1, 1, &best) == RD_OK);
  REQUIRE(log.order.size() == 50);
  for (int i = 0; i < 50; ++i) CHECK(log.order[static_cast<std::size_t>(i)] == i);
}

TEST_CASE("destroying a session runs what was submitted") {
  Log log;
  std::vector<Entry> entries;
  for (int i = 0; i < 20; ++i) entries.push_back({&log, i});
  {
    const CSession opened(BundleWriter("delay_us=500\n"));
    const Picture one(30, 30, 3);
    const rd_image image = one.image();
    for (auto& entry : entries) REQUIRE(rd_session_submit(opened.session, &image, 1, 1, note, &entry) == RD_OK);
  }
  CHECK(log.order.size() == 20);
}

TEST_CASE("a callback that uses its own session is told so instead of waiting for itself") {
  std::string logged;
  const CSession opened(BundleWriter(), keep_errors, &logged);
  const Picture one(30, 30, 3);
  const rd_image image = one.image();
  Log log;
  log.session = opened.session;
  REQUIRE(rd_session_submit(opened.session, &image, 1, 1, misuse, &log) == RD_OK);
  rd_class best;
  REQUIRE(rd_classify(opened.session, &image, 1, 1, &best) == RD_OK);
  CHECK(log.from_callback == RD_INVALID_ARGUMENT);
  says(logged, "rd_session_destroy from the session's own callback");
}

TEST_CASE("a callback that throws is dropped, told, and harms no other") {
  std::string logged;
  const CSession opened(BundleWriter(), keep_errors, &logged);
  const Picture one(30, 30, 3);
  const rd_image image = one.image();
  Log log;
  Entry entry{&log, 1};
  REQUIRE(rd_session_submit(opened.session, &image, 1, 1, throw_one, nullptr) == RD_OK);
  REQUIRE(rd_session_submit(opened.session, &image, 1, 1, note, &entry) == RD_OK);
  rd_class best;
  REQUIRE(rd_classify(opened.session, &image, 1, 1, &best) == RD_OK);
  CHECK(log.order == std::vector<int>{1});
  says(logged, "a callback threw an exception");
}

TEST_CASE("a failing run reaches the future") {
  OpenOptions options;
  options.skip_self_test = true;
  auto session = open_tiny(BundleWriter("run=13\n"), options).session();
  const Picture one(30, 30, 3);
  auto future = session.submit({one.image()}, 1);
  says(refusal_of(RD_RUN_FAILED, [&] { future.get(); }), "scripted to fail at run");
}

TEST_CASE("a session that is too far behind refuses more") {
  auto session = open_tiny(BundleWriter("delay_us=5000\n")).session();
  const Picture one(16, 16, 3);
  std::vector<std::future<std::vector<Classes>>> futures;
  const auto message = refusal_of(RD_BUSY, [&] {
    for (int i = 0; i < 2000; ++i) futures.push_back(session.submit({one.image()}, 1));
  });
  says(message, "256 requests wait");
  CHECK(futures.size() >= 256);
}
