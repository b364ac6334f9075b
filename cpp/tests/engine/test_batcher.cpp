#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <memory>
#include <stdexcept>
#include <thread>
#include <vector>

#include "tiny_engine.h"

using namespace resnet_deploy;
using namespace resnet_deploy::test;
using namespace std::chrono_literals;

namespace {

// Far longer than a test may take: who waits for it hangs, and the test fails by its own limit.
constexpr auto kNever = 60s;
constexpr auto kLimit = 20s;

BatcherOptions batcher_options(int max_batch, std::chrono::microseconds max_delay, int num_sessions = 1,
                               int capacity = 1024) {
  BatcherOptions options;
  options.max_batch = max_batch;
  options.max_delay = max_delay;
  options.num_sessions = num_sessions;
  options.capacity = capacity;
  return options;
}

bool is_ready(const std::future<Classes>& future) { return future.wait_for(kLimit) == std::future_status::ready; }

}  // namespace

TEST_CASE("requests are merged into full batches, each with its own k") {
  const auto engine = open_tiny(BundleWriter());
  auto batcher = engine.batcher(batcher_options(4, kNever));
  std::vector<Picture> all;
  std::vector<std::future<Classes>> futures;
  for (std::uint32_t i = 0; i < 8; ++i) {
    all.emplace_back(20 + static_cast<std::int32_t>(i), 40, i);
    futures.push_back(batcher.submit(all.back().image(), 1 + static_cast<int>(i % 5)));
  }
  for (std::size_t i = 0; i < all.size(); ++i) {
    REQUIRE(is_ready(futures[i]));
    check_equal(futures[i].get(), expected_classes(fake_output_of_image(all[i].image()), 1 + i % 5));
  }
  const auto stats = batcher.stats();
  CHECK(stats.num_requests == 8);
  CHECK(stats.num_batches == 2);
  CHECK(stats.num_refused == 0);
}

TEST_CASE("one that no other joins is not kept beyond the delay") {
  const auto engine = open_tiny(BundleWriter());
  const Picture one(30, 30, 3);
  for (const auto delay : {0us, 1000us}) {
    auto batcher = engine.batcher(batcher_options(8, delay));
    CHECK(is_ready(batcher.submit(one.image(), 1)));
    CHECK(batcher.stats().num_batches == 1);
  }
}

TEST_CASE("the delay counts from the first that waits, not from the last that came") {
  const auto engine = open_tiny(BundleWriter());
  auto batcher = engine.batcher(batcher_options(60000, 30000us, 1, 60000));
  const Picture one(16, 16, 3);
  const auto first = batcher.submit(one.image(), 1);
  const auto until = std::chrono::steady_clock::now() + kLimit;
  // A newcomer every millisecond would put the batch off for ever if each began the delay anew.
  while (first.wait_for(0s) != std::future_status::ready && std::chrono::steady_clock::now() < until) {
    batcher.submit(one.image(), 1);
    std::this_thread::sleep_for(1ms);
  }
  CHECK(first.wait_for(0s) == std::future_status::ready);
}

TEST_CASE("more than the capacity is refused, and what was taken is run when the batcher goes") {
  const auto engine = open_tiny(BundleWriter());
  const Picture one(30, 30, 3);
  std::vector<std::future<Classes>> futures;
  {
    auto batcher = engine.batcher(batcher_options(8, kNever, 1, 4));
    for (int i = 0; i < 4; ++i) futures.push_back(batcher.submit(one.image(), 2));
    says(refusal_of(RD_BUSY, [&] { batcher.submit(one.image(), 2); }),
         "4 requests wait, which is the batcher's capacity");
    refusal_of(RD_BUSY, [&] { batcher.submit(one.image(), 2); });
    CHECK(batcher.stats().num_refused == 2);
    CHECK(batcher.stats().num_requests == 0);
  }
  for (auto& future : futures) {
    REQUIRE(future.wait_for(0s) == std::future_status::ready);
    CHECK(future.get().size() == 2);
  }
}

TEST_CASE("an image that is refused takes no place") {
  BundleWriter writer;
  writer.manifest["preprocess"]["resize_shorter_px"] = 0;
  OpenOptions options;
  options.skip_self_test = true;  // the golden pixels are of the other contract
  const auto engine = open_tiny(writer, options);
  auto batcher = engine.batcher(batcher_options(8, 0us, 1, 1));
  const Picture one(30, 30, 3);
  for (int i = 0; i < 5; ++i) {
    refusal_of(RD_BAD_IMAGE, [&] { batcher.submit(Image(one.pixels.data(), -3, 2), 1); });
    refusal_of(RD_INVALID_ARGUMENT, [&] { batcher.submit(one.image(), 9); });
    // Smaller than the crop, which is found only while it is prepared.
    refusal_of(RD_BAD_IMAGE, [&] { batcher.submit(Image(one.pixels.data(), 5, 5), 1); });
  }
  CHECK(is_ready(batcher.submit(one.image(), 1)));
}

