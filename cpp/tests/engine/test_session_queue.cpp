#include <doctest/doctest.h>

#include <atomic>
#include <future>
#include <memory>
#include <thread>
#include <vector>

#include "engine/session_queue.h"

using resnet_deploy::SessionQueue;

TEST_CASE("tasks run in order, on one thread that is not the caller's") {
  std::vector<int> order;
  bool was_own_thread = true;
  {
    SessionQueue queue;
    for (int i = 0; i < 100; ++i) {
      queue.push([&, i] {
        order.push_back(i);
        was_own_thread = was_own_thread && queue.is_own_thread();
      });
    }
    CHECK(!queue.is_own_thread());
    queue.wait_until_idle();
    CHECK(order.size() == 100);
    queue.push([&] { order.push_back(100); });
  }  // runs what waits
  CHECK(was_own_thread);
  REQUIRE(order.size() == 101);
  for (int i = 0; i <= 100; ++i) CHECK(order[static_cast<std::size_t>(i)] == i);
}

TEST_CASE("a full queue says so, and takes more when it is not") {
  std::promise<void> gate;
  SessionQueue queue;
  queue.push([&] { gate.get_future().wait(); });
  while (!queue.is_full()) queue.push([] {});
  gate.set_value();
  queue.wait_until_idle();
  CHECK(!queue.is_full());
}

TEST_CASE("what a task holds is gone when the queue is idle") {
  const auto held = std::make_shared<int>(1);
  SessionQueue queue;
  for (int i = 0; i < 50; ++i) queue.push([held] {});
  queue.wait_until_idle();
  CHECK(held.use_count() == 1);
}

TEST_CASE("a queue that was never used has no thread and ends at once") {
  const SessionQueue queue;
  queue.wait_until_idle();
  CHECK(!queue.is_own_thread());
}
