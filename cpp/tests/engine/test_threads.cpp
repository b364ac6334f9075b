#include <doctest/doctest.h>

#include <atomic>
#include <future>
#include <thread>
#include <vector>

#include "tiny_engine.h"

using namespace resnet_deploy;
using namespace resnet_deploy::test;

namespace {

constexpr std::size_t kNumThreads = 8;
constexpr std::size_t kNumRequests = 10000;  // of each thread
constexpr std::size_t kNumPictures = 64;

struct Workload {
  Workload() {
    for (std::uint32_t i = 0; i < kNumPictures; ++i) {
      pictures.emplace_back(16 + static_cast<std::int32_t>(i % 9), 16 + static_cast<std::int32_t>(i % 5), i);
    }
    auto session = engine.session();
    for (const auto& one : pictures) single_threaded.push_back(session.run_images({one.image()}));
  }

  Engine engine = open_tiny(BundleWriter());
  std::vector<Picture> pictures;
  std::vector<std::vector<float>> single_threaded;
};

template <class Body>
void on_threads(Body&& body) {
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < kNumThreads; ++i) threads.emplace_back([&body, i] { body(i); });
  for (auto& thread : threads) thread.join();
}

bool is_equal(const Classes& found, const Classes& expected) {
  if (found.size() != expected.size()) return false;
  for (std::size_t i = 0; i < found.size(); ++i) {
    if (found[i].index != expected[i].index || found[i].probability != expected[i].probability) return false;
  }
  return true;
}

}  // namespace

TEST_CASE("8 threads with 10,000 requests each through one engine give what one thread gives") {
  const Workload workload;
  std::atomic<std::size_t> num_equal{0};
  on_threads([&](std::size_t thread) {
    auto session = workload.engine.session(1 + static_cast<int>(thread % 3));
    for (std::size_t i = 0; i < kNumRequests; ++i) {
      const auto which = (i * 31 + thread * 7) % kNumPictures;
      num_equal += session.run_images({workload.pictures[which].image()}) == workload.single_threaded[which] ? 1U : 0U;
    }
  });
  CHECK(num_equal == kNumThreads * kNumRequests);
}

TEST_CASE("8 threads through one batcher with 3 sessions get each its own answer") {
  const Workload workload;
  std::vector<Classes> expected;
  auto session = workload.engine.session();
  for (const auto& one : workload.pictures) expected.push_back(session.classify(one.image(), 5));
  BatcherOptions options;
  options.num_sessions = 3;
  options.capacity = 100000;
  options.max_delay = std::chrono::microseconds(200);
  auto batcher = workload.engine.batcher(options);
  std::atomic<std::size_t> num_equal{0};
  constexpr std::size_t kEach = 1250;
  on_threads([&](std::size_t thread) {
    std::vector<std::future<Classes>> futures;
    for (std::size_t i = 0; i < kEach; ++i) {
      futures.push_back(batcher.submit(workload.pictures[(i * 31 + thread) % kNumPictures].image(), 5));
    }
    for (std::size_t i = 0; i < kEach; ++i) {
      num_equal += is_equal(futures[i].get(), expected[(i * 31 + thread) % kNumPictures]) ? 1U : 0U;
    }
  });
  CHECK(num_equal == kNumThreads * kEach);
  CHECK(batcher.stats().num_requests == kNumThreads * kEach);
  CHECK(batcher.stats().num_batches < kNumThreads * kEach);
}

TEST_CASE("engines are opened, used and closed on many threads at once") {
  const TemporaryFolder folder;
  const auto path = BundleWriter().write(folder.path());
  OpenOptions options;
  options.backends = "fake";
  const Picture one(30, 30, 3);
  const auto expected = fake_output_of_image(one.image());
  std::atomic<std::size_t> num_equal{0};
  on_threads([&](std::size_t) {
    for (int i = 0; i < 5; ++i) {
      auto session = Engine::open(path, options).session();  // outlives the engine that made it
      num_equal += session.run_images({one.image()}) == expected ? 1U : 0U;
    }
  });
  CHECK(num_equal == kNumThreads * 5);
}
