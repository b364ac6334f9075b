// How the code of a module fails: it throws a Failure, and the edge turns every exception into a status and a text.
#ifndef RESNET_DEPLOY_BACKENDS_FAILURE_H
#define RESNET_DEPLOY_BACKENDS_FAILURE_H

#include <new>
#include <stdexcept>
#include <string>

#include "backend.h"

namespace resnet_deploy::backend {

class Failure : public std::runtime_error {
 public:
  Failure(rd_status status, const std::string& text) : std::runtime_error(text), status_(status) {}
  rd_status status() const noexcept { return status_; }

 private:
  rd_status status_;
};

// Copies `text`, cut off where it does not fit; `error` may be null.
void put_error(rd_backend_error* error, const char* text) noexcept;

// Does `work` behind the C edge. What is thrown and is no Failure becomes `other`.
template <typename Work>
rd_status guarded(rd_backend_error* error, rd_status other, Work&& work) noexcept {
  try {
    work();
    return RD_OK;
  } catch (const Failure& failure) {
    put_error(error, failure.what());
    return failure.status();
  } catch (const std::bad_alloc&) {
    put_error(error, "out of memory");
    return RD_OUT_OF_MEMORY;
  } catch (const std::exception& failure) {
    put_error(error, failure.what());
    return other;
  } catch (...) {
    put_error(error, "an exception of an unknown type");
    return other;
  }
}

}  // namespace resnet_deploy::backend
#endif
