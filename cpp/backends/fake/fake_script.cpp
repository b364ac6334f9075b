#include "fake_script.h"

#include <charconv>
#include <string>

#include "failure.h"

namespace resnet_deploy::backend {

namespace {

constexpr std::string_view kMagic = "fake:\n";

std::int64_t number(std::string_view key, std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 0) {
    throw Failure(RD_ENGINE_REFUSED, "fake model: " + std::string(key) + " is \"" + std::string(text) +
                                         "\", expected a number from 0; mend the test's script");
  }
  return value;
}

void set_field(FakeScript& script, std::string_view key, std::int64_t value) {
  if (key == "open") {
    script.open = static_cast<rd_status>(value);
  } else if (key == "session") {
    script.session = static_cast<rd_status>(value);
  } else if (key == "run") {
    script.run = static_cast<rd_status>(value);
  } else if (key == "run_from") {
    script.run_from = value;
  } else if (key == "delay_us") {
    script.delay_us = value;
  } else if (key == "max_batch") {
    script.max_batch = static_cast<std::int32_t>(value);
  } else if (key == "nan") {
    script.nan = value != 0;
  } else if (key == "device_memory") {
    script.device_memory = value != 0;
  } else if (key == "silent") {
    script.silent = value != 0;
  } else {
    throw Failure(RD_ENGINE_REFUSED, "fake model: unknown key \"" + std::string(key) + "\"; mend the test's script");
  }
}

}  // namespace

FakeScript parse_fake_script(std::string_view file) {
  if (file.substr(0, kMagic.size()) != kMagic) {
    throw Failure(RD_ENGINE_REFUSED,
                  "the fake backend computes nothing that a network does; it takes only files that begin "
                  "with \"fake:\". Name another backend");
  }
  file.remove_prefix(kMagic.size());
  FakeScript script;
  while (!file.empty()) {
    const auto end = file.find('\n');
    const auto line = file.substr(0, end);
    file.remove_prefix(end == std::string_view::npos ? file.size() : end + 1);
    const auto equals = line.find('=');
    if (equals == std::string_view::npos) {
      throw Failure(RD_ENGINE_REFUSED, "fake model: a line without '='; mend the test's script");
    }
    set_field(script, line.substr(0, equals), number(line.substr(0, equals), line.substr(equals + 1)));
  }
  return script;
}

}  // namespace resnet_deploy::backend
