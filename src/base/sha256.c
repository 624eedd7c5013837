/* SPDX-License-Identifier: MIT */
#include "base/sha256.h"

#include <string.h>

#ifdef __x86_64__
#include <cpuid.h>
#include <immintrin.h>
#endif

static const uint32_t k[64] = {
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4,
	0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe,
	0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f,
	0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7,
	0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc,
	0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b,
	0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116,
	0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
	0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7,
	0xc67178f2,
};

static uint32_t ror(uint32_t x, int n)
{
	return x >> n | x << (32 - n);
}

/* One round. What the standard calls a to h moves on by a place from one round to the next: here
 * the names do, so nothing is copied. */
#define ROUND(a, b, c, d, e, f, g, h, i)                                                       \
	do {                                                                                   \
		uint32_t t = h + (ror(e, 6) ^ ror(e, 11) ^ ror(e, 25)) + (g ^ (e & (f ^ g))) + \
		             k[i] + w[i];                                                      \
                                                                                               \
		d += t;                                                                        \
		h = t + (ror(a, 2) ^ ror(a, 13) ^ ror(a, 22)) + ((a & b) | (c & (a | b)));     \
	} while (0)

static void plain_blocks(uint32_t to[8], const unsigned char *p, size_t n)
{
	for (; n; n--, p += 64) {
		uint32_t w[64];
		uint32_t a = to[0], b = to[1], c = to[2], d = to[3];
		uint32_t e = to[4], f = to[5], g = to[6], h = to[7];

		for (int i = 0; i < 16; i++)
			w[i] = (uint32_t)p[4 * i] << 24 | (uint32_t)p[4 * i + 1] << 16 |
			       (uint32_t)p[4 * i + 2] << 8 | p[4 * i + 3];
		for (int i = 16; i < 64; i++)
			w[i] = w[i - 16] + w[i - 7] +
			       (ror(w[i - 15], 7) ^ ror(w[i - 15], 18) ^ w[i - 15] >> 3) +
			       (ror(w[i - 2], 17) ^ ror(w[i - 2], 19) ^ w[i - 2] >> 10);
		for (int i = 0; i < 64; i += 8) {
			ROUND(a, b, c, d, e, f, g, h, i);
			ROUND(h, a, b, c, d, e, f, g, i + 1);
			ROUND(g, h, a, b, c, d, e, f, i + 2);
			ROUND(f, g, h, a, b, c, d, e, i + 3);
			ROUND(e, f, g, h, a, b, c, d, i + 4);
			ROUND(d, e, f, g, h, a, b, c, i + 5);
			ROUND(c, d, e, f, g, h, a, b, i + 6);
			ROUND(b, c, d, e, f, g, h, a, i + 7);
		}
		to[0] += a;
		to[1] += b;
		to[2] += c;
		to[3] += d;
		to[4] += e;
		to[5] += f;
		to[6] += g;
		to[7] += h;
	}
}

#ifdef __x86_64__
/* Four rounds with the words w; they become those of 16 rounds later. */
#define FOUR(w, x, y, z, i)                                                              \
	do {                                                                             \
		__m128i at = _mm_add_epi32(w, _mm_loadu_si128((const void *)(k + (i)))); \
                                                                                         \
		cdgh = _mm_sha256rnds2_epu32(cdgh, abef, at);                            \
		abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(at, 0x0e));   \
		w = _mm_add_epi32(_mm_sha256msg1_epu32(w, x), _mm_alignr_epi8(z, y, 4)); \
		w = _mm_sha256msg2_epu32(w, z);                                          \
	} while (0)

/* By the processor's own instructions, which do four rounds in two. They want the state as (a, b,
 * e, f) and (c, d, g, h), the first of each in the highest place. */
