/* SPDX-License-Identifier: MIT */
/*
 * An nkey is base32 (RFC 4648 §6, no padding) of: a prefix byte (20 << 3 for a user's public key,
 * which shows as "U"), the 32 bytes of the key, and a CRC-16 (CCITT, XMODEM) over both, low byte
 * first.
 */
#include "nats/nkey.h"

#include <stdint.h>
#include <string.h>

#include <sodium.h>

enum { KEY_TEXT = 56, KEY_RAW = 35, USER_PREFIX = 20 << 3, SIGNATURE = 64 };

static uint16_t crc16(const unsigned char *p, size_t n)
{
	unsigned crc = 0;

	for (size_t i = 0; i < n; i++) {
		crc ^= (unsigned)p[i] << 8;
		for (int bit = 0; bit < 8; bit++)
			crc = crc & 0x8000 ? crc << 1 ^ 0x1021 : crc << 1;
	}
	return (uint16_t)crc;
}

static bool decode(const char *key, unsigned char raw[KEY_RAW])
{
	unsigned bits = 0, have = 0;
	size_t n = 0;

	if (strnlen(key, KEY_TEXT + 1) != KEY_TEXT)
		return false;
	for (size_t i = 0; i < KEY_TEXT; i++) {
		char c = key[i];
		int v = c >= 'A' && c <= 'Z' ? c - 'A' : c >= '2' && c <= '7' ? c - '2' + 26 : -1;

		if (v < 0)
			return false;
		bits = (bits << 5 | (unsigned)v) & 0xffff;
		have += 5;
		if (have >= 8) {
			have -= 8;
			raw[n++] = (unsigned char)(bits >> have);
		}
	}
	return raw[0] == USER_PREFIX &&
	       crc16(raw, KEY_RAW - 2) == (raw[KEY_RAW - 2] | raw[KEY_RAW - 1] << 8);
}

bool weir__nkey_valid(const char *key)
{
	unsigned char raw[KEY_RAW];

	return decode(key, raw);
}

bool weir__nkey_built(void)
{
	return true;
}

bool weir__nkey_verify(const char *key, const char *nonce, const char *sig)
{
	unsigned char raw[KEY_RAW], bytes[SIGNATURE];
	size_t len = strnlen(sig, 128), got;

	while (len && sig[len - 1] == '=')
		len--;
	if (!decode(key, raw) || sodium_init() < 0)
		return false;
	if (sodium_base642bin(bytes, sizeof bytes, sig, len, NULL, &got, NULL,
	                      sodium_base64_VARIANT_URLSAFE_NO_PADDING) != 0 ||
	    got != SIGNATURE)
		return false;
	return crypto_sign_verify_detached(bytes, (const unsigned char *)nonce, strlen(nonce),
	                                   raw + 1) == 0;
}
