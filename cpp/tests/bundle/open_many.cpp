// open_many LIST [BACKENDS [PUBLIC_KEY.pem]]: opens every bundle that a line of the file LIST names, and prints one
// line for each: path, status, first line of the message, with tabs between. BACKENDS is "fake" where it is not given;
// that one refuses every real network at the last step, with RD_ENGINE_REFUSED, and so shows that all before it passed.
// Exit status: 0 where every bundle got a status, 2 where LIST can not be read.
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>

#include "resnet_deploy/c_api.h"

namespace {

std::string first_line(const char* text) {
  std::string line(text);
  for (char& c : line) c = c == '\t' ? ' ' : c;
  return line.substr(0, line.find('\n'));
}

// For the message of a bundle of which no model opens, the reasons are what matters.
std::string reason(rd_status status) {
  std::string message = status == RD_OK ? "" : rd_last_error();
  const auto end = message.find(":\n");
  return first_line(end == std::string::npos ? message.c_str() : message.c_str() + end + 2);
}

}  // namespace

int main(int argc, char** argv) {
  std::ifstream list(argc > 1 ? argv[1] : "");
  if (!list) {
    std::cerr << "usage: open_many LIST [BACKENDS [PUBLIC_KEY.pem]]\n";
    return 2;
  }
  std::string key;
  if (argc > 3) {
    std::ifstream stream(argv[3]);
    key.assign(std::istreambuf_iterator<char>(stream), {});
  }
  rd_open_options options;
  rd_open_options_init(&options);
  options.backends = argc > 2 ? argv[2] : "fake";
  options.public_key_pem = key.empty() ? nullptr : key.c_str();
  for (std::string path; std::getline(list, path);) {
    if (path.empty()) continue;
    rd_engine* engine = nullptr;
    const rd_status status = rd_engine_open(path.c_str(), &options, &engine);
    rd_engine_close(engine);
    std::cout << path << '\t' << rd_status_name(status) << '\t' << reason(status) << std::endl;
  }
  return 0;
}
