// Image files to their most probable classes, as a table or as JSON.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <resnet_deploy/engine.hpp>
#include <string>
#include <vector>

#include "example_main.hpp"

namespace rd = resnet_deploy;

namespace {

constexpr char kUsage[] =
    "usage: classify [options] BUNDLE IMAGE...\n"
    "Prints the most probable classes of each JPEG or PNG file.\n"
    "  -k N             classes an image (5)\n"
    "  --batch N        images at once (8)\n"
    "  --backends LIST  which to try, e.g. tensorrt_rtx,openvino (the bundle's order)\n"
    "  --threads N      processor threads of a CPU runtime; 0: its own choice (0)\n"
    "  --json           one JSON document instead of a table\n"
    "Exit codes: 0 done, 2 wrong usage or input, 3 missing dependency or hardware, 4 another error.\n";

struct Answer {
  std::string file;
  std::string error;  // empty where there are classes
  rd::Classes classes;
};

std::string json_string(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (static_cast<unsigned char>(c) >= 0x20) {
      out += c;
    } else {
      char escaped[8];
      std::snprintf(escaped, sizeof escaped, "\\u%04x", static_cast<unsigned>(c));
      out += escaped;
    }
  }
  return out + '"';
}

void print_json(const rd::Engine& engine, const std::vector<Answer>& answers) {
  std::printf("{\"net\": %s, \"backend\": %s, \"images\": [", json_string(engine.info().net).c_str(),
              json_string(engine.info().backend).c_str());
  const char* between = "\n";
  for (const Answer& answer : answers) {
    std::printf("%s {\"file\": %s", between, json_string(answer.file).c_str());
    if (!answer.error.empty()) std::printf(", \"error\": %s", json_string(answer.error).c_str());
    std::printf(", \"classes\": [");
    for (std::size_t i = 0; i < answer.classes.size(); ++i) {
      const rd::Class& best = answer.classes[i];
      std::printf("%s{\"index\": %d, \"probability\": %.9g, \"label\": %s}", i == 0 ? "" : ", ", best.index,
                  static_cast<double>(best.probability), json_string(best.label).c_str());
    }
    std::printf("]}");
    between = ",\n";
  }
  std::printf("\n]}\n");
}

void print_table(const std::vector<Answer>& answers) {
  for (const Answer& answer : answers) {
    if (!answer.error.empty()) continue;  // said on stderr
    std::printf("%s\n", answer.file.c_str());
    for (const rd::Class& best : answer.classes) {
      std::printf("  %6.2f %%  %5d  %s\n", 100.0 * static_cast<double>(best.probability), best.index,
                  best.label.c_str());
    }
  }
}

// One batch: what can not be decoded is left out of it and said.
void classify_files(rd::Session& session, std::vector<Answer>& answers, std::size_t begin, std::size_t end, int k) {
  std::vector<rd::Pixels> pixels;  // they own what the images point to
  std::vector<rd::Image> images;
  std::vector<std::size_t> whose;
  for (std::size_t i = begin; i < end; ++i) {
    try {
      pixels.push_back(rd::Pixels::decode_file(answers[i].file));
      images.push_back(pixels.back().image());
      whose.push_back(i);
    } catch (const rd::Error& error) {
      answers[i].error = error.what();
      std::fprintf(stderr, "error: %s\n", error.what());
    }
  }
  if (images.empty()) return;
  const auto best = session.classify(images, k);
  for (std::size_t i = 0; i < whose.size(); ++i) answers[whose[i]].classes = best[i];
}

int classify(const example::Arguments& arguments) {
  if (arguments.rest.size() < 2) throw example::UsageError("a bundle and at least one image are needed");
  const int batch = arguments.number("--batch", 8, 1, 1024);
  const int wanted = arguments.number("-k", 5, 1, 100000);
  rd::OpenOptions options;
  options.backends = arguments.text("--backends");
  options.num_threads = arguments.number("--threads", 0, 0, 1024);

  const rd::Engine engine = rd::Engine::open(arguments.rest[0], options);
  const int k = std::min<int>(wanted, engine.info().output_size);
  const int most = engine.info().max_batch;
  rd::Session session = engine.session(most > 0 ? std::min(batch, most) : batch);

  std::vector<Answer> answers;
  for (std::size_t i = 1; i < arguments.rest.size(); ++i) answers.push_back({arguments.rest[i], "", {}});
  const auto step = static_cast<std::size_t>(batch);
  for (std::size_t begin = 0; begin < answers.size(); begin += step) {
    classify_files(session, answers, begin, std::min(begin + step, answers.size()), k);
  }
  arguments.has("--json") ? print_json(engine, answers) : print_table(answers);
  const bool all = std::all_of(answers.begin(), answers.end(), [](const Answer& a) { return a.error.empty(); });
  return all ? kExitDone : kExitBadInput;
}

}  // namespace

int main(int argc, char** argv) {
  return example::run(argc, argv, kUsage, {"-k", "--batch", "--backends", "--threads"}, {"--json"}, classify);
}
