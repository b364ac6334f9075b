// What every example's main() does: arguments, --help, and an error as one message and an exit code.
#ifndef RESNET_DEPLOY_EXAMPLES_EXAMPLE_MAIN_HPP
#define RESNET_DEPLOY_EXAMPLES_EXAMPLE_MAIN_HPP

#include <cstdio>
#include <exception>
#include <map>
#include <new>
#include <resnet_deploy/engine.hpp>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "exit_code.h"

namespace example {

struct UsageError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// The command line, taken apart: --name VALUE, --flag, and the rest.
class Arguments {
 public:
  Arguments(int argc, char** argv, const std::set<std::string>& with_value, const std::set<std::string>& flags) {
    for (int i = 1; i < argc; ++i) {
      const std::string word = argv[i];
      if (word.size() < 2 || word[0] != '-') {
        rest.push_back(word);
      } else if (flags.count(word) != 0) {
        values_[word] = "";
      } else if (with_value.count(word) == 0) {
        throw UsageError("unknown option " + word);
      } else if (i + 1 == argc) {
        throw UsageError(word + " needs a value");
      } else {
        values_[word] = argv[++i];
      }
    }
  }

  bool has(const std::string& name) const { return values_.count(name) != 0; }

  std::string text(const std::string& name, const std::string& otherwise = "") const {
    const auto found = values_.find(name);
    return found == values_.end() ? otherwise : found->second;
  }

  int number(const std::string& name, int otherwise, int least, int most) const {
    if (!has(name)) return otherwise;
    const std::string given = text(name);
    std::size_t used = 0;
    int value = least - 1;
    try {
      value = std::stoi(given, &used);
    } catch (const std::exception&) {
      used = 0;  // no number, or one too large for int
    }
    if (used == 0 || used != given.size() || value < least || value > most) {
      throw UsageError(name + " is \"" + given + "\", a number from " + std::to_string(least) + " to " +
                       std::to_string(most) + " was expected");
    }
    return value;
  }

  std::vector<std::string> rest;

 private:
  std::map<std::string, std::string> values_;
};

// Results that did not reach a full disk or a closed pipe are an error, whatever `code` says.
inline int after_output(int code) {
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return code;
  std::fputs("error: the results could not be written to the standard output; is the disk full?\n", stderr);
  return kExitFailed;
}

// Of the usage only its first line: the message should be seen.
inline void complain(const char* message, const char* usage) {
  const std::string text(usage);
  std::fprintf(stderr, "error: %s\n%s (--help lists the options)\n", message, text.substr(0, text.find('\n')).c_str());
}

// Runs `body(arguments)`, which returns an exit code.
template <class Body>
int run(int argc, char** argv, const char* usage, const std::set<std::string>& with_value,
        const std::set<std::string>& flags, Body body) {
  for (int i = 1; i < argc; ++i) {
    if (std::string(argv[i]) == "--help" || std::string(argv[i]) == "-h") {
      std::fputs(usage, stdout);
      return kExitDone;
    }
  }
  try {
    return after_output(body(Arguments(argc, argv, with_value, flags)));
  } catch (const UsageError& error) {
    complain(error.what(), usage);
    return kExitBadInput;
  } catch (const resnet_deploy::Error& error) {
    std::fprintf(stderr, "error: %s (%s)\n", error.what(), rd_status_name(error.status()));
    return exit_code_of(error.status());
  } catch (const std::bad_alloc&) {
    std::fputs("error: out of memory; use smaller images, fewer at once\n", stderr);
    return kExitFailed;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return kExitFailed;
  }
}

}  // namespace example

#endif
