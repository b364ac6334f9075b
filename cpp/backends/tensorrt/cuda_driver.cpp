#include "cuda_driver.h"

#include <dlfcn.h>

#include "failure.h"

#define RD_TEXT(name) #name
#define RD_SYMBOL(name) RD_TEXT(name)

namespace resnet_deploy::backend {
namespace {

constexpr const char* kRemedy =
    "; install NVIDIA's driver and see that nvidia-smi lists a GPU, or open a bundle that has an ONNX model, too";

template <typename Function>
void load(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  if (function == nullptr)
    throw Failure(RD_NO_DRIVER, std::string("NVIDIA's driver is too old: it has no ") + name + kRemedy);
}

}  // namespace

CudaDriver::CudaDriver() {
  void* library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);  // never closed: a driver keeps threads
  if (library == nullptr) {
    const char* reason = dlerror();
    throw Failure(RD_NO_DRIVER,
                  std::string("no NVIDIA driver: ") + (reason == nullptr ? "libcuda.so.1" : reason) + kRemedy);
  }
#define RD_LOAD(name) load(library, RD_SYMBOL(name), functions_.name);
  RD_CUDA_FUNCTIONS(RD_LOAD)
#undef RD_LOAD
  const CUresult result = functions_.cuInit(0);
  if (result != CUDA_SUCCESS) {
    throw Failure(RD_NO_DRIVER, "no GPU: cuInit of " + version() + "'s driver gives " + name_of(result) + kRemedy);
  }
}

const CudaDriver& CudaDriver::get() {
  static const CudaDriver* const driver = new CudaDriver;  // as its library, never freed
  return *driver;
}

std::string CudaDriver::version() const {
  int number = 0;
  if (functions_.cuDriverGetVersion(&number) != CUDA_SUCCESS) return "CUDA of an unknown version";
  return "CUDA " + std::to_string(number / 1000) + "." + std::to_string(number % 1000 / 10);
}

std::string CudaDriver::name_of(CUresult result) const {
  const char* name = nullptr;
  if (functions_.cuGetErrorName(result, &name) == CUDA_SUCCESS && name != nullptr) return name;
  return "CUDA error " + std::to_string(static_cast<int>(result));
}

void CudaDriver::check(CUresult result, const std::string& what, rd_status status) const {
  if (result == CUDA_SUCCESS) return;
  throw Failure(result == CUDA_ERROR_OUT_OF_MEMORY ? RD_OUT_OF_MEMORY : status, what + ": " + name_of(result));
}

CudaDevice::CudaDevice(int ordinal) {
  const CudaDriver& driver = CudaDriver::get();
  const CudaFunctions& cuda = driver.call();
  int count = 0;
  driver.check(cuda.cuDeviceGetCount(&count), "cuDeviceGetCount", RD_NO_DRIVER);
  if (count == 0) throw Failure(RD_NO_DRIVER, std::string("no GPU: NVIDIA's driver lists none") + kRemedy);
  if (ordinal < 0 || ordinal >= count) {
    throw Failure(RD_INVALID_ARGUMENT, "CUDA device " + std::to_string(ordinal) + ", expected 0 to " +
                                           std::to_string(count - 1) + "; set `device` of the open options");
  }
  const std::string what = "CUDA device " + std::to_string(ordinal);
  driver.check(cuda.cuDeviceGet(&device_, ordinal), what, RD_NO_DRIVER);
  char name[256] = "";
  int major = 0;
  int minor = 0;
  driver.check(cuda.cuDeviceGetName(name, sizeof name, device_), what, RD_NO_DRIVER);
  driver.check(cuda.cuDeviceGetAttribute(&major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, device_), what,
               RD_NO_DRIVER);
  driver.check(cuda.cuDeviceGetAttribute(&minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, device_), what,
               RD_NO_DRIVER);
  name_ = name;
  compute_capability_ = major * 10 + minor;
  driver.check(cuda.cuDevicePrimaryCtxRetain(&context_, device_), name_ + " can not be used", RD_NO_DRIVER);
}

CudaDevice::~CudaDevice() { CudaDriver::get().call().cuDevicePrimaryCtxRelease(device_); }

CurrentDevice::CurrentDevice(const CudaDevice& device) {
  const CudaDriver& driver = CudaDriver::get();
  driver.check(driver.call().cuCtxPushCurrent(device.context()), device.name() + " can not be made current");
}

CurrentDevice::~CurrentDevice() {
  CUcontext ignored = nullptr;
  CudaDriver::get().call().cuCtxPopCurrent(&ignored);
}

}  // namespace resnet_deploy::backend
