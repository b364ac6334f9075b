// An engine over the fake backend, and what it must answer.
#ifndef RESNET_DEPLOY_TESTS_TINY_ENGINE_H
#define RESNET_DEPLOY_TESTS_TINY_ENGINE_H

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "bundle_writer.h"
#include "resnet_deploy/engine.hpp"
#include "temporary_folder.h"

namespace resnet_deploy::test {

// Opens what `writer` writes; the folder may go afterwards.
Engine open_tiny(const BundleWriter& writer, OpenOptions options = {});

struct Picture {
  Picture(std::int32_t picture_width, std::int32_t picture_height, std::uint32_t seed)
      : width(picture_width), pixels(picture(picture_width, picture_height, seed)) {}
  Image image() const { return Image(view(pixels, width)); }

  std::int32_t width;
  std::vector<std::uint8_t> pixels;
};

// Softmax and order by a plain sort: the oracle of classify.
Classes expected_classes(const std::vector<float>& logits, std::size_t k);
void check_equal(const Classes& found, const Classes& expected);

// The message of the resnet_deploy::Error that a call throws, its status checked.
template <class Call>
std::string refusal_of(rd_status expected, Call&& call) {
  try {
    call();
  } catch (const Error& error) {
    CHECK_MESSAGE(error.status() == expected, std::string(error.status_name()), ": ", std::string(error.what()));
    return error.what();
  }
  FAIL_CHECK("nothing was refused");
  return "";
}

inline void says(const std::string& message, const std::string& part) {
  CHECK_MESSAGE(message.find(part) != std::string::npos, message, " | lacks: ", part);
}

}  // namespace resnet_deploy::test

#endif
