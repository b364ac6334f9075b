// How long each stage of opening took, told to the caller's log.
#ifndef RESNET_DEPLOY_STAGE_CLOCK_H
#define RESNET_DEPLOY_STAGE_CLOCK_H

#include <chrono>
#include <string>

#include "log.h"

namespace resnet_deploy {

class StageClock {
 public:
  explicit StageClock(const Log& log) : log_(log), last_(std::chrono::steady_clock::now()) {}

  // The stage that began with the last lap has ended.
  void lap(const std::string& stage) {
    const auto now = std::chrono::steady_clock::now();
    const auto us = std::chrono::duration_cast<std::chrono::microseconds>(now - last_).count();
    log_.write(RD_LOG_DEBUG, "opening: " + stage + ": " + std::to_string(us) + " us");
    last_ = now;
  }

 private:
  const Log& log_;
  std::chrono::steady_clock::time_point last_;
};

}  // namespace resnet_deploy

#endif
