/* SPDX-License-Identifier: MIT */
/* The cases of AWS's published test suite (aws-sig-v4-test-suite) without a query. */
#include "queue/sigv4.h"
#include "../test.h"

#define HOST                                    \
	{                                       \
		"host", "example.amazonaws.com" \
	}
#define DATE                                     \
	{                                        \
		"x-amz-date", "20150830T123600Z" \
	}
#define TOKEN                                                                                  \
	"AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMic" \
	"RXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKs" \
	"burEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0" \
	"iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA=="

static void signs_as(const char *method, const struct weir__sigv4_header *headers, size_t n,
                     const char *body, const char *signed_headers, const char *signature)
{
	struct weir__sigv4 s = { .key_id = "AKIDEXAMPLE",
		                 .secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
		                 .region = "us-east-1",
		                 .service = "service",
		                 .method = method,
		                 .path = "/",
		                 .headers = headers,
		                 .headers_n = n,
		                 .body = body,
		                 .len = strlen(body) };
	struct weir__buf got = WEIR__BUF_INIT, want = WEIR__BUF_INIT;

	weir__sigv4_time(1440938160, s.time);
	CHECK_STR(s.time, "20150830T123600Z");
	weir__buf_printf(&want,
	                 "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/"
	                 "aws4_request, SignedHeaders=%s, Signature=%s",
	                 signed_headers, signature);
	weir__sigv4_sign(&s, &got);
	CHECK_STR(got.data, want.data);
	weir__buf_free(&got);
	weir__buf_free(&want);
}

#define SIGNS(method, headers, body, names, signature) \
	signs_as(method, headers, sizeof headers / sizeof *headers, body, names, signature)

TEST(get_vanilla)
{
	static const struct weir__sigv4_header h[] = { HOST, DATE };

	SIGNS("GET", h, "", "host;x-amz-date",
	      "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31");
}

TEST(post_vanilla)
{
	static const struct weir__sigv4_header h[] = { HOST, DATE };

	SIGNS("POST", h, "", "host;x-amz-date",
	      "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b");
}

TEST(post_header_value_case)
{
	static const struct weir__sigv4_header h[] = { HOST, { "my-header1", "VALUE1" }, DATE };

	SIGNS("POST", h, "", "host;my-header1;x-amz-date",
	      "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d");
}

TEST(get_header_value_trim)
{
	static const struct weir__sigv4_header h[] = {
		HOST, { "my-header1", "value1" }, { "my-header2", "\"a b c\"" }, DATE
	};

	SIGNS("GET", h, "", "host;my-header1;my-header2;x-amz-date",
	      "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736");
}

TEST(post_x_www_form_urlencoded)
{
	static const struct weir__sigv4_header h[] = {
		{ "content-type", "application/x-www-form-urlencoded" }, HOST, DATE
	};

	SIGNS("POST", h, "Param1=value1", "content-type;host;x-amz-date",
	      "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a");
}

TEST(post_x_www_form_urlencoded_parameters)
{
	static const struct weir__sigv4_header h[] = {
		{ "content-type", "application/x-www-form-urlencoded; charset=utf8" }, HOST, DATE
	};

	SIGNS("POST", h, "Param1=value1", "content-type;host;x-amz-date",
	      "1a72ec8f64bd914b0e42e42607c7fbce7fb2c7465f63e3092b3b0d39fa77a6fe");
}

TEST(post_sts_header_before)
{
	static const struct weir__sigv4_header h[] = { HOST,
		                                       DATE,
		                                       { "x-amz-security-token", TOKEN } };

	SIGNS("POST", h, "", "host;x-amz-date;x-amz-security-token",
	      "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead");
}
