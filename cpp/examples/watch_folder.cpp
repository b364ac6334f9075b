// Watches a folder: each new image is classified once it is whole, in batches with others that arrived with it.
//
// The folder is polled, which works on every file system, network shares included. A file that is still being written
// changes between two looks, so a file is taken when size and time were the same in two of them; one that can not be
// decoded is reported, and tried again if it changes after all.
#include <algorithm>
#include <atomic>
#include <cctype>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <deque>
#include <filesystem>
#include <future>
#include <map>
#include <resnet_deploy/engine.hpp>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "example_main.hpp"

namespace fs = std::filesystem;
namespace rd = resnet_deploy;

namespace {

constexpr char kUsage[] =
    "usage: watch_folder [options] BUNDLE FOLDER\n"
    "Prints file, probability, index and label of every JPEG or PNG file that is in FOLDER or comes into it; ends on\n"
    "Ctrl-C or SIGTERM, after what was begun.\n"
    "  --poll-ms N       time between two looks (200)\n"
    "  --max-batch N     images at once (8)\n"
    "  --max-delay-ms N  how long an image waits for others (5)\n"
    "  --capacity N      images that may wait (256)\n"
    "  --once            end when the files that are there are done\n"
    "  --backends LIST   which to try, e.g. tensorrt_rtx,openvino (the bundle's order)\n"
    "Exit codes: 0 done, 2 wrong usage or input, 3 missing dependency or hardware, 4 another error.\n";

std::atomic<bool> stop_asked{false};
static_assert(std::atomic<bool>::is_always_lock_free, "a signal handler may only touch lock-free atomics");

void ask_to_stop(int) { stop_asked = true; }

struct Look {
  std::uintmax_t size = 0;
  fs::file_time_type time;
  bool taken = false;
  bool seen = false;  // in the present look

