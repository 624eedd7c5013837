/* SPDX-License-Identifier: MIT */
/*
 * Amounts as people write them: durations ("250ms", "30s", "1m30s", "1h"), bytes ("4096",
 * "64KiB", "256MiB") and whole numbers. Settings, HTTP headers and queries all read them here, so
 * that an amount is written the same everywhere. Nothing here waits or allocates.
 */
#ifndef WEIR_BASE_UNITS_H
#define WEIR_BASE_UNITS_H

#include <stddef.h>
#include <stdint.h>

/*
 * Each reads the whole text: no white space, no sign but a number's minus, nothing after it. 0,
 * -EINVAL (not such an amount) or -ERANGE (too large to hold); *ret is untouched on failure.
 */
int weir__parse_int(const char *text, int64_t *ret);
/* Units ns, us, ms, s, m, h, d; several may follow each other, largest first ("1h30m"). A bare
 * "0" needs none. */
int weir__parse_duration(const char *text, int64_t *ret_ns);
/* Units B, KiB, MiB, GiB, TiB (1024) and kB, MB, GB, TB (1000); a bare number is bytes. */
int weir__parse_bytes(const char *text, uint64_t *ret);
/* So many in a time: "10/s", "100/m", "5/h"; a bare number is in a second. More than 0, which
 * is -EDOM; -ERANGE also beyond 1e9 a second. */
int weir__parse_rate(const char *text, double *ret_per_second);

/* Room for any of the results below, with the NUL. */
enum { WEIR__UNITS_MAX = 48 };

/* Exact, so that parsing gives the same again: "1m30s", "1500ms" as "1s500ms", "0". Returns buf. */
const char *weir__format_duration(char buf[WEIR__UNITS_MAX], int64_t ns);
/* In the largest unit that divides it: "256MiB", "1000B". Returns buf. */
const char *weir__format_bytes(char buf[WEIR__UNITS_MAX], uint64_t n);
/* For people: two digits that matter, "1.2s", "35ms", "3h". Returns buf. */
const char *weir__format_about(char buf[WEIR__UNITS_MAX], int64_t ns);

#endif
