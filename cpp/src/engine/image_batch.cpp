#include "engine/image_batch.h"

#include <algorithm>
#include <map>
#include <new>
#include <utility>

#include "error.h"
#include "pixels/graph_size.h"
#include "pixels/image.h"
#include "pixels/preprocess.h"

namespace resnet_deploy {

namespace {

constexpr std::align_val_t kAlignment{64};

}  // namespace

void TensorBuffer::Free::operator()(std::byte* bytes) const noexcept { ::operator delete(bytes, kAlignment); }

std::byte* TensorBuffer::reserve(std::size_t num_bytes) {
  if (num_bytes > capacity_) {
    bytes_.reset();
    capacity_ = 0;
    bytes_.reset(static_cast<std::byte*>(::operator new(num_bytes, kAlignment)));
    capacity_ = num_bytes;
  }
  return bytes_.get();
}

Dims InputLayout::image_dims(const rd_image& image) const {
  const auto view = checked_view(image);
  if (!takes_pixels_) return prepared_dims(1);
  check_size_for_graph(view.height, view.width, spec_);
  return {1, view.height, view.width, 3};
}

std::size_t InputLayout::num_bytes(const Dims& dims) const {
  std::size_t size = takes_pixels_ ? 1 : sizeof(float);
  for (const auto side : dims) size *= static_cast<std::size_t>(side);
  return size;
}

void InputLayout::prepare(const rd_image& image, std::byte* out) const {
  if (!takes_pixels_) return preprocess(spec_, image, reinterpret_cast<float*>(out));
  const auto view = checked_view(image);
  auto* row = reinterpret_cast<std::uint8_t*>(out);
  for (std::int32_t y = 0; y < view.height; ++y, row += 3 * static_cast<std::size_t>(view.width)) {
    copy_rgb(view, y, 0, view.width, row);
  }
}

std::vector<std::vector<std::size_t>> InputLayout::split(const rd_image* images, std::size_t num_images,
                                                         std::size_t max_batch) const {
  std::vector<std::vector<std::size_t>> batches;
  std::map<Dims, std::size_t> open;  // the batch of each shape that has room
  for (std::size_t i = 0; i < num_images; ++i) {
    const auto dims = image_dims(images[i]);
    auto found = open.find(dims);
    if (found == open.end() || batches[found->second].size() == max_batch) {
      found = open.insert_or_assign(dims, batches.size()).first;
      batches.emplace_back();
    }
    batches[found->second].push_back(i);
  }
  return batches;
}

}  // namespace resnet_deploy