  bool same(const Look& other) const { return size == other.size && time == other.time; }
};

bool is_image_name(const fs::path& path) {
  static const std::set<std::string> kEndings = {".jpg", ".jpeg", ".png"};
  std::string ending = path.extension().string();
  std::transform(ending.begin(), ending.end(), ending.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return kEndings.count(ending) != 0 && path.filename().string()[0] != '.';
}

// Which files have come to rest since the last look.
class Folder {
 public:
  explicit Folder(fs::path path) : path_(std::move(path)) {}

  // Whether a file may still be changing.
  bool unsettled() const {
    return std::any_of(looks_.begin(), looks_.end(), [](const auto& entry) { return !entry.second.taken; });
  }

  std::vector<std::string> settled() {
    for (auto& entry : looks_) entry.second.seen = false;
    std::vector<std::string> whole;
    for (const fs::directory_entry& entry : fs::directory_iterator(path_)) {
      std::error_code gone;  // between the listing and the look
      Look now;
      if (!is_image_name(entry.path()) || !entry.is_regular_file(gone)) continue;
      now.size = entry.file_size(gone);
      if (!gone) now.time = entry.last_write_time(gone);
      if (gone) continue;
      now.seen = true;
      const std::string name = entry.path().string();
      const auto before = looks_.find(name);
      if (before == looks_.end() || !before->second.same(now)) {
        looks_[name] = now;
        continue;
      }
      before->second.seen = true;
      if (!before->second.taken) whole.push_back(name);
      before->second.taken = true;
    }
    for (auto it = looks_.begin(); it != looks_.end();) it = it->second.seen ? std::next(it) : looks_.erase(it);
    std::sort(whole.begin(), whole.end());
    return whole;
  }

 private:
  fs::path path_;
  std::map<std::string, Look> looks_;
};

// Answers in the order in which the files were given.
class Printer {
 public:
  void add(std::string file, std::future<rd::Classes> classes) {
    waiting_.push_back({std::move(file), std::move(classes)});
  }

  void fail(const std::string& why) {
    ++num_failed_;
    std::fprintf(stderr, "error: %s\n", why.c_str());
  }

  bool empty() const { return waiting_.empty(); }
  long num_failed() const { return num_failed_; }

  void print_first() {
    Waiting first = std::move(waiting_.front());
    waiting_.pop_front();
    print(first);
  }

  void print_ready() {
    while (!empty() && waiting_.front().classes.wait_for(std::chrono::seconds(0)) == std::future_status::ready) {
      print_first();
    }
  }

 private:
  struct Waiting {
    std::string file;
    std::future<rd::Classes> classes;
  };

  void print(Waiting& first) {
    try {
      const rd::Class best = first.classes.get().at(0);
      std::printf("%s\t%.4f\t%d\t%s\n", first.file.c_str(), static_cast<double>(best.probability), best.index,
                  best.label.c_str());
      std::fflush(stdout);  // the reader of a pipe wants the line now
    } catch (const rd::Error& error) {
      fail(first.file + ": " + error.what());
    }
  }

  std::deque<Waiting> waiting_;
  long num_failed_ = 0;
};

// One answer has to come first where the queue is full.
void submit(rd::Batcher& batcher, Printer& printer, const std::string& file, const rd::Image& image) {
  for (;;) {
    try {
      printer.add(file, batcher.submit(image, 1));
      return;
    } catch (const rd::Error& error) {
      if (error.status() != RD_BUSY || printer.empty()) throw;
      printer.print_first();
    }
  }
}

int watch(const example::Arguments& arguments) {
  if (arguments.rest.size() != 2) throw example::UsageError("a bundle and a folder are needed");
  const fs::path path = arguments.rest[1];
  if (!fs::is_directory(path)) throw example::UsageError(path.string() + ": no such folder");
  const std::chrono::milliseconds pause(arguments.number("--poll-ms", 200, 1, 60000));
  rd::OpenOptions options;
  options.backends = arguments.text("--backends");
  rd::BatcherOptions batching;
  batching.max_batch = arguments.number("--max-batch", 8, 1, 1024);
  batching.max_delay = std::chrono::milliseconds(arguments.number("--max-delay-ms", 5, 0, 60000));
  batching.capacity = arguments.number("--capacity", 256, 1, 1 << 20);
  const rd::Engine engine = rd::Engine::open(arguments.rest[0], options);
  rd::Batcher batcher = engine.batcher(batching);
  std::signal(SIGINT, ask_to_stop);
  std::signal(SIGTERM, ask_to_stop);
  std::fprintf(stderr, "watching %s with %s on %s\n", path.c_str(), engine.info().net.c_str(),
               engine.info().backend.c_str());

  Folder folder(path);
  Printer printer;
  do {
    for (const std::string& file : folder.settled()) {
      if (stop_asked) break;
      try {
        const rd::Pixels pixels = rd::Pixels::decode_file(file);
        submit(batcher, printer, file, pixels.image());
      } catch (const rd::Error& error) {
        printer.fail(error.what());
      }
      printer.print_ready();
    }
    while (!printer.empty()) printer.print_first();
    if (arguments.has("--once") && !folder.unsettled()) break;
    for (auto left = pause; left.count() > 0 && !stop_asked;) {  // in short sleeps, so that Ctrl-C is heard soon
      const auto nap = std::min(left, std::chrono::milliseconds(50));
      std::this_thread::sleep_for(nap);
      left -= nap;
    }
  } while (!stop_asked);
  const auto stats = batcher.stats();
  std::fprintf(stderr, "%llu images in %llu batches\n", static_cast<unsigned long long>(stats.num_requests),
               static_cast<unsigned long long>(stats.num_batches));
  return arguments.has("--once") && printer.num_failed() != 0 ? kExitBadInput : kExitDone;
}

}  // namespace

int main(int argc, char** argv) {
  return example::run(argc, argv, kUsage, {"--poll-ms", "--max-batch", "--max-delay-ms", "--capacity", "--backends"},
                      {"--once"}, watch);
}
