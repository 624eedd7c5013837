/* SPDX-License-Identifier: MIT */
#include "base/crc.h"

#define POLY 0x82f63b78u

/* A nibble at a time: small, and fast enough for what is bound by the disk. */
uint32_t weir__crc32c(uint32_t crc, const void *data, size_t n)
{
#define BIT(x)   ((x)&1 ? (x) >> 1 ^ POLY : (x) >> 1)
#define ENTRY(x) BIT(BIT(BIT(BIT((uint32_t)(x)))))
	static const uint32_t table[16] = { ENTRY(0),  ENTRY(1),  ENTRY(2),  ENTRY(3),
		                            ENTRY(4),  ENTRY(5),  ENTRY(6),  ENTRY(7),
		                            ENTRY(8),  ENTRY(9),  ENTRY(10), ENTRY(11),
		                            ENTRY(12), ENTRY(13), ENTRY(14), ENTRY(15) };
	const unsigned char *p = data;

	crc = ~crc;
	for (size_t i = 0; i < n; i++) {
		crc ^= p[i];
		crc = crc >> 4 ^ table[crc & 15];
		crc = crc >> 4 ^ table[crc & 15];
	}
	return ~crc;
}
