/* SPDX-License-Identifier: MIT */
#include "base/base64.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

static const char letters[65] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void weir__base64_encode(struct weir__buf *out, const void *data, size_t n)
{
	const unsigned char *p = data;

	if (!weir__buf_reserve(out, n / 3 * 4 + 4))
		return;
	for (; n; p += 3, n -= n < 3 ? n : 3) {
		uint32_t v = (uint32_t)p[0] << 16 | (n > 1 ? (uint32_t)p[1] << 8 : 0) |
		             (n > 2 ? p[2] : 0);
		char four[4] = { letters[v >> 18], letters[v >> 12 & 63],
			         n > 1 ? letters[v >> 6 & 63] : '=',
			         n > 2 ? letters[v & 63] : '=' };

		weir__buf_add(out, four, 4);
	}
}

static int value(char c)
{
	const char *at = c ? strchr(letters, c) : NULL;

	return at ? (int)(at - letters) : -1;
}

int weir__base64_decode(struct weir__buf *out, const char *text, size_t n)
{
	if (n % 4)
		return -EINVAL;
	weir__buf_reserve(out, n / 4 * 3);
	for (; n; text += 4, n -= 4) {
		size_t pad = n > 4 || text[3] != '=' ? 0 : text[2] != '=' ? 1 : 2;
		uint32_t v = 0;
		unsigned char three[3];

		for (size_t i = 0; i < 4; i++) {
			int six = i < 4 - pad ? value(text[i]) : 0;

			if (six < 0)
				return -EINVAL;
			v = v << 6 | (uint32_t)six;
		}
		if (v & (pad == 2 ? 0xffffu : pad == 1 ? 0xffu : 0))
			return -EINVAL;
		three[0] = (unsigned char)(v >> 16);
		three[1] = (unsigned char)(v >> 8);
		three[2] = (unsigned char)v;
		weir__buf_add(out, three, 3 - pad);
	}
	return 0;
}
