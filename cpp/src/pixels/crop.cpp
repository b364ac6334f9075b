#include "pixels/crop.h"

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "error.h"

namespace resnet_deploy {
namespace {

// Half of what is cut off, a half rounded to even.
int64_t crop_offset(int64_t length, int64_t crop) {
  const int64_t cut = length - crop;
  const int64_t half = cut / 2;
  return cut % 2 != 0 && half % 2 != 0 ? half + 1 : half;
}

void refuse_small(const rd_preprocess_spec& spec, const ImageView& image) {
  throw Error(RD_BAD_IMAGE, "image is " + std::to_string(image.width) + "x" + std::to_string(image.height) +
                                " px, the network's input " + std::to_string(spec.width_px) + "x" +
                                std::to_string(spec.height_px) +
                                " px, and its preprocessing does not resize; give larger images, or a preprocessing "
                                "with resize_shorter_px");
}

void crop_only(const rd_preprocess_spec& spec, const ImageView& image, const RowSink& sink) {
  if (image.height < spec.height_px || image.width < spec.width_px) refuse_small(spec, image);
  const int32_t top = static_cast<int32_t>(crop_offset(image.height, spec.height_px));
  const int32_t left = static_cast<int32_t>(crop_offset(image.width, spec.width_px));
  std::vector<uint8_t> row(3 * static_cast<size_t>(spec.width_px));
  for (int32_t y = 0; y < spec.height_px; ++y) {
    copy_rgb(image, top + y, left, spec.width_px, row.data());
    sink(y, row.data());
  }
}

// Input rows as RGB with the margin that a pass may read: in place where that is within the image, else copied.
class RowReader {
 public:
  RowReader(const ImageView& image, int32_t num_taps)
      : image_(image),
        in_place_(image.format == RD_RGB8 && image.width >= num_taps &&
                  3 * static_cast<size_t>(image.width) >= kReadMargin),
        copy_bytes_(3 * static_cast<size_t>(std::max(image.width, num_taps)) + kReadMargin),
        copies_(copy_bytes_ * kRowsAtOnce) {}

  const uint8_t* row(int32_t y, int32_t slot) {
    if (in_place_ && y + 1 < image_.height) return image_.row(y);
    uint8_t* copy = copies_.data() + copy_bytes_ * static_cast<size_t>(slot);
    copy_rgb(image_, y, 0, image_.width, copy);
    return copy;
  }

 private:
  ImageView image_;
  bool in_place_;
  size_t copy_bytes_;
  std::vector<uint8_t> copies_;
};

size_t row_bytes_between(int32_t width) {  // one pixel more, because a pass writes behind the last one
  return (3 * (static_cast<size_t>(width) + 1) + kRowMultiple) / kRowMultiple * kRowMultiple;
}

// Rows `begin` to `end` of the image after the horizontal pass, `stride` bytes apart.
std::unique_ptr<uint8_t[]> horizontal_pass(const ImageView& image, const AxisWeights& columns, int32_t begin,
                                           int32_t end, size_t stride, const Passes& passes) {
  // Not initialised, for speed: every byte that is used is written.
  std::unique_ptr<uint8_t[]> between(new uint8_t[stride * static_cast<size_t>(end - begin)]);
  RowReader reader(image, columns.num_taps);
  std::vector<uint8_t> unwanted(stride);
  for (int32_t y = begin; y < end; y += kRowsAtOnce) {
    const uint8_t* in[kRowsAtOnce];
    uint8_t* out[kRowsAtOnce];
    for (int32_t slot = 0; slot < kRowsAtOnce; ++slot) {
      const bool is_wanted = y + slot < end;
      in[slot] = is_wanted ? reader.row(y + slot, slot) : in[0];
      out[slot] = is_wanted ? between.get() + stride * static_cast<size_t>(y + slot - begin) : unwanted.data();
    }
    passes.horizontal(columns, in, out);
  }
  return between;
}

}  // namespace

void for_each_crop_row(const rd_preprocess_spec& spec, const ImageView& image, const Passes& passes,
                       const RowSink& sink) {
  const int64_t shorter = std::min(image.width, image.height);
  if (spec.resize_shorter_px == 0 || spec.resize_shorter_px == shorter) return crop_only(spec, image, sink);
  const int64_t width = int64_t{image.width} * spec.resize_shorter_px / shorter;
  const int64_t height = int64_t{image.height} * spec.resize_shorter_px / shorter;
  const AxisWeights columns = axis_weights(image.width, width, crop_offset(width, spec.width_px), spec.width_px);
  const AxisWeights rows = axis_weights(image.height, height, crop_offset(height, spec.height_px), spec.height_px);
  const int32_t begin = *std::min_element(rows.first.begin(), rows.first.end());
  const int32_t end = std::min(image.height, *std::max_element(rows.first.begin(), rows.first.end()) + rows.num_taps);
  const size_t stride = row_bytes_between(spec.width_px);
  const auto between = horizontal_pass(image, columns, begin, end, stride, passes);
  std::vector<uint8_t> out(stride);
  for (int32_t y = 0; y < spec.height_px; ++y) {
    const size_t skip = static_cast<size_t>(rows.first[static_cast<size_t>(y)] - begin);
    passes.vertical(rows.of(y), rows.num_taps, between.get() + stride * skip, stride, stride, out.data());
    sink(y, out.data());
  }
}

}  // namespace resnet_deploy
