/* SPDX-License-Identifier: MIT */
/* Reading what a client sent: JSON within bounds, and amounts as base/units.h writes them. */
#include <ctype.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "handlers.h"
#include "suggest.h"
#include "base/base64.h"
#include "base/units.h"
#include "http/exchange.h"

void wrong(struct params *p, const char *fmt, ...)
{
	va_list ap;

	if (p->error[0])
		return;
	va_start(ap, fmt);
	vsnprintf(p->error, sizeof p->error, fmt, ap);
	va_end(ap);
}

/* Jansson recurses; a task's stack is small. Braces in strings do not count, so strings are
 * skipped. */
static bool too_deep(const char *text, size_t len)
{
	bool quoted = false;
	int depth = 0;

	for (size_t i = 0; i < len; i++) {
		if (quoted) {
			if (text[i] == '\\')
				i++;
			else if (text[i] == '"')
				quoted = false;
		} else if (text[i] == '"') {
			quoted = true;
		} else if (text[i] == '{' || text[i] == '[') {
			if (++depth > JSON_DEPTH)
				return true;
		} else if (text[i] == '}' || text[i] == ']') {
			depth--;
		}
	}
	return false;
}

json_t *json_read(struct params *p, const char *text, size_t len)
{
	json_error_t e;
	json_t *j;

	if (too_deep(text, len)) {
		wrong(p, "JSON is nested deeper than %d", JSON_DEPTH);
		return NULL;
	}
	/* A payload may hold NUL; what is read as a C string refuses it in member(). */
	j = json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, &e);
	if (!j)
		wrong(p, "JSON: %s at line %d, column %d", e.text, e.line, e.column);
	return j;
}

static const char *number_text(struct params *p, const json_t *v)
{
	char *s = p->numbers < PARAMS_NUMBERS ? p->number[p->numbers++] : NULL;

	if (!s)
		wrong(p, "more than %d numbers", PARAMS_NUMBERS);
	else if (json_is_integer(v))
		snprintf(s, NUMBER_BYTES, "%lld", (long long)json_integer_value(v));
	else
		snprintf(s, NUMBER_BYTES, "%.15g", json_real_value(v));
	return s;
}

const char *member(struct params *p, const char *name)
{
	json_t *v = p->body ? json_object_get(p->body, name) : NULL;

	if (!v || json_is_null(v))
		return NULL;
	if (json_is_string(v)) {
		if (strlen(json_string_value(v)) != json_string_length(v)) {
			wrong(p, "%s holds a NUL", name);
			return NULL;
		}
		return json_string_value(v);
	}
	if (json_is_number(v))
		return number_text(p, v);
	if (json_is_boolean(v))
		return json_is_true(v) ? "true" : "false";
	wrong(p, "%s is an array or object, not one value", name);
	return NULL;
}

const char *param(struct params *p, const char *name)
{
	const char *text = p->x ? weir_http_query(p->x, name) : NULL;

	if (!text && p->x && weir_http_starved(p->x))
		wrong(p, "no memory");
	return text ? text : member(p, name);
}

/* Where `name` stands in `known`; if nowhere, that is wrong. */
static int place(struct params *p, const char *name, const char *const *known)
{
	struct suggest near = SUGGEST_INIT(name);

	for (int i = 0; known[i]; i++)
		if (!strcmp(known[i], name))
			return i;
	for (; *known; known++)
		suggest_offer(&near, *known);
	if (!*name)
		wrong(p, "there is a value without a name, or with one that cannot be read");
	else if (near.best)
		wrong(p, "%.40s is not known here; did you mean %s?", name, near.best);
	else
		wrong(p, "%.40s is not known here", name);
	return -1;
}

void refuse_unknown(struct params *p, const char *const *known)
{
	const char *name;
	json_t *value;

	json_object_foreach(p->body, name, value)
	{
		(void)place(p, name, known);
	}
}

