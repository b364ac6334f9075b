// Clients that ask for one image each, through sessions of their own, one shared session, or the batcher.
//
//   batcher_load BUNDLE WAY CLIENTS SECONDS RATE MAX_BATCH MAX_DELAY_US THREADS BACKENDS
//
// WAY: own (a session for each client), shared (one session, one request at a time), batcher. RATE 0: each client sends
// its next request when it has its answer; else requests arrive at random, so many a second in all, and a latency is
// counted from the planned arrival, also where no client was free. One JSON object on stdout.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <mutex>
#include <random>
#include <resnet_deploy/engine.hpp>
#include <string>
#include <thread>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;
constexpr double kWarmUpSeconds = 0.5;
constexpr int kSide = 256;

struct Load {
  std::string bundle, way;
  int num_clients = 0;
  double seconds = 0, rate = 0;
  int max_batch = 1, max_delay_us = 0, num_threads = 0;
  std::string backends;
};

// Planned arrivals of a Poisson process, handed to whichever client is free.
class Arrivals {
 public:
  Arrivals(double rate, Clock::time_point begin) : gap_(rate), next_(begin) {}

  Clock::time_point take() {
    const std::lock_guard<std::mutex> lock(mutex_);
    next_ += std::chrono::duration_cast<Clock::duration>(Seconds(gap_(random_)));
    return next_;
  }

 private:
  std::mutex mutex_;
  std::mt19937_64 random_{7};
  std::exponential_distribution<double> gap_;
  Clock::time_point next_;
};

std::vector<std::uint8_t> made_up_pixels() {
  std::vector<std::uint8_t> pixels(static_cast<std::size_t>(kSide) * kSide * 3);
  std::mt19937 random(3);
  std::generate(pixels.begin(), pixels.end(), [&] { return static_cast<std::uint8_t>(random()); });
  return pixels;
}

// Latencies in ms of the requests that were answered after the warm-up and before the end.
std::vector<double> drive(const Load& load, const std::function<void(int)>& ask) {
  const auto begin = Clock::now();
  const auto counted = begin + std::chrono::duration_cast<Clock::duration>(Seconds(kWarmUpSeconds));
  const auto end = counted + std::chrono::duration_cast<Clock::duration>(Seconds(load.seconds));
  Arrivals arrivals(load.rate > 0 ? load.rate : 1, begin);
  std::vector<std::vector<double>> latencies(static_cast<std::size_t>(load.num_clients));
  std::vector<std::thread> clients;
  for (int client = 0; client < load.num_clients; ++client) {
    clients.emplace_back([&, client] {
      auto& mine = latencies[static_cast<std::size_t>(client)];
      while (true) {
        const auto planned = load.rate > 0 ? arrivals.take() : Clock::now();
        if (planned >= end) return;
        std::this_thread::sleep_until(planned);
        ask(client);
        const auto done = Clock::now();
        if (done >= end) return;
        if (done >= counted) mine.push_back(Seconds(done - planned).count() * 1e3);
      }
    });
  }
  for (auto& client : clients) client.join();
  std::vector<double> all;
  for (const auto& some : latencies) all.insert(all.end(), some.begin(), some.end());
  std::sort(all.begin(), all.end());
  return all;
}

double quantile(const std::vector<double>& sorted, double share) {
  if (sorted.empty()) return -1;
  return sorted[std::min(sorted.size() - 1, static_cast<std::size_t>(share * static_cast<double>(sorted.size())))];
}

void report(const std::vector<double>& latencies, double seconds, double mean_batch, const std::string& runtime) {
  std::printf(
      "{\"requests\": %zu, \"requests_per_s\": %.2f, \"p50_ms\": %.4f, \"p90_ms\": %.4f, \"p99_ms\": %.4f, "
      "\"max_ms\": %.4f, \"mean_batch\": %.4f, \"runtime\": \"%s\"}\n",
      latencies.size(), static_cast<double>(latencies.size()) / seconds, quantile(latencies, 0.5),
      quantile(latencies, 0.9), quantile(latencies, 0.99), latencies.empty() ? -1 : latencies.back(), mean_batch,
      runtime.c_str());
}

void run(const Load& load) {
  resnet_deploy::OpenOptions options;
  options.backends = load.backends;
  options.num_threads = load.num_threads;
  options.skip_self_test = true;  // the fake backend's answers mean nothing
  const auto engine = resnet_deploy::Engine::open(load.bundle, options);
  const auto pixels = made_up_pixels();
  const resnet_deploy::Image image(pixels.data(), kSide, kSide);
  std::vector<double> latencies;
  double mean_batch = 1;
  if (load.way == "batcher") {
    resnet_deploy::BatcherOptions batching;
    batching.max_batch = load.max_batch;
    batching.max_delay = std::chrono::microseconds(load.max_delay_us);
    auto batcher = engine.batcher(batching);
    latencies = drive(load, [&](int) { batcher.submit(image, 1).get(); });
    const auto stats = batcher.stats();
    mean_batch = static_cast<double>(stats.num_requests) / static_cast<double>(stats.num_batches);
  } else {
    const bool is_shared = load.way == "shared";
    std::vector<resnet_deploy::Session> sessions;
    for (int i = 0; i < (is_shared ? 1 : load.num_clients); ++i) sessions.push_back(engine.session(1));
    std::mutex one_at_a_time;
    latencies = drive(load, [&](int client) {
      if (!is_shared) {
        sessions[static_cast<std::size_t>(client)].classify(image, 1);
        return;
      }
      const std::lock_guard<std::mutex> lock(one_at_a_time);
      sessions[0].classify(image, 1);
    });
  }
  report(latencies, load.seconds, mean_batch, engine.info().runtime);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 10) {
    std::fprintf(stderr, "9 arguments, see the head of batcher_load.cpp\n");
    return 2;
  }
  Load load;
  load.bundle = argv[1];
  load.way = argv[2];
  load.num_clients = std::atoi(argv[3]);
  load.seconds = std::atof(argv[4]);
  load.rate = std::atof(argv[5]);
  load.max_batch = std::atoi(argv[6]);
  load.max_delay_us = std::atoi(argv[7]);
  load.num_threads = std::atoi(argv[8]);
  load.backends = argv[9];
  try {
    run(load);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
