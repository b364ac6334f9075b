#include <doctest/doctest.h>

#include <string>

#include "bundle/json_document.h"
#include "bundle/json_fields.h"
#include "error.h"
#include "printable.h"
#include "refusal.h"

using namespace resnet_deploy;
using resnet_deploy::test::refusal;

TEST_CASE("JSON that is not strict is refused with a reason") {
  const auto reason = [](const std::string& text) { return refusal(RD_BAD_MANIFEST, [&] { parse_json(text, "it"); }); };
  CHECK(reason("{\"a\": 1, \"a\": 2}").find("\"a\" comes twice") != std::string::npos);
  CHECK(reason("{\"x\": {\"a\": 1, \"a\": 2}}").find("\"a\" comes twice") != std::string::npos);
  CHECK(reason("{\"a\": NaN}").find("not JSON") != std::string::npos);
  CHECK(reason("{\"a\": 1e999}").find("not JSON") != std::string::npos);
  CHECK(reason("{\"a\": 1} x").find("not JSON") != std::string::npos);
  CHECK(reason("{\"a\": \"\xff\"}").find("not JSON") != std::string::npos);
  CHECK(reason("{\"a\": \"b\\u0000c\"}").find("control character") != std::string::npos);
  CHECK(reason("{\"a\\u0007\": 1}").find("control character") != std::string::npos);
  CHECK(reason("\xef\xbb\xbf{}").find("byte order mark") != std::string::npos);
  CHECK(reason(std::string("{}\0", 3)).find("NUL byte") != std::string::npos);
  CHECK(reason(std::string("{}\0{\"a\": 1}", 11)).find("NUL byte") != std::string::npos);
  CHECK(reason("{\"a\": \"b\x7f\"}").find("control character") != std::string::npos);
  CHECK(reason("").find("not JSON") != std::string::npos);
  CHECK(reason(std::string(kMaxJsonBytes + 1, ' ')).find("at most 4194304") != std::string::npos);
}

TEST_CASE("depth is bounded before memory or stack is") {
  const auto nested = [](int depth) {
    return std::string(static_cast<std::size_t>(depth), '[') + std::string(static_cast<std::size_t>(depth), ']');
  };
  CHECK(parse_json(nested(kMaxJsonDepth), "it").is_array());
  CHECK(refusal(RD_BAD_MANIFEST, [&] { parse_json(nested(kMaxJsonDepth + 1), "it"); }).find("deeper than 16") !=
        std::string::npos);
  CHECK(refusal(RD_BAD_MANIFEST, [&] { parse_json(std::string(2000000, '['), "it"); }).find("deeper") !=
        std::string::npos);
}

TEST_CASE("the same key in different objects is no repetition") {
  CHECK(parse_json("{\"a\": {\"b\": 1}, \"b\": [{\"a\": 1}, {\"a\": 2}]}", "it").size() == 2);
}

TEST_CASE("fields name what they got and what they expected") {
  const auto document =
      parse_json(R"({"n": 9223372036854775808, "f": 1.5, "t": "abc", "l": [1, "x"], "z": null})", "it");
  JsonFields fields(document, "it");
  const auto reason = [&](auto&& read) { return refusal(RD_BAD_MANIFEST, [&] { read(); }); };
  CHECK(reason([&] { fields.integer("n", 0, 10); }).find("9223372036854775808, expected an integer from 0 to 10") !=
        std::string::npos);
  CHECK(reason([&] { fields.integer("f", 0, 10); }).find("1.5, expected an integer") != std::string::npos);
  CHECK(reason([&] { fields.number("f", 2, 3); }).find("1.5, expected a number from 2.0 to 3.0") != std::string::npos);
  CHECK(reason([&] { fields.text("f"); }).find("1.5, expected a text") != std::string::npos);
  CHECK(reason([&] { fields.text("t", 2); }).find("3 bytes, expected at most 2") != std::string::npos);
  CHECK(reason([&] { fields.one_of("t", {"a", "b"}); }).find("\"abc\", expected \"a\", \"b\"") != std::string::npos);
  CHECK(reason([&] { fields.numbers("l", 4, 0, 9); }).find("l[1] is \"x\"") != std::string::npos);
  CHECK(reason([&] { fields.numbers("l", 1, 0, 9); }).find("a list of 2") != std::string::npos);
  CHECK(reason([&] { fields.boolean("t"); }).find("expected true or false") != std::string::npos);
  CHECK(reason([&] { fields.object("t"); }).find("expected an object") != std::string::npos);
  CHECK(reason([&] { fields.text("gone"); }).find("gone is missing") != std::string::npos);
  CHECK(reason([&] { fields.done(); }).find("unknown field \"z\"") != std::string::npos);
  CHECK(fields.text_or_null("z").empty());
  fields.done();
}

TEST_CASE("messages are UTF-8 whatever they quote") {
  CHECK(printable("plain\ttext\n") == "plain\ttext\n");
  CHECK(printable("gr\xc3\xbc\xc3\x9f \xf0\x9f\x90\x88") == "gr\xc3\xbc\xc3\x9f \xf0\x9f\x90\x88");
  CHECK(printable("a\xff\x01z") == "a\\xff\\x01z");
  CHECK(printable("\xc3") == "\\xc3");                    // cut off
  CHECK(printable("\xc0\xaf") == "\\xc0\\xaf");           // overlong '/'
  CHECK(printable("\xe0\x80\xaf") == "\\xe0\\x80\\xaf");  // overlong
  CHECK(printable("\xed\xa0\x80") == "\\xed\\xa0\\x80");  // surrogate
  CHECK(printable("\xf4\x90\x80\x80") == "\\xf4\\x90\\x80\\x80");
}