void refuse_query(struct params *p, const char *const *known)
{
	static const char *const none[] = { NULL };
	const char *name;
	unsigned seen = 0;
	size_t at = 0;

	while (!p->error[0] && (name = weir_http_query_name(p->x, &at)) != NULL) {
		int i = strcmp(name, "token") ? place(p, name, known ? known : none) : 31;

		if (i >= 0 && seen & 1u << i)
			wrong(p, "%s is there twice", name);
		seen |= i >= 0 ? 1u << i : 0;
	}
	if (weir_http_starved(p->x))
		wrong(p, "no memory");
}

void refuse_headers(struct params *p, const char *const *known)
{
	const char *name, *value;
	char lower[48];
	size_t len;

	for (size_t i = 0; weir__http_field(p->x, i, &name, &value, &len); i++) {
		if (strncasecmp(name, "weir-", 5))
			continue;
		snprintf(lower, sizeof lower, "%s", name);
		for (char *c = lower; *c; c++)
			*c = (char)tolower((unsigned char)*c);
		(void)place(p, lower, known);
	}
}

void read_duration(struct params *p, const char *name, const char *text, int64_t min, int64_t max,
                   int64_t *ret)
{
	char least[WEIR__UNITS_MAX], most[WEIR__UNITS_MAX];
	int64_t ns;

	if (!text || p->error[0])
		return;
	if (weir__parse_duration(text, &ns) < 0)
		wrong(p, "%s: \"%.40s\" is no duration such as 250ms, 30s, 5m or 1h", name, text);
	else if (ns < min || ns > max)
		wrong(p, "%s: %.40s is not between %s and %s", name, text,
		      weir__format_duration(least, min), weir__format_duration(most, max));
	else
		*ret = ns;
}

void read_int(struct params *p, const char *name, const char *text, int64_t min, int64_t max,
              int64_t *ret)
{
	int64_t n;

	if (!text || p->error[0])
		return;
	if (weir__parse_int(text, &n) < 0)
		wrong(p, "%s: \"%.40s\" is no whole number", name, text);
	else if (n < min || n > max)
		wrong(p, "%s: %.40s is not between %lld and %lld", name, text, (long long)min,
		      (long long)max);
	else
		*ret = n;
}

void read_real(struct params *p, const char *name, const char *text, double min, double max,
               double *ret)
{
	char *end;
	double v;

	if (!text || p->error[0])
		return;
	v = strtod(text, &end);
	if (end == text || *end || !isfinite(v))
		wrong(p, "%s: \"%.40s\" is no number", name, text);
	else if (v < min || v > max)
		wrong(p, "%s: %.40s is not between %g and %g", name, text, min, max);
	else
		*ret = v;
}

void read_flag(struct params *p, const char *name, const char *text, bool *ret)
{
	if (!text || p->error[0])
		return;
	if (!strcmp(text, "true") || !strcmp(text, "1"))
		*ret = true;
	else if (!strcmp(text, "false") || !strcmp(text, "0"))
		*ret = false;
	else
		wrong(p, "%s: \"%.40s\" is neither true nor false", name, text);
}

void read_payload(struct params *p, json_t *object, char **ret, size_t *ret_len,
                  const char **ret_type)
{
	json_t *plain = json_object_get(object, "payload"),
	       *coded = json_object_get(object, "payload_base64");
	struct weir__buf b = WEIR__BUF_INIT;
	char *text = NULL;

	if (p->error[0])
		return;
	if (plain && coded) {
		wrong(p, "both payload and payload_base64");
	} else if (coded && !json_is_string(coded)) {
		wrong(p, "payload_base64 is no string");
	} else if (coded && weir__base64_decode(&b, json_string_value(coded),
	                                        json_string_length(coded)) < 0) {
		wrong(p, "payload_base64 is not base64 with padding");
	} else if (plain && json_is_string(plain)) {
		weir__buf_add(&b, json_string_value(plain), json_string_length(plain));
	} else if (plain) {
		text = json_dumps(plain, JSON_COMPACT | JSON_ENCODE_ANY);
		if (text)
			weir__buf_str(&b, text);
		else
			b.failed = true;
		*ret_type = "application/json";
		free(text);
	}
	if (b.failed)
		wrong(p, "no memory");
	if (p->error[0]) {
		weir__buf_free(&b);
		return;
	}
	*ret = b.data;
	*ret_len = b.len;
}