__attribute__((target("sha,sse4.1"))) static void sha_blocks(uint32_t to[8], const unsigned char *p,
                                                             size_t n)
{
	const __m128i turn = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
	__m128i abef = _mm_set_epi32((int)to[0], (int)to[1], (int)to[4], (int)to[5]);
	__m128i cdgh = _mm_set_epi32((int)to[2], (int)to[3], (int)to[6], (int)to[7]);
	uint32_t out[8];

	for (; n; n--, p += 64) {
		__m128i first = abef, second = cdgh, w[4];

		for (int i = 0; i < 4; i++)
			w[i] = _mm_shuffle_epi8(_mm_loadu_si128((const void *)(p + 16 * i)), turn);
		for (int i = 0; i < 64; i += 16) {
			FOUR(w[0], w[1], w[2], w[3], i);
			FOUR(w[1], w[2], w[3], w[0], i + 4);
			FOUR(w[2], w[3], w[0], w[1], i + 8);
			FOUR(w[3], w[0], w[1], w[2], i + 12);
		}
		abef = _mm_add_epi32(abef, first);
		cdgh = _mm_add_epi32(cdgh, second);
	}
	_mm_storeu_si128((void *)out, abef);
	_mm_storeu_si128((void *)(out + 4), cdgh);
	to[0] = out[3];
	to[1] = out[2];
	to[2] = out[7];
	to[3] = out[6];
	to[4] = out[1];
	to[5] = out[0];
	to[6] = out[5];
	to[7] = out[4];
}

/* SHA, SSSE3 and SSE4.1. */
static bool have_sha(void)
{
	unsigned a, b, c, d;

	if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & 1U << 9) || !(c & 1U << 19))
		return false;
	return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & 1U << 29);
}

static void blocks(uint32_t to[8], const unsigned char *p, size_t n)
{
	static int has; /* atomic: 0 is not asked yet */
	int it = __atomic_load_n(&has, __ATOMIC_RELAXED);

	if (!it)
		__atomic_store_n(&has, it = have_sha() ? 1 : -1, __ATOMIC_RELAXED);
	(it > 0 ? sha_blocks : plain_blocks)(to, p, n);
}
#else
#define blocks plain_blocks
#endif

void weir__sha256_init(struct weir__sha256 *s)
{
	*s = (struct weir__sha256){ .h = { 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
		                           0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19 } };
}

void weir__sha256_add(struct weir__sha256 *s, const void *data, size_t n)
{
	const unsigned char *p = data;
	size_t at = s->len % 64, part = 64 - at < n ? 64 - at : n;

	if (!n)
		return;
	s->len += n;
	if (at || part < 64) {
		memcpy(s->block + at, p, part);
		p += part;
		n -= part;
		if (at + part == 64)
			blocks(s->h, s->block, 1);
	}
	blocks(s->h, p, n / 64);
	if (n % 64)
		memcpy(s->block, p + n - n % 64, n % 64);
}

void weir__sha256_end(struct weir__sha256 *s, unsigned char out[WEIR__SHA256])
{
	static const unsigned char pad[64] = { 0x80 };
	uint64_t bits = s->len * 8;
	unsigned char len[8];

	for (int i = 0; i < 8; i++)
		len[i] = (unsigned char)(bits >> (56 - 8 * i));
	weir__sha256_add(s, pad, 1 + (119 - s->len % 64) % 64);
	weir__sha256_add(s, len, sizeof len);
	for (int i = 0; i < 32; i++)
		out[i] = (unsigned char)(s->h[i / 4] >> (24 - 8 * (i % 4)));
}

void weir__hmac_sha256(const void *key, size_t key_len, const void *data, size_t n,
                       unsigned char out[WEIR__SHA256])
{
	unsigned char inner[64] = { 0 }, outer[64];
	struct weir__sha256 s;

	if (key_len > sizeof inner) {
		weir__sha256_init(&s);
		weir__sha256_add(&s, key, key_len);
		weir__sha256_end(&s, inner);
	} else {
		memcpy(inner, key, key_len);
	}
	for (size_t i = 0; i < sizeof inner; i++) {
		outer[i] = inner[i] ^ 0x5c;
		inner[i] ^= 0x36;
	}
	weir__sha256_init(&s);
	weir__sha256_add(&s, inner, sizeof inner);
	weir__sha256_add(&s, data, n);
	weir__sha256_end(&s, out);
	weir__sha256_init(&s);
	weir__sha256_add(&s, outer, sizeof outer);
	weir__sha256_add(&s, out, WEIR__SHA256);
	weir__sha256_end(&s, out);
}

bool weir__equal_secret(const void *a, const void *b, size_t n)
{
	const volatile unsigned char *p = a, *q = b;
	unsigned char differ = 0;

	for (size_t i = 0; i < n; i++)
		differ |= p[i] ^ q[i];
	return differ == 0;
}