TEST_CASE("pixels of other sizes run in batches of their own") {
  const auto engine = open_tiny(BundleWriter("", true));
  auto batcher = engine.batcher(batcher_options(4, kNever));
  std::vector<Picture> all;
  std::vector<std::future<Classes>> futures;
  for (std::uint32_t i = 0; i < 8; ++i) {
    all.emplace_back(i % 2 == 0 ? 20 : 30, 25, i);
    futures.push_back(batcher.submit(all.back().image(), 1));
  }
  auto session = engine.session();
  for (std::size_t i = 0; i < all.size(); ++i) {
    REQUIRE(is_ready(futures[i]));
    CHECK(futures[i].get()[0].index == session.classify(all[i].image(), 1)[0].index);
  }
  CHECK(batcher.stats().num_batches == 2);
}

TEST_CASE("a failing batch fails each of its requests, and the next batch runs") {
  OpenOptions options;
  options.skip_self_test = true;
  const auto engine = open_tiny(BundleWriter("run=13\nrun_from=1\n"), options);
  auto batcher = engine.batcher(batcher_options(2, kNever));
  const Picture one(30, 30, 3);
  std::vector<std::future<Classes>> futures;
  for (int i = 0; i < 4; ++i) futures.push_back(batcher.submit(one.image(), 1));
  CHECK(futures[0].get().size() == 1);
  CHECK(futures[1].get().size() == 1);
  for (std::size_t i = 2; i < 4; ++i) says(refusal_of(RD_RUN_FAILED, [&] { futures[i].get(); }), "scripted to fail");
  CHECK(batcher.stats().num_requests == 4);
}

TEST_CASE("options out of range are refused") {
  const auto engine = open_tiny(BundleWriter());
  says(refusal_of(RD_INVALID_ARGUMENT, [&] { engine.batcher(batcher_options(0, 1ms)); }), "max_batch is 0");
  says(refusal_of(RD_INVALID_ARGUMENT, [&] { engine.batcher(batcher_options(1, -1us)); }), "max_delay_us is -1");
  says(refusal_of(RD_INVALID_ARGUMENT, [&] { engine.batcher(batcher_options(1, std::chrono::hours(9))); }),
       "max_delay_us is");
  says(refusal_of(RD_INVALID_ARGUMENT, [&] { engine.batcher(batcher_options(1, 1ms, 0)); }), "num_sessions is 0");
  says(refusal_of(RD_INVALID_ARGUMENT, [&] { engine.batcher(batcher_options(1, 1ms, 1, 0)); }), "capacity is 0");
}

namespace {

struct Misuse {
  rd_batcher* batcher = nullptr;
  std::atomic<int> num_logged{0};
};

void throw_one(void*, rd_status, const char*, const rd_class*, size_t) {
  throw std::runtime_error("a caller's mistake");
}

void destroy_from_callback(void* user, rd_status, const char*, const rd_class*, size_t) {
  rd_batcher_destroy(static_cast<Misuse*>(user)->batcher);
}

}  // namespace

TEST_CASE("callbacks that throw or destroy the batcher harm no other request") {
  const TemporaryFolder folder;
  Misuse misuse;
  rd_open_options options;
  rd_open_options_init(&options);
  options.backends = "fake";
  options.log = [](void* user, rd_log_level level, const char*) {
    if (level == RD_LOG_ERROR) ++static_cast<Misuse*>(user)->num_logged;
  };
  options.log_user = &misuse;
  rd_engine* engine = nullptr;
  REQUIRE(rd_engine_open(BundleWriter().write(folder.path()).c_str(), &options, &engine) == RD_OK);
  REQUIRE(rd_batcher_create(engine, nullptr, &misuse.batcher) == RD_OK);
  rd_engine_close(engine);
  const Picture one(30, 30, 3);
  const rd_image image = one.image();
  REQUIRE(rd_batcher_submit(misuse.batcher, &image, 1, throw_one, nullptr) == RD_OK);
  REQUIRE(rd_batcher_submit(misuse.batcher, &image, 1, destroy_from_callback, &misuse) == RD_OK);
  const auto until = std::chrono::steady_clock::now() + kLimit;
  while (misuse.num_logged < 2 && std::chrono::steady_clock::now() < until) std::this_thread::sleep_for(1ms);
  CHECK(misuse.num_logged == 2);
  rd_batcher_destroy(misuse.batcher);
}
