// Raw frames from a pipe, as `ffmpeg -i clip.mp4 -f rawvideo -pix_fmt bgr24 -` writes them, or from a file.
//
// A frame in memory goes to the SDK as a pointer, a width, a height and the bytes of a row; an OpenCV user passes
// cv::Mat's data, cols, rows and step in the same way. Frames are prepared here while the network runs those before.
#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <deque>
#include <future>
#include <map>
#include <memory>
#include <resnet_deploy/engine.hpp>
#include <string>
#include <vector>

#include "example_main.hpp"

namespace rd = resnet_deploy;

namespace {

constexpr char kUsage[] =
    "usage: raw_frames --size WxH [options] BUNDLE [FILE]\n"
    "Classifies raw frames from FILE, or from standard input; prints frame, probability, index and label of each.\n"
    "  --size WxH       of a frame, in pixels\n"
    "  --format NAME    rgb, bgr, gray, rgba or bgra, 8 bits a channel (rgb)\n"
    "  --in-flight N    frames that the network may be behind (3)\n"
    "  --every N        take one frame of N (1)\n"
    "  --backends LIST  which to try, e.g. tensorrt_rtx,openvino (the bundle's order)\n"
    "Exit codes: 0 done, 2 wrong usage or input, 3 missing dependency or hardware, 4 another error.\n";

struct FrameFormat {
  rd_pixel_format format;
  std::size_t bytes_a_pixel;
};

const std::map<std::string, FrameFormat> kFormats = {
    {"rgb", {RD_RGB8, 3}},   {"bgr", {RD_BGR8, 3}},   {"gray", {RD_GRAY8, 1}},
    {"rgba", {RD_RGBA8, 4}}, {"bgra", {RD_BGRA8, 4}},
};

struct CloseFile {
  void operator()(std::FILE* file) const {
    if (file != stdin) std::fclose(file);
  }
};
using File = std::unique_ptr<std::FILE, CloseFile>;

File open_frames(const std::vector<std::string>& rest) {
  if (rest.size() < 2 || rest[1] == "-") return File(stdin);
  File file(std::fopen(rest[1].c_str(), "rb"));
  if (!file) throw example::UsageError(rest[1] + ": " + std::strerror(errno) + "; raw frames were expected");
  return file;
}

void parse_size(const std::string& text, int& width_px, int& height_px) {
  char end = '\0';
  if (std::sscanf(text.c_str(), "%5dx%5d%c", &width_px, &height_px, &end) != 2 || width_px < 1 || height_px < 1) {
    const std::string got = text.empty() ? "--size is missing" : "--size is \"" + text + "\"";
    throw example::UsageError(got + ", WxH such as 1280x720 was expected");
  }
}

struct Waiting {
  long frame;
  std::future<std::vector<rd::Classes>> classes;
};

void print_first(std::deque<Waiting>& waiting) {
  const rd::Class best = waiting.front().classes.get().at(0).at(0);
  std::printf("%ld\t%.4f\t%d\t%s\n", waiting.front().frame, static_cast<double>(best.probability), best.index,
              best.label.c_str());
  waiting.pop_front();
}

int classify_frames(const example::Arguments& arguments) {
  if (arguments.rest.empty() || arguments.rest.size() > 2) {
    throw example::UsageError("a bundle and at most one file are needed");
  }
  int width_px = 0;
  int height_px = 0;
  parse_size(arguments.text("--size"), width_px, height_px);
  const auto format = kFormats.find(arguments.text("--format", "rgb"));
  if (format == kFormats.end()) {
    throw example::UsageError("--format is \"" + arguments.text("--format") +
                              "\", one of rgb, bgr, gray, rgba, bgra was expected");
  }
  const auto in_flight = static_cast<std::size_t>(arguments.number("--in-flight", 3, 1, 64));
  const long every = arguments.number("--every", 1, 1, 1000000);
  const File input = open_frames(arguments.rest);
  rd::OpenOptions options;
  options.backends = arguments.text("--backends");
  const rd::Engine engine = rd::Engine::open(arguments.rest[0], options);
  rd::Session session = engine.session(1);

  const std::size_t row_bytes = static_cast<std::size_t>(width_px) * format->second.bytes_a_pixel;
  std::vector<std::uint8_t> frame(row_bytes * static_cast<std::size_t>(height_px));
  const rd::Image image(frame.data(), width_px, height_px, row_bytes, format->second.format);

  std::deque<Waiting> waiting;
  long num_read = 0;
  long num_classified = 0;
  std::size_t got = 0;
  const auto began = std::chrono::steady_clock::now();
  while ((got = std::fread(frame.data(), 1, frame.size(), input.get())) == frame.size()) {
    const long number = num_read++;
    if (number % every != 0) continue;
    if (waiting.size() == in_flight) print_first(waiting);
    waiting.push_back({number, session.submit({image}, 1)});  // the frame's memory may be used again from here on
    ++num_classified;
  }
  const int failure = std::ferror(input.get()) != 0 ? errno : 0;  // before anything else sets it
  while (!waiting.empty()) print_first(waiting);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
  std::fprintf(stderr, "%ld frames in %.2f s, %.1f a second, %s\n", num_classified, took.count(),
               took.count() > 0.0 ? static_cast<double>(num_classified) / took.count() : 0.0,
               engine.info().backend.c_str());
  if (failure != 0) {
    std::fprintf(stderr, "error: the frames can not be read: %s\n", std::strerror(failure));
    return kExitBadInput;
  }
  if (num_read == 0 && got == 0) {
    std::fputs("error: there is no frame; did the program that writes them fail?\n", stderr);
    return kExitBadInput;
  }
  if (got != 0) {
    std::fprintf(stderr, "error: the last frame is cut off: %zu bytes of %zu; are --size and --format right?\n", got,
                 frame.size());
    return kExitBadInput;
  }
  return kExitDone;
}

}  // namespace

int main(int argc, char** argv) {
  return example::run(argc, argv, kUsage, {"--size", "--format", "--in-flight", "--every", "--backends"}, {},
                      classify_frames);
}
