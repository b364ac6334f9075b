// The message of the Error that a call throws, its status checked.
#ifndef RESNET_DEPLOY_TESTS_REFUSAL_H
#define RESNET_DEPLOY_TESTS_REFUSAL_H

#include <doctest/doctest.h>

#include <string>

#include "error.h"

namespace resnet_deploy::test {

template <class Call>
std::string refusal(rd_status expected, Call&& call) {
  try {
    call();
  } catch (const Error& error) {
    CHECK_MESSAGE(error.status() == expected, std::string(error.what()));
    return error.what();
  }
  FAIL_CHECK("nothing was refused");
  return "";
}

}  // namespace resnet_deploy::test

#endif
