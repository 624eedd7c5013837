/* SPDX-License-Identifier: MIT */
/*
 * SHA-256 (FIPS 180-4), HMAC over it (RFC 2104), and a comparison whose time tells nothing: for
 * access tokens, which need no more of a crypto library than this.
 */
#ifndef WEIR_BASE_SHA256_H
#define WEIR_BASE_SHA256_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { WEIR__SHA256 = 32 };

struct weir__sha256 {
	uint32_t h[8];
	uint64_t len;
	unsigned char block[64];
};

void weir__sha256_init(struct weir__sha256 *s);
void weir__sha256_add(struct weir__sha256 *s, const void *data, size_t n);
void weir__sha256_end(struct weir__sha256 *s, unsigned char out[WEIR__SHA256]);

void weir__hmac_sha256(const void *key, size_t key_len, const void *data, size_t n,
                       unsigned char out[WEIR__SHA256]);

/* Takes as long for equal as for different bytes. */
bool weir__equal_secret(const void *a, const void *b, size_t n);

#endif
