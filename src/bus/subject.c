/* SPDX-License-Identifier: MIT */
/*
 * Subjects as NATS has them: tokens separated by dots, no token empty, no white space. In a pattern
 * "*" stands for one token and a last ">" for one or more; inside a longer token both are plain
 * letters. Control bytes are refused too, since they would break logs and the NATS protocol.
 * Everything here is pure.
 */
#include <weir/bus.h>

#include <string.h>

static bool is_wild(const char *token, size_t len, char wild)
{
	return len == 1 && token[0] == wild;
}

bool weir_subject_valid(const char *subject, bool wildcards)
{
	size_t total = strnlen(subject, WEIR_SUBJECT_MAX + 1);

	if (total > WEIR_SUBJECT_MAX)
		return false;
	for (const char *token = subject;;) {
		size_t len = strcspn(token, ".");
		bool last = token[len] == 0;

		if (len == 0)
			return false;
		for (size_t i = 0; i < len; i++)
			if ((unsigned char)token[i] <= ' ' || token[i] == 0x7f)
				return false;
		if (is_wild(token, len, '*') && !wildcards)
			return false;
		if (is_wild(token, len, '>') && (!wildcards || !last))
			return false;
		if (last)
			return true;
		token += len + 1;
	}
}

bool weir_subject_match(const char *pattern, const char *subject)
{
	if (!weir_subject_valid(pattern, true) || !weir_subject_valid(subject, false))
		return false;
	for (;;) {
		size_t p = strcspn(pattern, "."), s = strcspn(subject, ".");

		if (is_wild(pattern, p, '>'))
			return true;
		if (!is_wild(pattern, p, '*') && (p != s || memcmp(pattern, subject, p)))
			return false;
		if (!pattern[p] || !subject[s])
			return !pattern[p] && !subject[s];
		pattern += p + 1;
		subject += s + 1;
	}
}
