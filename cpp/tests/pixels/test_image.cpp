#include <doctest/doctest.h>

#include "error.h"
#include "golden.h"
#include "pixels/image.h"
#include "pixels/preprocess.h"

using Bytes = std::vector<uint8_t>;

TEST_CASE("every pixel format gives the crop of the same RGB image") {
  constexpr int32_t kSide = 33;
  const Bytes rgb = golden::noise(3 * kSide * kSide, 1);
  for (const int32_t shorter : {0, 20}) {
    const rd_preprocess_spec spec = golden::spec(16, 18, shorter);
    const auto crop = [&](const Bytes& bytes, rd_pixel_format format) {
      Bytes out(3 * 16 * 18);
      resnet_deploy::crop_pixels(spec, {bytes.data(), kSide, kSide, 0, format}, out.data());
      return out;
    };
    Bytes bgr, rgba, bgra, gray, gray_as_rgb;
    for (size_t i = 0; i < rgb.size(); i += 3) {
      bgr.insert(bgr.end(), {rgb[i + 2], rgb[i + 1], rgb[i]});
      rgba.insert(rgba.end(), {rgb[i], rgb[i + 1], rgb[i + 2], rgb[0]});
      bgra.insert(bgra.end(), {rgb[i + 2], rgb[i + 1], rgb[i], rgb[0]});
      gray.push_back(rgb[i]);
      gray_as_rgb.insert(gray_as_rgb.end(), 3, rgb[i]);
    }
    const Bytes expected = crop(rgb, RD_RGB8);
    CHECK(crop(bgr, RD_BGR8) == expected);
    CHECK(crop(rgba, RD_RGBA8) == expected);
    CHECK(crop(bgra, RD_BGRA8) == expected);
    CHECK(crop(bgr, RD_RGB8) != expected);
    CHECK(crop(gray, RD_GRAY8) == crop(gray_as_rgb, RD_RGB8));
  }
}

TEST_CASE("a view that can not be right is refused by its values") {
  const Bytes bytes(300);
  const auto refused = [&](const rd_image& image, rd_status status, const char* text) {
    CHECK_THROWS_WITH_AS(resnet_deploy::checked_view(image), doctest::Contains(text), resnet_deploy::Error);
    try {
      resnet_deploy::checked_view(image);
    } catch (const resnet_deploy::Error& error) {
      CHECK(error.status() == status);
    }
  };
  refused({nullptr, 10, 10, 0, RD_RGB8}, RD_INVALID_ARGUMENT, "data is NULL");
  refused({bytes.data(), 0, 10, 0, RD_RGB8}, RD_BAD_IMAGE, "0x10 px");
  refused({bytes.data(), 10, -1, 0, RD_RGB8}, RD_BAD_IMAGE, "10x-1 px");
  refused({bytes.data(), 65536, 1, 0, RD_RGB8}, RD_BAD_IMAGE, "65536x1 px; both sides must be 1 to 65535 px");
  refused({bytes.data(), 10, 10, 29, RD_RGB8}, RD_INVALID_ARGUMENT, "stride_bytes is 29, but a row of 10 px has 30");
  refused({bytes.data(), 10, 10, -30, RD_RGB8}, RD_INVALID_ARGUMENT, "stride_bytes is -30");
  refused({bytes.data(), 10, 10, 0, static_cast<rd_pixel_format>(7)}, RD_INVALID_ARGUMENT, "pixel format 7 is unknown");
  CHECK(resnet_deploy::checked_view({bytes.data(), 10, 10, 0, RD_RGB8}).stride == 30);
}
