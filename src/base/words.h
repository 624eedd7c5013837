/* SPDX-License-Identifier: MIT */
/*
 * Eight bytes looked at at once. What weir__any_below() and weir__any_is() return is 0 unless it
 * is so of one of them; of which is not said (H. S. Warren, Hacker's Delight, §6-1).
 */
#ifndef WEIR_BASE_WORDS_H
#define WEIR_BASE_WORDS_H

#include <stdint.h>
#include <string.h>

#define WEIR__EACH(byte) (UINT64_MAX / 255 * (byte))

static inline uint64_t weir__word_at(const void *p)
{
	uint64_t w;

	memcpy(&w, p, sizeof w);
	return w;
}

static inline uint64_t weir__any_high(uint64_t w) /* >= 0x80 */
{
	return w & WEIR__EACH(0x80);
}

static inline uint64_t weir__any_below(uint64_t w, unsigned char than) /* than <= 0x80 */
{
	return (w - WEIR__EACH(than)) & ~w & WEIR__EACH(0x80);
}

static inline uint64_t weir__any_is(uint64_t w, unsigned char c)
{
	return weir__any_below(w ^ WEIR__EACH(c), 1);
}

#endif
