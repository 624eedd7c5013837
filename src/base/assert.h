/* SPDX-License-Identifier: MIT */
/* Asserts that stay on in release builds: a wrong *program* aborts with a sentence. One condition
 * each. */
#ifndef WEIR_BASE_ASSERT_H
#define WEIR_BASE_ASSERT_H

#define weir__likely(x)   __builtin_expect(!!(x), 1)
#define weir__unlikely(x) __builtin_expect(!!(x), 0)

/* Prints "weir: <sentence>" with the current task's name and place, and aborts. */
_Noreturn void weir__die(const char *fmt, ...) __attribute__((format(printf, 1, 2), cold));

#define weir__assert(cond, ...)                 \
	do {                                    \
		if (weir__unlikely(!(cond)))    \
			weir__die(__VA_ARGS__); \
	} while (0)

/* Every struct that crosses a void pointer bears a magic number. */
#define weir__magic_check(p, m) \
	weir__assert((p)->magic == (m), "%s: not a live %s (%s)", __func__, #m, __FILE__)

#endif
