/* SPDX-License-Identifier: MIT */
#include "test.h"

#include "../../src/base/sha256.c"

static const char *hex(const unsigned char *p)
{
	static char out[2 * WEIR__SHA256 + 1];

	for (int i = 0; i < WEIR__SHA256; i++)
		snprintf(out + 2 * i, 3, "%02x", p[i]);
	return out;
}

static const char *hash(const char *data, size_t n, size_t step)
{
	unsigned char out[WEIR__SHA256];
	struct weir__sha256 s;

	weir__sha256_init(&s);
	for (size_t i = 0; i < n; i += step)
		weir__sha256_add(&s, data + i, n - i < step ? n - i : step);
	weir__sha256_end(&s, out);
	return hex(out);
}

TEST(hashes_the_examples_of_the_standard)
{
	const char *two = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";

	CHECK_STR(hash("", 0, 1),
	          "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
	CHECK_STR(hash("abc", 3, 3),
	          "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	CHECK_STR(hash(two, 56, 56),
	          "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}

TEST(hash_does_not_depend_on_how_the_data_comes)
{
	char data[300], whole[65];

	memset(data, 'a', sizeof data);
	for (size_t n = 0; n <= sizeof data; n++) {
		strcpy(whole, hash(data, n, n + 1));
		CHECK_STR(hash(data, n, 1), whole);
		CHECK_STR(hash(data, n, 63), whole);
	}
}

TEST(a_million_letters_hash_as_the_standard_says)
{
	char *data = malloc(1000000);

	memset(data, 'a', 1000000);
	CHECK_STR(hash(data, 1000000, 4096),
	          "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
	free(data);
}

TEST(hmac_gives_the_examples_of_rfc_4231)
{
	unsigned char key[131], out[WEIR__SHA256];

	memset(key, 0x0b, 20);
	weir__hmac_sha256(key, 20, "Hi There", 8, out);
	CHECK_STR(hex(out), "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
	weir__hmac_sha256("Jefe", 4, "what do ya want for nothing?", 28, out);
	CHECK_STR(hex(out), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
	memset(key, 0xaa, sizeof key);
	weir__hmac_sha256(key, sizeof key, "Test Using Larger Than Block-Size Key - Hash Key First",
	                  54, out);
	CHECK_STR(hex(out), "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}

TEST(secrets_are_equal_only_when_every_byte_is)
{
	CHECK(weir__equal_secret("abcd", "abcd", 4));
	CHECK(!weir__equal_secret("abcd", "abce", 4));
	CHECK(!weir__equal_secret("xbcd", "abcd", 4));
	CHECK(weir__equal_secret("a", "b", 0));
}

/* Whichever way this machine takes, the other programs' is the plain one's result. */
TEST(processor_and_plain_code_agree_on_each_block)
{
	unsigned char data[64 * 9];
	uint32_t here[8], plain[8];

	for (size_t i = 0; i < sizeof data; i++)
		data[i] = (unsigned char)(i * i * 31 + i / 7);
	for (size_t n = 0; n <= 9; n++) {
		for (int i = 0; i < 8; i++)
			here[i] = plain[i] = k[i] * (uint32_t)(n + 1);
		blocks(here, data, n);
		plain_blocks(plain, data, n);
		CHECK(memcmp(here, plain, sizeof plain) == 0);
	}
}
